//! Kernels as a contact sheet: panels in rows and columns, all on one colour scale, with axes and a colour bar.

use crate::Result;
use crate::canvas::{Anchor, Area, CHARACTER, Canvas, Drawing, labels};
use crate::colour::{BLACK, GREY, INK, colour};
use crate::png::SCALE;
use crate::text::{fit, significant};

/// The longer side of a panel.
const PANEL: f64 = 112.0;
const GAP: f64 = 10.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 40.0;
const LEFT: f64 = 92.0;
const BAR: f64 = 14.0;
const RIGHT: f64 = 92.0;
/// Pixels of the largest picture: some 2,000 panels.
const MOST_PIXELS: f64 = 134e6;
/// At most this many slices of a 3-D kernel stand side by side in a panel.
const SLICES: usize = 5;

/// One kernel of one channel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Row-major over the grid.
    pub values: Vec<f64>,
}

/// A contact sheet.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// The line above it.
    pub title: String,
    /// What stands beside each row.
    pub rows: Vec<String>,
    /// What stands above each column; a label without room is left out.
    pub columns: Vec<String>,
    /// Row by row.
    pub panels: Vec<Panel>,
    /// Points along each axis, one to three of them.
    pub points: Vec<usize>,
    /// The greatest coordinate of each axis.
    pub reach: Vec<f64>,
}

impl Sheet {
    /// Whether the values and the picture would fit into memory.
    ///
    /// # Errors
    /// Width and height in pixels, if they would not.
    pub fn check_size(&self) -> std::result::Result<(), (f64, f64)> {
        let values = [self.rows.len(), self.columns.len()];
        let values = values.iter().chain(&self.points);
        let values = values.fold(1usize, |product, &count| product.saturating_mul(count));
        let fits = Vec::<f64>::new().try_reserve_exact(values).is_ok();
        let (width, height) = self.size();
        let (width, height) = (width * SCALE, height * SCALE);
        if fits && width * height <= MOST_PIXELS { Ok(()) } else { Err((width, height)) }
    }

    /// The end of the scale: the greatest |value|.
    fn limit(&self) -> f64 {
        let values = self.panels.iter().flat_map(|panel| &panel.values);
        values.filter(|value| value.is_finite()).fold(0.0, |limit, value| limit.max(value.abs()))
    }

    /// Rows and columns of cells in a panel, and which slices they are of.
    fn cells(&self) -> (usize, usize, Vec<usize>) {
        match *self.points {
            [depth, height, width] => {
                let count = depth.min(SLICES);
                let last = (depth - 1) as f64;
                let at = |slice: usize| {
                    if count == 1 {
                        depth / 2
                    } else {
                        (slice as f64 * last / (count - 1) as f64).round() as usize
                    }
                };
                (height, count * width + count - 1, (0..count).map(at).collect())
            }
            [height, width] => (height, width, vec![0]),
            _ => (1, 1, vec![0]),
        }
    }

    /// A panel's size.
    fn panel_size(&self) -> (f64, f64) {
        if self.points.len() == 1 {
            return (1.5 * PANEL, 0.8 * PANEL);
        }
        let (rows, columns, slices) = self.cells();
        let cell = slices.len() as f64 * PANEL / rows.max(columns) as f64;
        let cell = cell.min(PANEL / rows as f64);
        (columns as f64 * cell, rows as f64 * cell)
    }

    fn panel(&self, canvas: &mut impl Canvas, panel: &Panel, area: Area, limit: f64) -> Result<()> {
        if self.points.len() == 1 {
            let Area { x, y, width, height } = area;
            let middle = y + height / 2.0;
            canvas.line(&[(x, middle), (x + width, middle)], GREY);
            let step = width / (panel.values.len().max(2) - 1) as f64;
            let rise = if limit > 0.0 { height / 2.0 / limit } else { 0.0 };
            let point =
                |(index, value): (usize, &f64)| (x + index as f64 * step, middle - value * rise);
            let finite = panel.values.iter().enumerate().filter(|(_, value)| value.is_finite());
            canvas.line(&finite.map(point).collect::<Vec<_>>(), INK);
        } else {
            let (rows, columns, slices) = self.cells();
            let width = self.points[self.points.len() - 1];
            let value = |row: usize, column: usize| {
                let (slice, within) = (column / (width + 1), column % (width + 1));
                // The column between two slices stays white.
                if slices.len() > 1 && within == width {
                    return f64::NAN;
                }
                panel.values[(slices[slice.min(slices.len() - 1)] * rows + row) * width
                    + if slices.len() > 1 { within } else { column }]
            };
            let cells = (0..rows * columns)
                .map(|cell| colour(value(cell / columns, cell % columns), limit));
            canvas.cells(area, columns, &cells.collect::<Vec<_>>())?;
        }
        canvas.frame(area, BLACK);
        Ok(())
    }

    /// Coordinates at the edges: of the last axis below, of the one before it at the left.
    fn axes(&self, canvas: &mut impl Canvas, width: f64, height: f64) {
        let axes = self.points.len();
        let bottom = TOP + self.rows.len() as f64 * (height + GAP) - GAP + 11.0;
        let (_, _, slices) = self.cells();
        let last = self.reach[axes - 1];
        let reach = significant(last);
        if slices.len() == 1 {
            let ticks = (0..self.columns.len()).flat_map(|column| {
                let x = LEFT + column as f64 * (width + GAP);
                if last == 0.0 {
                    return vec![(x + width / 2.0, Anchor::Middle, reach.clone())];
                }
                vec![(x, Anchor::Start, minus(last)), (x + width, Anchor::End, reach.clone())]
            });
            labels(canvas, bottom, ticks);
        }
        let below = match slices.len() {
            1 => format!("position on axis {}", axes - 1),
            _ => {
                let numbers: Vec<String> = slices.iter().map(ToString::to_string).collect();
                let span = format!("{} to {reach}", minus(last));
                format!("slices {} of axis 0; to the right axis 2, {span}", numbers.join(", "))
            }
        };
        self.caption(canvas, bottom + 16.0, &below);
        // Lower panels have no room beside the samples' names.
        if axes > 1 && height >= 40.0 {
            let reach = self.reach[axes - 2];
            canvas.text(LEFT - 5.0, TOP + 6.0, Anchor::End, &minus(reach));
            if reach != 0.0 {
                let reach = significant(reach);
                canvas.text(LEFT - 5.0, TOP + height - 6.0, Anchor::End, &reach);
            }
        }
        if axes > 1 {
            canvas.text(6.0, TOP - 10.0, Anchor::Start, &format!("axis {}", axes - 2));
        }
    }

    /// A text over the sheet's width, its middle left out where it is longer.
    fn caption(&self, canvas: &mut impl Canvas, y: f64, text: &str) {
        let (width, _) = self.size();
        let room = |x: f64| ((width - x) / CHARACTER) as usize;
        let x = if text.chars().count() <= room(LEFT) { LEFT } else { 6.0 };
        canvas.text(x, y, Anchor::Start, &fit(text, room(x)));
    }

    /// The colour bar, or in 1-D the scale of the plots.
    fn scale(&self, canvas: &mut impl Canvas, width: f64, height: f64, limit: f64) -> Result<()> {
        let x = LEFT + self.columns.len() as f64 * (width + GAP) + 4.0;
        let tall = if self.points.len() == 1 {
            height
        } else {
            (self.rows.len() as f64 * (height + GAP) - GAP).max(80.0)
        };
        let area = Area { x, y: TOP, width: BAR, height: tall };
        let mut label = x - 4.0;
        if self.points.len() > 1 {
            let steps = 64;
            let value = |step: usize| limit * (1.0 - 2.0 * step as f64 / (steps - 1) as f64);
            let colours: Vec<_> = (0..steps).map(|step| colour(value(step), limit)).collect();
            canvas.cells(area, 1, &colours)?;
            canvas.frame(area, BLACK);
            label = x + BAR + 5.0;
        }
        canvas.text(label, TOP + 6.0, Anchor::Start, &significant(limit));
        canvas.text(label, TOP + tall / 2.0, Anchor::Start, "0");
        canvas.text(label, TOP + tall - 6.0, Anchor::Start, &minus(limit));
        Ok(())
    }
}

/// The number with the other sign; zero has none.
fn minus(value: f64) -> String {
    significant(-value)
}

impl Drawing for Sheet {
    fn size(&self) -> (f64, f64) {
        let (width, height) = self.panel_size();
        let (columns, rows) = (self.columns.len() as f64, self.rows.len() as f64);
        (LEFT + columns * (width + GAP) + RIGHT, TOP + (rows * (height + GAP)).max(90.0) + BOTTOM)
    }

    fn draw(&self, canvas: &mut impl Canvas) -> Result<()> {
        let (width, height) = self.panel_size();
        let limit = self.limit();
        self.caption(canvas, 14.0, &self.title);
        let names = self.columns.iter().enumerate().map(|(column, name)| {
            let x = LEFT + column as f64 * (width + GAP) + width / 2.0;
            (x, Anchor::Middle, name.clone())
        });
        labels(canvas, TOP - 10.0, names);
        for (row, name) in self.rows.iter().enumerate() {
            let y = TOP + row as f64 * (height + GAP);
            canvas.text(6.0, y + height / 2.0, Anchor::Start, name);
            for column in 0..self.columns.len() {
                let x = LEFT + column as f64 * (width + GAP);
                let panel = &self.panels[row * self.columns.len() + column];
                self.panel(canvas, panel, Area { x, y, width, height }, limit)?;
            }
        }
        self.axes(canvas, width, height);
        self.scale(canvas, width, height, limit)
    }
}

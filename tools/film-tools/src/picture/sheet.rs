//! The layout: panels in rows (samples) and columns (channels), axes, a colour bar.

use anyhow::Result;

use super::canvas::{Anchor, Area, Canvas};
use super::colour::{BLACK, GREY, INK, colour};
use crate::output::significant;

/// The longer side of a panel.
const PANEL: f64 = 112.0;
const GAP: f64 = 10.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 40.0;
const LEFT: f64 = 92.0;
const BAR: f64 = 14.0;
const RIGHT: f64 = 92.0;
/// At most this many slices of a 3-D kernel stand side by side in a panel.
pub(crate) const SLICES: usize = 5;

/// One channel of one sample's kernel.
#[derive(Debug)]
pub(crate) struct Panel {
    /// Row-major over the grid.
    pub(crate) values: Vec<f64>,
}

/// A contact sheet.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) title: String,
    /// Numbers of the samples (rows) and channels (columns) shown.
    pub(crate) samples: Vec<usize>,
    pub(crate) channels: Vec<usize>,
    /// Row by row.
    pub(crate) panels: Vec<Panel>,
    /// Points along each axis, one to three of them.
    pub(crate) points: Vec<usize>,
    /// The greatest coordinate of each axis.
    pub(crate) reach: Vec<f64>,
}

impl Sheet {
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

    /// The whole sheet's size.
    pub(super) fn size(&self) -> (f64, f64) {
        let (width, height) = self.panel_size();
        let (columns, rows) = (self.channels.len() as f64, self.samples.len() as f64);
        (LEFT + columns * (width + GAP) + RIGHT, TOP + (rows * (height + GAP)).max(90.0) + BOTTOM)
    }

    pub(super) fn draw(&self, canvas: &mut impl Canvas) -> Result<()> {
        let (width, height) = self.panel_size();
        let limit = self.limit();
        canvas.text(LEFT, 14.0, Anchor::Start, &self.title);
        for (column, channel) in self.channels.iter().enumerate() {
            let x = LEFT + column as f64 * (width + GAP) + width / 2.0;
            let name = if column == 0 { format!("channel {channel}") } else { channel.to_string() };
            canvas.text(x, TOP - 10.0, Anchor::Middle, &name);
        }
        for (row, sample) in self.samples.iter().enumerate() {
            let y = TOP + row as f64 * (height + GAP);
            canvas.text(6.0, y + height / 2.0, Anchor::Start, &format!("sample {sample}"));
            for column in 0..self.channels.len() {
                let x = LEFT + column as f64 * (width + GAP);
                let panel = &self.panels[row * self.channels.len() + column];
                self.panel(canvas, panel, Area { x, y, width, height }, limit)?;
            }
        }
        self.axes(canvas, width, height);
        self.scale(canvas, width, height, limit)
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
        let bottom = TOP + self.samples.len() as f64 * (height + GAP) - GAP + 11.0;
        let (_, _, slices) = self.cells();
        let reach = significant(self.reach[axes - 1]);
        for column in 0..self.channels.len() {
            let x = LEFT + column as f64 * (width + GAP);
            if slices.len() == 1 {
                canvas.text(x, bottom, Anchor::Start, &format!("-{reach}"));
                canvas.text(x + width, bottom, Anchor::End, &reach);
            }
        }
        let below = match slices.len() {
            1 => format!("position on axis {}", axes - 1),
            count => {
                format!("{count} slices along axis 0; axis 2 to the right, -{reach} to {reach}")
            }
        };
        canvas.text(LEFT, bottom + 16.0, Anchor::Start, &below);
        if axes > 1 {
            let reach = significant(self.reach[axes - 2]);
            canvas.text(LEFT - 5.0, TOP + 6.0, Anchor::End, &format!("-{reach}"));
            canvas.text(LEFT - 5.0, TOP + height - 6.0, Anchor::End, &reach);
            canvas.text(6.0, TOP - 10.0, Anchor::Start, &format!("axis {}", axes - 2));
        }
    }

    /// The colour bar, or in 1-D the scale of the plots.
    fn scale(&self, canvas: &mut impl Canvas, width: f64, height: f64, limit: f64) -> Result<()> {
        let x = LEFT + self.channels.len() as f64 * (width + GAP) + 4.0;
        let tall = if self.points.len() == 1 {
            height
        } else {
            (self.samples.len() as f64 * (height + GAP) - GAP).max(80.0)
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
        canvas.text(label, TOP + tall - 6.0, Anchor::Start, &format!("-{}", significant(limit)));
        Ok(())
    }
}

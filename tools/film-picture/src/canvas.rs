//! What a sheet is drawn on.

use crate::Result;
use crate::colour::Rgb;

/// What a character of a text takes, in either format.
pub(crate) const CHARACTER: f64 = 6.0;

/// Where a text's position is, along the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// At its beginning.
    Start,
    /// In its middle.
    Middle,
    /// At its end.
    End,
}

/// A box, in units of which a PNG has two pixels.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A surface with its origin at the top left.
pub trait Canvas {
    /// Cells of equal size, row by row, that fill the area.
    ///
    /// # Errors
    /// If they cannot be encoded.
    fn cells(&mut self, area: Area, columns: usize, colours: &[Rgb]) -> Result<()>;
    /// The outline of an area.
    fn frame(&mut self, area: Area, colour: Rgb);
    /// A line through points.
    fn line(&mut self, points: &[(f64, f64)], colour: Rgb);
    /// A text, whose middle is at height `y`.
    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str);
}

/// Something that can be drawn.
pub trait Drawing {
    /// Width and height.
    fn size(&self) -> (f64, f64);
    /// Draws it.
    ///
    /// # Errors
    /// If its cells cannot be encoded.
    fn draw(&self, canvas: &mut impl Canvas) -> Result<()>;
}

/// Labels from left to right on one line, without those that would run into the one before.
pub(crate) fn labels(
    canvas: &mut impl Canvas,
    y: f64,
    labels: impl Iterator<Item = (f64, Anchor, String)>,
) {
    let mut free = 0.0;
    for (x, anchor, text) in labels {
        let width = text.chars().count() as f64 * CHARACTER;
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        if left >= free {
            canvas.text(x, y, anchor, &text);
            free = left + width + CHARACTER / 2.0;
        }
    }
}

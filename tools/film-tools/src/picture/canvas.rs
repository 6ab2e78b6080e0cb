//! What a sheet is drawn on.

use anyhow::Result;

use super::colour::Rgb;

/// Where a text's position is, along the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A box: left, top, width, height.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A surface with its origin at the top left.
pub(super) trait Canvas {
    /// Cells of equal size, row by row, that fill the area.
    fn cells(&mut self, area: Area, columns: usize, colours: &[Rgb]) -> Result<()>;
    /// The outline of an area.
    fn frame(&mut self, area: Area, colour: Rgb);
    /// A line through points.
    fn line(&mut self, points: &[(f64, f64)], colour: Rgb);
    /// A text, whose middle is at height `y`.
    fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str);
}

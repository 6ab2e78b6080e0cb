//! Pictures of kernels and of training runs: a layout on a canvas, as PNG or as SVG.
//!
//! ```text
//! kernels ─ sheet ─┐
//! numbers ─ chart ─┴▶ canvas ─▶ png or svg
//! ```

mod canvas;
mod chart;
mod colour;
mod png;
mod sheet;
mod svg;
pub mod text;

pub use canvas::{Anchor, Area, Canvas, Drawing};
pub use chart::{Chart, Series};
pub use colour::{BLACK, FAINT, GREY, INK, RED, Rgb, WHITE};
pub use png::{draw as png, pixels};
pub use sheet::{Panel, Sheet};
pub use svg::draw as svg;

/// Why a picture cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is larger than memory.
    #[error("not enough memory for the picture")]
    Memory,
    /// The PNG encoder failed.
    #[error("cannot encode the picture: {0}")]
    Encode(String),
}

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

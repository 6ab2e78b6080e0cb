//! The tensor operations that candle lacks, gets wrong for some layouts, or does in more passes over memory than needed.
//!
//! ```text
//! linear, gelu, clamp   in candle's operations, on any device
//! mlp                   linear → GELU → linear: plain, and fused on the CPU
//! shortcut              y + shortcut ⊙ x: plain, and fused on the CPU
//! falloff, window       windows, and kernel ⊙ windows along its axes: plain, and fused on the CPU
//! vector                building blocks of fused operations      slices, threads, memory   what they stand on
//! ```

mod clamp;
mod falloff;
mod gelu;
mod linear;
mod memory;
mod mlp;
mod mlp_gradient;
mod shortcut;
mod slices;
pub(crate) mod threads;
pub(crate) mod vector;
mod window;

pub(crate) use clamp::clamp;
pub(crate) use falloff::Falloff;
pub(crate) use gelu::gelu;
pub(crate) use linear::{check_input, linear};
pub(crate) use memory::{Buffer, LINE, Piece, Writer, fetch, zeros};
pub(crate) use mlp::Mlp;
pub(crate) use shortcut::add_shortcut;
pub(crate) use slices::{fused, slice, tracked, with_slices};
pub(crate) use window::{apply_windows, apply_windows_in_place};

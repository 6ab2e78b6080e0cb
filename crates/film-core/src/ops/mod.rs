//! The tensor operations that candle lacks, or gets wrong for some layouts.

mod clamp;
mod gelu;
mod linear;

pub(crate) use clamp::clamp;
pub(crate) use gelu::gelu;
pub(crate) use linear::linear;

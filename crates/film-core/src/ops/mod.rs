//! The tensor operations that candle lacks, or gets wrong for some layouts.

mod clamp;
mod linear;

pub(crate) use clamp::clamp;
pub(crate) use linear::linear;

//! The tensor operations that candle lacks, or gets wrong for some layouts.

mod linear;

pub(crate) use linear::linear;

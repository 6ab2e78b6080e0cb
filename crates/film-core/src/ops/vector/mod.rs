//! Building blocks of fused operations on the CPU in float32: layers over tiles of rows that stay in the cache.
//!
//! Written against [`pulp`]'s vectors, which are AVX-512, AVX2, NEON or plain code, whichever the processor has, chosen
//! at run time. All that computes with vectors is `#[inline(always)]` and stands in no closure that is not tiny: what is
//! not inlined is compiled without the processor's instructions, and ten times as slow.
//!
//! A row's numbers depend on the processor alone: not on the number of rows, tiles or threads.

mod aligned;
mod exp;
mod gelu;
mod layer;
mod outer;
mod polynomial;
mod sine;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use aligned::Aligned;
pub(crate) use exp::exp;
pub(crate) use gelu::{gelu, gelu_slope};
pub(crate) use layer::{Layer, Rows, Vectors};
pub(crate) use outer::{add_outer, add_rows};
pub(crate) use sine::{Wave, wave};

/// Rows of a tile. Its activations and a panel of weights fit into the first cache.
pub(crate) const TILE: usize = 24;

/// Rows of a tile whose outputs are kept until all are there: fewer where a row takes more than a cache.
pub(crate) fn rows_of_tile(outputs: usize) -> usize {
    const NUMBERS: usize = 1 << 18;
    (NUMBERS / outputs.max(1)).clamp(1, TILE)
}

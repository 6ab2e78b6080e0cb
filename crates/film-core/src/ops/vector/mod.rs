//! Building blocks of fused operations on the CPU in float32: layers over tiles of rows that stay in the cache.
//!
//! Written against [`pulp`]'s vectors, which are AVX-512, AVX2, NEON or plain code, whichever the processor has, chosen
//! at run time. All that computes with vectors is `#[inline(always)]` and stands in no closure that is not tiny: what is
//! not inlined is compiled without the processor's instructions, and ten times as slow.
//!
//! A row's numbers depend on the processor alone: not on the number of rows, tiles or threads.

mod aligned;
mod apply;
mod exp;
mod gelu;
mod layer;
mod outer;
mod polynomial;
mod rows;
mod sine;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use aligned::Aligned;
pub(crate) use exp::exp;
pub(crate) use gelu::{gelu, gelu_slope};
pub(crate) use layer::{Layer, Vectors};
pub(crate) use outer::{add_outer, add_rows};
pub(crate) use rows::Rows;
pub(crate) use sine::{Wave, wave};

/// Rows of a tile. Its activations fit into the first cache.
pub(crate) const TILE: usize = 24;

//! The network on a grid in candle's operations: on any device, in any dtype, and what the fused one must equal.

use candle_core::{DType, Tensor};

use super::network::Network;
use crate::error::Result;
use crate::film::Film;
use crate::ops::linear;

/// Draws the kernels; the embedding is computed in the grid's dtype.
///
/// # Shapes
/// grid `[1, *G, D]`, films γ and β `[B, H]` → `[1 or B, *G, out_dim]` in `dtype`
pub(super) fn draw(
    network: &Network<Tensor>,
    film_after_pos_embed: bool,
    grid: &Tensor,
    films: &[Film],
    dtype: DType,
) -> Result<Tensor> {
    let mut films = films.iter();
    let (weight, bias) = &network.embedding;
    let mut phase = linear(grid, weight, bias.as_ref(), "grid")?;
    if let Some(scale) = &network.scale {
        phase = phase.broadcast_mul(scale)?;
    }
    // Half precision would blur the phase: the grid's dtype is wide enough.
    let mut h = phase.sin()?.to_dtype(dtype)?;
    if film_after_pos_embed && let Some(film) = films.next() {
        h = film.apply(&h)?;
    }
    for (index, (weight, bias)) in network.layers.iter().enumerate() {
        h = linear(&h, weight, bias.as_ref(), "hidden activations")?;
        if index + 1 < network.layers.len() {
            h = h.sin()?;
            if let Some(film) = films.next() {
                h = film.apply(&h)?;
            }
        }
    }
    Ok(h)
}

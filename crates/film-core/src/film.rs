//! One (γ, β) pair, and applying it to hidden activations: h ← γ ⊙ h + β.

use candle_core::Tensor;

use crate::error::{Error, Result};

/// A feature-wise affine modulation (Perez et al. 2017, arXiv:1709.07871, eq. 1).
///
/// # Shapes
/// γ and β `[*, H]`; usually `[B, H]`.
#[derive(Debug, Clone)]
pub struct Film {
    /// Scale.
    pub gamma: Tensor,
    /// Shift.
    pub beta: Tensor,
}

impl Film {
    /// Pairs γ with β.
    ///
    /// # Shapes
    /// γ `[*, H]`, β `[*, H]`
    ///
    /// # Errors
    /// If the two differ in shape or are scalars.
    pub fn new(gamma: Tensor, beta: Tensor) -> Result<Self> {
        if gamma.rank() == 0 || gamma.dims() != beta.dims() {
            let expected = format!("the shape of gamma, {:?}", gamma.dims());
            return Err(Error::tensor("beta", expected, format!("{:?}", beta.dims())));
        }
        Ok(Self { gamma, beta })
    }

    /// γ ⊙ h + β, with γ and β broadcast over the grid axes, which stand between the leading axes
    /// and the last one. Differentiable in all three.
    ///
    /// # Shapes
    /// γ, β `[B, H]` and h `[B or 1, *grid, H]` → `[B, *grid, H]`; γ, β `[1, H]` or `[H]` modulate
    /// every sample of h `[B, *grid, H]` alike.
    ///
    /// # Errors
    /// If h has fewer axes than γ, another last axis, or a leading axis that is neither γ's nor 1.
    pub fn apply(&self, h: &Tensor) -> Result<Tensor> {
        let grid = self.grid_rank(h.dims())?;
        let spread = |pair: &Tensor| -> Result<Tensor> {
            let (leading, last) = pair.dims().split_at(pair.rank() - 1);
            Ok(pair.reshape([leading, &vec![1; grid], last].concat())?)
        };
        Ok(h.broadcast_mul(&spread(&self.gamma)?)?.broadcast_add(&spread(&self.beta)?)?)
    }

    /// The number of grid axes in activations of shape `h`.
    fn grid_rank(&self, h: &[usize]) -> Result<usize> {
        let gamma = self.gamma.dims();
        let Some((width, leading)) = gamma.split_last() else {
            return Err(Error::tensor("gamma", "shape [*, H]", "a scalar"));
        };
        let agrees = |(&a, &b): (&usize, &usize)| a == b || a == 1 || b == 1;
        if h.len() >= gamma.len() && h.last() == Some(width) && h.iter().zip(leading).all(agrees) {
            return Ok(h.len() - gamma.len());
        }
        let axes: Vec<String> = leading
            .iter()
            .map(|&size| if size == 1 { "B".into() } else { format!("{size} or 1") })
            .chain([format!("*grid, {width}")])
            .collect();
        let expected = format!("shape [{}] to be modulated by γ {gamma:?}", axes.join(", "));
        Err(Error::tensor("hidden activations", expected, format!("{h:?}")))
    }
}

//! Coordinates → h₀: a linear map and a sine, in float32 at least.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

use super::config::SirenConfig;
use super::omega::Scale;
use crate::error::Result;
use crate::ops::{clamp, linear};

/// sin(W x + b), or sin(2π·ω₀ · s ⊙ (W x + b)) where the frequencies are learned.
#[derive(Debug, Clone)]
pub(super) struct PositionalEmbedding {
    weight: Tensor,
    bias: Option<Tensor>,
    learned: Option<Learned>,
}

#[derive(Debug, Clone)]
struct Learned {
    factor: f64,
    scale: Tensor,
    bounds: Scale,
}

impl PositionalEmbedding {
    pub(super) fn new(config: &SirenConfig, vb: &VarBuilder) -> Result<Self> {
        let get = |name: &str| config.build(name, vb);
        let learned = match (config.omega.learnable_factor(), config.omega.scale()) {
            (Some(factor), Some(bounds)) => {
                let scale = get("positional_embedding.omega_0_scale")?;
                scale.map(|scale| Learned { factor, scale, bounds: bounds.clone() })
            }
            _ => None,
        };
        Ok(Self {
            weight: config.build_required("positional_embedding.linear.weight", vb)?,
            bias: get("positional_embedding.linear.bias")?,
            learned,
        })
    }

    /// # Shapes
    /// grid `[1, *2L−1, D]` in float32 or float64 → `[1, *2L−1, embedding_dim]` in `dtype`
    pub(super) fn forward(&self, grid: &Tensor, dtype: DType) -> Result<Tensor> {
        // Half precision would blur the phase: the grid's dtype is wide enough.
        let wide = grid.dtype();
        let bias = self.bias.as_ref().map(|bias| bias.to_dtype(wide)).transpose()?;
        let mut phase = linear(grid, &self.weight.to_dtype(wide)?, bias.as_ref(), "grid")?;
        if let Some(Learned { factor, scale, bounds }) = &self.learned {
            let scale = clamp(&scale.to_dtype(wide)?, bounds.min, bounds.max)?;
            phase = phase.broadcast_mul(&(scale * *factor)?)?;
        }
        Ok(phase.sin()?.to_dtype(dtype)?)
    }
}

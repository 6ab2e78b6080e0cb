//! The parameters that take coordinates to h₀, a sine of a linear map.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;

use super::config::SirenConfig;
use super::network::Linear;
use super::omega::Scale;
use crate::error::{Error, Result};
use crate::ops::clamp;

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

    /// Weight and bias, and what the phase is multiplied by, in `dtype`.
    ///
    /// # Shapes
    /// → `[embedding_dim, D]`, `[embedding_dim]`, `[embedding_dim]`
    pub(super) fn tensors(&self, dtype: DType) -> Result<(Linear<Tensor>, Option<Tensor>)> {
        let bias = self.bias.as_ref().map(|bias| bias.to_dtype(dtype)).transpose()?;
        let scale = self.learned.as_ref().map(|Learned { factor, scale, bounds }| {
            let scale = clamp(&scale.to_dtype(dtype)?, bounds.min, bounds.max)?;
            Ok::<_, Error>((scale * *factor)?)
        });
        Ok(((self.weight.to_dtype(dtype)?, bias), scale.transpose()?))
    }
}

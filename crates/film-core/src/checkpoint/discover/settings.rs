//! What a kernel needs to be told because shapes cannot tell it.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::json::{self, Object, number};
use crate::mask::Parametrization;
use crate::siren::Scale;

/// A kernel's settings, from config.json or from the user; `None` is unknown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KernelSettings {
    /// ω₀.
    pub omega_0: Option<f64>,
    /// L_cache, one number for all axes or one for each.
    pub l_cache: Option<Vec<usize>>,
    /// Whether the first (γ, β) modulates the embedding.
    pub film_after_pos_embed: Option<bool>,
    /// Bounds of the learned frequencies.
    pub scale: Scale,
    /// Least σ of a Gaussian mask.
    pub min_std: Option<f64>,
    /// Greatest σ of a Gaussian mask.
    pub max_std: Option<f64>,
    /// In which form a Gaussian mask's σ is stored.
    pub parametrization: Parametrization,
}

impl KernelSettings {
    /// Reads a config.json: its `kernel` object if it has one, else the whole; of the mask, its `mask`
    /// object if it has one, else the same.
    ///
    /// # Errors
    /// If a value is of the wrong kind; the error names the key.
    pub fn from_json(config: &Object) -> Result<Self> {
        let kernel = config.get("kernel").and_then(Value::as_object).unwrap_or(config);
        let mask = config.get("mask").and_then(Value::as_object).unwrap_or(kernel);
        // A block-diagonal kernel's ω₀ is the frequency of its last block.
        let omega_0 = match number(kernel, "omega_0_max")? {
            None if kernel.get("omega_0").is_some_and(Value::is_array) => None,
            None => number(kernel, "omega_0")?,
            some => some,
        };
        let scale = Scale::default();
        Ok(Self {
            omega_0,
            l_cache: l_cache(kernel)?,
            film_after_pos_embed: json::flag(kernel, "film_after_pos_embed")?,
            scale: Scale {
                min: number(kernel, "omega_0_scale_min")?.unwrap_or(scale.min),
                max: number(kernel, "omega_0_scale_max")?.unwrap_or(scale.max),
                ..scale
            },
            min_std: number(mask, "min_std")?,
            max_std: number(mask, "max_std")?,
            parametrization: match mask.get("parametrization").map(|value| (value, value.as_str()))
            {
                None | Some((Value::Null, _)) | Some((_, Some("direct"))) => {
                    Parametrization::Direct
                }
                Some((_, Some("log"))) => Parametrization::Log,
                Some((_, Some("softplus"))) => Parametrization::Softplus,
                Some((other, _)) => {
                    return Err(Error::config(
                        "parametrization",
                        "\"direct\", \"log\" or \"softplus\"",
                        other,
                    ));
                }
            },
        })
    }
}

/// One number, or a list of them.
fn l_cache(kernel: &Object) -> Result<Option<Vec<usize>>> {
    let axes = kernel.get("L_cache").and_then(Value::as_array).map_or(1, Vec::len);
    json::sizes(kernel, "L_cache", axes)
}

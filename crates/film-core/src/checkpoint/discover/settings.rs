//! What a kernel needs to be told because shapes cannot tell it.

use serde_json::Value;

use crate::ckconv;
use crate::conv::Boundary;
use crate::error::Result;
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
    /// The mask's name, which tells of a mask; what has none may have one all the same.
    pub mask: Option<String>,
    /// What a convolution's axes take beyond their ends: one for all axes, or one for each.
    pub boundaries: Option<Vec<Boundary>>,
}

impl KernelSettings {
    /// Reads a config.json: its `kernel` object if it has one, else the whole; of the mask, its `mask`
    /// object if it has one, else the same; of the convolution, the whole or its `kernel` object, whichever has
    /// `fft_padding`.
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
            parametrization: Parametrization::from_json(mask)?,
            mask: mask_name(config).or_else(|| mask_name(kernel)),
            boundaries: boundaries(config, kernel)?,
        })
    }
}

/// The boundaries, by the keys beside the first `fft_padding`.
fn boundaries(config: &Object, kernel: &Object) -> Result<Option<Vec<Boundary>>> {
    let object = if config.contains_key("fft_padding") { config } else { kernel };
    let axes = object.get("fft_padding").and_then(Value::as_array).map_or(1, Vec::len);
    ckconv::boundaries(object, axes)
}

/// A kernel's mask by name: the `type` of an object, or a string, that speaks of a window. Others are no matter of the
/// kernel's ("causal").
fn mask_name(json: &Object) -> Option<String> {
    let mask = json.get("mask")?;
    let name = mask.as_object().map_or(Some(mask), |mask| mask.get("type"))?.as_str()?;
    let window = ["gaussian", "exponential"];
    window.iter().any(|kind| name.to_ascii_lowercase().contains(kind)).then(|| name.into())
}

/// One number, or a list of them.
fn l_cache(kernel: &Object) -> Result<Option<Vec<usize>>> {
    let axes = kernel.get("L_cache").and_then(Value::as_array).map_or(1, Vec::len);
    json::sizes(kernel, "L_cache", axes)
}

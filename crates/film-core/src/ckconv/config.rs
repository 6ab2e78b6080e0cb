//! The configuration: plain data, the original's names as JSON keys.

use serde_json::Value;

use crate::conv::{Boundary, Convolution};
use crate::error::{Error, Result};
use crate::init::Init;
use crate::json::{self, Object};
use crate::mask::MaskConfig;
use crate::parameter::{Parameter, WeightDecay};
use crate::siren::SirenConfig;

/// The arguments of a [`CKConvNd`](super::CKConvNd).
#[derive(Debug, Clone, PartialEq)]
pub struct CKConvConfig {
    /// What each axis takes beyond its ends.
    pub boundaries: Vec<Boundary>,
    /// The kernel; its `out_dim` is the number of channels, its `l_cache` that of its own grid.
    pub kernel: SirenConfig,
    /// The mask on it, if there is one.
    pub mask: Option<MaskConfig>,
}

impl CKConvConfig {
    /// A convolution with that kernel, without a mask.
    ///
    /// The kernel's `l_cache` is taken for signal lengths: on a circular axis, where the kernel has half as many points
    /// as on another one, it becomes (L_cache + 1)/2.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn new(mut kernel: SirenConfig, boundaries: &[Boundary]) -> Result<Self> {
        for (length, boundary) in kernel.l_cache.iter_mut().zip(boundaries) {
            *length = grid_length(*length, *boundary);
        }
        let config = Self { boundaries: boundaries.into(), kernel, mask: None };
        config.validate()?;
        Ok(config)
    }

    /// Reads a JSON object: `fft_padding` ("zero", "circular" or a list), `is_causal`, `kernel` and `mask`; and, where
    /// they are there, `data_dim`, `hidden_dim` and `grid_type` ("double" for zero padding, "single" for circular),
    /// which must agree with the rest.
    ///
    /// `kernel.L_cache` is that of the kernel's own grid: already halved on circular axes.
    ///
    /// # Errors
    /// A missing required key, a value of the wrong kind, or one that [`validate`](Self::validate) refuses.
    pub fn from_json(json: &Object) -> Result<Self> {
        let kernel = match json.get("kernel") {
            Some(Value::Object(kernel)) => SirenConfig::from_json(kernel)?,
            other => {
                let found = other.map_or("nothing: the key is missing".into(), Value::to_string);
                return Err(Error::config("kernel", "an object", found));
            }
        };
        for (key, expected) in [("data_dim", kernel.data_dim), ("hidden_dim", kernel.out_dim)] {
            if let Some(found) = json::size(json, key)?.filter(|found| *found != expected) {
                let expected = format!("{expected}, as the kernel has it");
                return Err(Error::config(key, expected, found));
            }
        }
        let boundaries = boundaries(json, kernel.data_dim)?
            .ok_or_else(|| Error::config("fft_padding", PADDINGS, "nothing: the key is missing"))?;
        let mask = match json.get("mask") {
            None | Some(Value::Null) => None,
            Some(Value::Object(mask)) => Some(MaskConfig::from_json(mask, &kernel.l_cache)?),
            Some(other) => return Err(Error::config("mask", "an object", other)),
        };
        let config = Self { boundaries, kernel, mask };
        config.validate()?;
        Ok(config)
    }

    /// Checks that such a convolution can exist.
    ///
    /// # Errors
    /// A boundary too few or too many; a causal axis among several; a kernel or mask that cannot be, or a mask of
    /// other axes or channels than the kernel's.
    pub fn validate(&self) -> Result<()> {
        self.kernel.validate()?;
        if self.boundaries.len() != self.kernel.data_dim {
            let expected = format!("{} of them, one for each axis", self.kernel.data_dim);
            return Err(Error::config("fft_padding", expected, self.boundaries.len()));
        }
        Convolution::new(&self.boundaries)?;
        let Some(mask) = &self.mask else { return Ok(()) };
        let [expected, found] =
            [[self.kernel.data_dim, self.kernel.out_dim], mask.shape()].map(|x| format!("{x:?}"));
        if expected != found {
            return Err(Error::config("mask", format!("{expected} axes and channels"), found));
        }
        mask.validate()
    }

    /// The grid lengths of the kernel for a signal of `spatial` points.
    ///
    /// # Errors
    /// If there is not one length for each axis, or one is 0.
    pub fn grid_lengths(&self, spatial: &[usize]) -> Result<Vec<usize>> {
        if spatial.len() != self.boundaries.len() || spatial.contains(&0) {
            let expected = format!("{} of at least 1, one for each axis", self.boundaries.len());
            return Err(Error::config("signal lengths", expected, format!("{spatial:?}")));
        }
        let lengths = spatial.iter().zip(&self.boundaries);
        Ok(lengths.map(|(&length, &boundary)| grid_length(length, boundary)).collect())
    }

    /// All parameters, by their checkpoint names: the shortcut's, the kernel's and the mask's.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        self.validate()?;
        let kernel = self.kernel.parameters()?.into_iter().map(|each| each.under("kernel"));
        let mask = self.mask.as_ref().map(MaskConfig::parameter).transpose()?;
        Ok([self.shortcut()]
            .into_iter()
            .chain(kernel)
            .chain(mask.map(|mask| mask.under("mask")))
            .collect())
    }

    /// `shortcut` `[C]` ~ U(±1/√C).
    pub(super) fn shortcut(&self) -> Parameter {
        let channels = self.kernel.out_dim;
        let init = Init::Uniform { bound: 1.0 / (channels as f64).sqrt() };
        Parameter::new("shortcut", &[channels], init, WeightDecay::Default)
    }
}

const PADDINGS: &str = "\"zero\", \"circular\", or a list of them";

/// A kernel's grid length for a signal's: the whole of it, or half of it on a ring.
fn grid_length(length: usize, boundary: Boundary) -> usize {
    match boundary {
        Boundary::Zero | Boundary::Causal => length,
        Boundary::Circular => length.div_ceil(2),
    }
}

/// The boundaries that `fft_padding`, `grid_type` and `is_causal` tell, if there is an `fft_padding`.
pub(crate) fn boundaries(json: &Object, axes: usize) -> Result<Option<Vec<Boundary>>> {
    let causal = json::flag(json, "is_causal")?.unwrap_or(false);
    let padding = match json.get("fft_padding") {
        None | Some(Value::Null) => return Ok(None),
        Some(padding) => padding,
    };
    let boundary = |value: &Value| match value.as_str() {
        Some("zero") => Ok(if causal { Boundary::Causal } else { Boundary::Zero }),
        Some("circular") if !causal => Ok(Boundary::Circular),
        Some("circular") => Err(Error::config("fft_padding", "\"zero\" with is_causal", value)),
        _ => Err(Error::config("fft_padding", PADDINGS, value)),
    };
    let boundaries: Vec<Boundary> = match padding {
        Value::Array(values) => values.iter().map(boundary).collect::<Result<_>>()?,
        one => vec![boundary(one)?; axes],
    };
    if boundaries.len() != axes {
        let expected = format!("{axes} of them, one for each axis");
        return Err(Error::config("fft_padding", expected, padding));
    }
    let grids = boundaries.iter().map(|boundary| match boundary {
        Boundary::Zero | Boundary::Causal => "double",
        Boundary::Circular => "single",
    });
    match json.get("grid_type") {
        None | Some(Value::Null) => {}
        Some(found) => {
            for expected in grids {
                if found.as_str() != Some(expected) {
                    let expected = format!("\"{expected}\" with fft_padding {padding}");
                    return Err(Error::config("grid_type", expected, found));
                }
            }
        }
    }
    Ok(Some(boundaries))
}

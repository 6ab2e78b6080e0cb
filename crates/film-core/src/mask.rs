//! Masks on a drawn kernel: smooth windows, one for each channel, that fall from the centre.

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::init::Init;
use crate::json::{Object, at_least_1, non_negative, number, positive, required_size};
use crate::ops::{Falloff, apply_windows, apply_windows_in_place, clamp};
use crate::parameter::{Parameter, WeightDecay};

/// In which form a Gaussian mask's σ is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parametrization {
    /// σ itself.
    #[default]
    Direct,
    /// log σ.
    Log,
    /// softplus⁻¹ σ.
    Softplus,
}

impl Parametrization {
    /// Reads the key `parametrization`; direct if it is missing.
    ///
    /// # Errors
    /// If there is another value.
    pub(crate) fn from_json(json: &Object) -> Result<Self> {
        match json.get("parametrization").map(|value| (value, value.as_str())) {
            None | Some((Value::Null, _) | (_, Some("direct"))) => Ok(Self::Direct),
            Some((_, Some("log"))) => Ok(Self::Log),
            Some((_, Some("softplus"))) => Ok(Self::Softplus),
            Some((other, _)) => {
                let expected = "\"direct\", \"log\" or \"softplus\"";
                Err(Error::config("parametrization", expected, other))
            }
        }
    }
}

/// The arguments of a [`Mask`] of the Gaussian kind.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianMaskConfig {
    /// Number of grid axes, D.
    pub data_dim: usize,
    /// Number of channels, C.
    pub num_channels: usize,
    /// σ is clamped to at least this.
    pub min_std: f64,
    /// σ is clamped to at most this.
    pub max_std: f64,
    /// Factor on σ at init. Default 1.
    pub init_extent: f64,
    /// In which form σ is stored.
    pub parametrization: Parametrization,
    /// Whether the channels start in reverse order, so that the widest windows meet the lowest
    /// frequencies of a block-diagonal kernel. Default false.
    pub block_aligned: bool,
}

/// The arguments of a [`Mask`] of the exponential kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExponentialMaskConfig {
    /// Number of grid axes, D.
    pub data_dim: usize,
    /// Number of channels, C.
    pub num_channels: usize,
}

/// Which mask, and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskConfig {
    /// exp(−½ Σ_d (p_d/σ_dc)²).
    Gaussian(GaussianMaskConfig),
    /// ∏_d exp(−|p_d|·|w_dc|).
    Exponential(ExponentialMaskConfig),
}

/// A mask that multiplies a kernel.
///
/// # Shapes
/// grid `[1, *G, D]`, kernel `[B, *G, C]` → `[B, *G, C]`
#[derive(Debug, Clone)]
pub struct Mask {
    config: MaskConfig,
    parameter: Tensor,
}

/// The σ at which a Gaussian has the value `value` at `position`: p·√(−1/(2 ln a)).
pub fn gaussian_std(value: f64, position: f64) -> f64 {
    position * (-1.0 / (2.0 * libm::log(value))).sqrt()
}

impl GaussianMaskConfig {
    /// The value at one step from the centre that the narrowest window may have.
    pub const MIN_ATTENUATION_AT_STEP: f64 = 0.1;
    /// The value at the edge that the widest window may have.
    pub const MAX_ATTENUATION_AT_LIMIT: f64 = 0.95;

    /// The original's bounds for a grid built for `l_cache` points: at least 0.1 one step from the
    /// centre, at most 0.95 at the edge.
    pub fn new(num_channels: usize, l_cache: &[usize]) -> Self {
        let longest = l_cache.iter().copied().max().unwrap_or(2).max(2);
        let step = 2.0 / (2 * longest - 2) as f64;
        Self {
            data_dim: l_cache.len(),
            num_channels,
            min_std: gaussian_std(Self::MIN_ATTENUATION_AT_STEP, step),
            max_std: gaussian_std(Self::MAX_ATTENUATION_AT_LIMIT, 1.0),
            init_extent: 1.0,
            parametrization: Parametrization::Direct,
            block_aligned: false,
        }
    }

    /// σ of each channel at init: log-spaced from `min_std` to the σ that falls to 0.1 at the edge, both times
    /// `init_extent` and clamped.
    fn start(&self) -> Vec<f64> {
        let end = |std: f64| (std * self.init_extent).clamp(self.min_std, self.max_std);
        let first = end(self.min_std);
        let last = end(gaussian_std(Self::MIN_ATTENUATION_AT_STEP, 1.0));
        let steps = (self.num_channels.max(2) - 1) as f64;
        let std = |channel: usize| first * libm::pow(last / first, channel as f64 / steps);
        let mut stds: Vec<f64> = (0..self.num_channels).map(std).collect();
        if self.block_aligned {
            stds.reverse();
        }
        stds
    }
}

impl MaskConfig {
    fn sizes(&self) -> [(&'static str, usize); 2] {
        let (data_dim, num_channels) = match self {
            Self::Gaussian(config) => (config.data_dim, config.num_channels),
            Self::Exponential(config) => (config.data_dim, config.num_channels),
        };
        [("data_dim", data_dim), ("num_channels", num_channels)]
    }

    /// Reads a JSON object: `type` ("gaussian" or "exponential"), `num_channels`, and for a Gaussian one `min_std`,
    /// `max_std` and `parametrization` ("direct", "log" or "softplus"); its bounds are the original's for `l_cache`
    /// where they are not given.
    ///
    /// # Errors
    /// A missing required key, or a value of the wrong kind.
    pub fn from_json(json: &Object, l_cache: &[usize]) -> Result<Self> {
        let num_channels = required_size(json, "num_channels")?;
        match json.get("type").and_then(Value::as_str) {
            Some("gaussian") => {
                let default = GaussianMaskConfig::new(num_channels, l_cache);
                Ok(Self::Gaussian(GaussianMaskConfig {
                    min_std: number(json, "min_std")?.unwrap_or(default.min_std),
                    max_std: number(json, "max_std")?.unwrap_or(default.max_std),
                    parametrization: Parametrization::from_json(json)?,
                    ..default
                }))
            }
            Some("exponential") => Ok(Self::Exponential(ExponentialMaskConfig {
                data_dim: l_cache.len(),
                num_channels,
            })),
            _ => {
                let found = json.get("type").map_or("nothing".into(), Value::to_string);
                Err(Error::config("mask.type", "\"gaussian\" or \"exponential\"", found))
            }
        }
    }

    /// `[data_dim, num_channels]`
    pub(crate) fn shape(&self) -> [usize; 2] {
        self.sizes().map(|(_, size)| size)
    }

    /// Checks that such a mask can exist.
    ///
    /// # Errors
    /// A zero size, or bounds of σ that are not positive or out of order.
    pub fn validate(&self) -> Result<()> {
        self.sizes().iter().try_for_each(|(key, size)| at_least_1(key, *size))?;
        if let Self::Gaussian(config) = self {
            positive("min_std", config.min_std)?;
            positive("max_std", config.max_std)?;
            non_negative("init_extent", config.init_extent)?;
            if config.max_std < config.min_std {
                let expected = format!("at least min_std, {}", config.min_std);
                return Err(Error::config("max_std", expected, config.max_std));
            }
        }
        Ok(())
    }

    /// The parameter, `std_param` or `weight`, `[D, C]`. It does not decay.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn parameter(&self) -> Result<Parameter> {
        self.validate()?;
        let [(_, axes), (_, channels)] = self.sizes();
        let (name, row): (&str, Vec<f64>) = match self {
            Self::Gaussian(config) => {
                let stored = |std: f64| match config.parametrization {
                    Parametrization::Direct => std,
                    Parametrization::Log => libm::log(std),
                    Parametrization::Softplus => libm::log(libm::expm1(std)),
                };
                ("std_param", config.start().into_iter().map(stored).collect())
            }
            Self::Exponential(_) => {
                let (first, last) = (2.3 / axes as f64, 13.81 / axes as f64);
                let steps = (channels.max(2) - 1) as f64;
                (
                    "weight",
                    (0..channels)
                        .map(|channel| first + (last - first) * channel as f64 / steps)
                        .collect(),
                )
            }
        };
        let values = std::iter::repeat_n(row, axes).flatten().collect();
        Ok(Parameter::new(name, &[axes, channels], Init::Values { values }, WeightDecay::None))
    }
}

impl Mask {
    /// Builds the mask from `vb`, loading or initialising its parameter.
    ///
    /// # Errors
    /// If the configuration is not valid, or the builder holds the parameter in another shape.
    pub fn new(config: &MaskConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self { config: config.clone(), parameter: config.parameter()?.build(&vb)? })
    }

    /// Multiplies the kernel, in float32 at least, and returns the kernel's dtype.
    ///
    /// # Shapes
    /// grid `[1, *G, D]` as [`siren::grid`](crate::siren::grid) makes it, kernel `[B, *G, C]` → `[B, *G, C]`
    ///
    /// # Errors
    /// If the grid or the kernel is of another shape.
    pub fn apply(&self, grid: &Tensor, kernel: &Tensor) -> Result<Tensor> {
        let windows = self.windows(grid, kernel)?;
        let wide = if kernel.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let masked = apply_windows(&kernel.to_dtype(wide)?, &windows)?;
        Ok(masked.to_dtype(kernel.dtype())?)
    }

    /// The same of a kernel whose memory is nobody else's: it is multiplied where it is, if nothing tracks it.
    ///
    /// # Shapes
    /// As [`apply`](Self::apply).
    pub(crate) fn apply_to_own(&self, grid: &Tensor, kernel: Tensor) -> Result<Tensor> {
        let windows = self.windows(grid, &kernel)?;
        if apply_windows_in_place(&kernel, &windows)? {
            Ok(kernel)
        } else {
            self.apply(grid, &kernel)
        }
    }

    /// The window along each axis, in float32 at least: the whole one is their product, as the grid is one of
    /// coordinates.
    ///
    /// # Shapes
    /// grid `[1, *G, D]`, kernel `[B, *G, C]` → `[Gᵢ, C]` for each axis
    fn windows(&self, grid: &Tensor, kernel: &Tensor) -> Result<Vec<Tensor>> {
        let (axes, channels) = self.parameter.dims2()?;
        if grid.rank() != axes + 2 || grid.dims().last() != Some(&axes) {
            let points = vec!["G"; axes].join(", ");
            let expected = format!("shape [1, {points}, {axes}]");
            return Err(Error::tensor("grid", expected, format!("{:?}", grid.dims())));
        }
        let points = &grid.dims()[1..=axes];
        if kernel.rank() != axes + 2
            || &kernel.dims()[1..=axes] != points
            || kernel.dims().last() != Some(&channels)
        {
            let sizes = points.iter().chain([&channels]).map(ToString::to_string);
            let expected = format!("shape [B, {}]", sizes.collect::<Vec<_>>().join(", "));
            return Err(Error::tensor("kernel", expected, format!("{:?}", kernel.dims())));
        }
        let wide = if kernel.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let widths = self.widths(wide)?;
        let falloff = match &self.config {
            MaskConfig::Gaussian(_) => Falloff::Gaussian,
            MaskConfig::Exponential(_) => Falloff::Exponential,
        };
        let window = |axis: usize| {
            let mut line = grid.narrow(axes + 1, axis, 1)?;
            for other in (0..axes).filter(|other| *other != axis) {
                line = line.narrow(other + 1, 0, 1)?;
            }
            falloff.window(&line.flatten_all()?.to_dtype(wide)?, &widths.get(axis)?)
        };
        (0..axes).map(window).collect()
    }

    /// σ, or |w|, of each axis and channel.
    ///
    /// # Shapes
    /// → `[D, C]`
    fn widths(&self, wide: DType) -> Result<Tensor> {
        let parameter = self.parameter.to_dtype(wide)?;
        match &self.config {
            MaskConfig::Gaussian(config) => {
                let std = match config.parametrization {
                    Parametrization::Direct => parameter,
                    Parametrization::Log => parameter.exp()?,
                    Parametrization::Softplus => softplus(&parameter)?,
                };
                clamp(&std, config.min_std, config.max_std)
            }
            // |w|, with the slope 0 at 0, as PyTorch has it; candle's has 1.
            MaskConfig::Exponential(_) => Ok((&parameter * parameter.detach().sign()?)?),
        }
    }
}

/// log(1 + exp x), without overflow: max(x, 0) + log(1 + exp(−|x|)).
fn softplus(x: &Tensor) -> Result<Tensor> {
    Ok((x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_originals() {
        // The values in the fixtures' configurations: L_cache 6 and 7.
        let config = GaussianMaskConfig::new(8, &[6, 6]);
        assert!((config.min_std - 0.09319812035693123).abs() < 1e-15);
        assert!((config.max_std - 3.122156766261399).abs() < 1e-14);
        assert!((GaussianMaskConfig::new(8, &[7, 3]).min_std - 0.07766510029744268).abs() < 1e-15);
    }

    #[test]
    fn block_aligned_masks_start_in_reverse() {
        let config = GaussianMaskConfig::new(5, &[6]);
        let mut reversed = GaussianMaskConfig { block_aligned: true, ..config.clone() }.start();
        reversed.reverse();
        assert_eq!(config.start(), reversed);
        assert_eq!(config.start()[0], config.min_std);
        assert!((config.start()[4] - gaussian_std(0.1, 1.0)).abs() < 1e-12);
    }

    #[test]
    fn the_extent_moves_the_ends() {
        let config = GaussianMaskConfig { init_extent: 10.0, ..GaussianMaskConfig::new(3, &[7]) };
        let (first, last) = (10.0 * config.min_std, config.max_std);
        for (got, expected) in config.start().iter().zip([first, (first * last).sqrt(), last]) {
            assert!((got - expected).abs() < 1e-12, "{got} and {expected}");
        }
    }
}

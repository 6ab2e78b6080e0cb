//! Seeded initialisation: the same seed gives the same bytes on every platform.
//!
//! Each tensor draws from its own stream, keyed by the seed and the tensor's full name, so the
//! order in which tensors are asked for changes nothing. The bits come from SplitMix64 (Steele,
//! Lea & Flood 2014, "Fast splittable pseudorandom number generators", fig. 17), normal numbers
//! by Box & Muller (1958) with the `libm` crate's logarithm and cosine, which unlike the
//! system's do not differ between platforms. Numbers are drawn in float64 and rounded to
//! the tensor's dtype; the factors of single rows and blocks are applied in that dtype.

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{VarBuilder, VarMap};

use crate::error::{Error, Result};

/// How a fresh parameter starts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// All zero.
    Zeros,
    /// U(−bound, bound).
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// N(0, std²).
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// Row k of a matrix ~ U(−bound_k, bound_k).
    UniformRows {
        /// The bounds.
        bounds: Vec<f64>,
    },
    /// U(−bound, bound), times `off_block_scale` outside the diagonal blocks of a matrix.
    BlockUniform {
        /// The bound.
        bound: f64,
        /// Number of blocks along the diagonal; it divides both axes.
        num_blocks: usize,
        /// The factor.
        off_block_scale: f64,
    },
    /// A generator's output bias: per layer, `kernel_hidden_dim` ones (γ), then as many zeros (β).
    FilmIdentity {
        /// Width of γ and of β.
        kernel_hidden_dim: usize,
    },
    /// These values, row-major.
    Values {
        /// The values.
        values: Vec<f64>,
    },
}

impl Init {
    /// The part that candle's initialisers can express.
    pub(crate) fn hint(&self) -> candle_nn::Init {
        let uniform = |bound: f64| candle_nn::Init::Uniform { lo: -bound, up: bound };
        match *self {
            Self::Zeros | Self::FilmIdentity { .. } | Self::Values { .. } => {
                candle_nn::Init::Const(0.0)
            }
            Self::Uniform { bound } | Self::BlockUniform { bound, .. } => uniform(bound),
            Self::UniformRows { .. } => uniform(1.0),
            Self::Normal { std } => candle_nn::Init::Randn { mean: 0.0, stdev: std },
        }
    }

    /// The rest: what a tensor drawn from [`hint`](Self::hint) has to become, if anything.
    pub(crate) fn refine(&self, drawn: &Tensor) -> Result<Option<Tensor>> {
        let like = |values: Vec<f64>, shape: &[usize]| {
            Tensor::from_vec(values, shape, &Device::Cpu)?
                .to_dtype(drawn.dtype())?
                .to_device(drawn.device())
        };
        Ok(match self {
            Self::Zeros | Self::Uniform { .. } | Self::Normal { .. } => None,
            Self::BlockUniform { num_blocks: 1, .. } => None,
            Self::FilmIdentity { kernel_hidden_dim: width } => {
                let is_gamma = |index: usize| (index / width).is_multiple_of(2);
                let value = |index| f64::from(u8::from(is_gamma(index)));
                Some(like((0..drawn.elem_count()).map(value).collect(), drawn.dims())?)
            }
            Self::Values { values } => Some(like(values.clone(), drawn.dims())?),
            Self::UniformRows { bounds } => {
                Some(drawn.broadcast_mul(&like(bounds.clone(), &[bounds.len(), 1])?)?)
            }
            Self::BlockUniform { num_blocks, off_block_scale, .. } => {
                let (rows, columns) = drawn.dims2()?;
                let (height, width) = (rows / num_blocks, columns / num_blocks);
                let factor =
                    |index: usize| match (index / columns) / height == (index % columns) / width {
                        true => 1.0,
                        false => *off_block_scale,
                    };
                Some((drawn * like((0..rows * columns).map(factor).collect(), &[rows, columns])?)?)
            }
        })
    }
}

/// A builder that puts every tensor asked for into `vars`, drawn from `seed`.
///
/// Tensors that `vars` holds already are returned as they are.
///
/// ```
/// use candle_core::{DType, Device};
/// use film_core::{KernelFilmConfig, KernelFilmGenerator, init};
/// let vars = candle_nn::VarMap::new();
/// let vb = init::var_builder(&vars, 0, DType::F32, &Device::Cpu);
/// let generator = KernelFilmGenerator::new(&KernelFilmConfig::new(384, 32, 3), vb)?;
/// assert_eq!(vars.all_vars().len(), 4);
/// # Ok::<(), film_core::Error>(())
/// ```
pub fn var_builder(vars: &VarMap, seed: u64, dtype: DType, device: &Device) -> VarBuilder<'static> {
    let backend = Seeded { vars: vars.clone(), seed };
    VarBuilder::from_backend(Box::new(backend), dtype, device.clone())
}

struct Seeded {
    vars: VarMap,
    seed: u64,
}

impl SimpleBackend for Seeded {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        hint: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        if !SimpleBackend::contains_tensor(&self.vars, name) {
            let values = draw(&mut Stream::new(self.seed, name), &shape, name, hint)?;
            let value = Tensor::from_vec(values, shape.clone(), &Device::Cpu)?;
            let var = Var::from_tensor(&value.to_dtype(dtype)?.to_device(device)?)?;
            let mut vars = self.vars.data().lock().map_err(candle_core::Error::msg)?;
            vars.entry(name.to_string()).or_insert(var);
        }
        self.vars.get(shape, name, hint, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name}: a fresh tensor needs a shape: use `get`")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        SimpleBackend::contains_tensor(&self.vars, name)
    }
}

/// The values of a tensor, row-major, in float64.
fn draw(stream: &mut Stream, shape: &Shape, name: &str, hint: candle_nn::Init) -> Result<Vec<f64>> {
    let count = shape.elem_count();
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| Error::Memory {
        what: name.into(),
        bytes: (count as u64).saturating_mul(8),
    })?;
    let mut fill = |next: &mut dyn FnMut() -> f64| values.extend((0..count).map(|_| next()));
    match hint {
        candle_nn::Init::Const(value) => fill(&mut || value),
        candle_nn::Init::Uniform { lo, up } => fill(&mut || stream.uniform(lo, up)),
        candle_nn::Init::Randn { mean, stdev } => fill(&mut || mean + stdev * stream.normal()),
        candle_nn::Init::Kaiming { dist, fan, non_linearity } => {
            let fan = if matches!(fan, FanInOut::FanIn | FanInOut::FanOut) {
                fan.for_shape(shape)
            } else {
                1
            };
            let std = non_linearity.gain() / (fan as f64).sqrt();
            match dist {
                NormalOrUniform::Uniform => {
                    let bound = 3f64.sqrt() * std;
                    fill(&mut || stream.uniform(-bound, bound));
                }
                NormalOrUniform::Normal => fill(&mut || std * stream.normal()),
            }
        }
    }
    Ok(values)
}

/// A stream of random numbers, keyed by a seed and a name.
#[derive(Debug, Clone)]
pub struct Stream {
    state: u64,
    spare: Option<f64>,
}

impl Stream {
    /// The stream of `name` under `seed`. The name is folded in by FNV-1a, then mixed.
    pub fn new(seed: u64, name: &str) -> Self {
        let fold =
            |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let name = name.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
        Self { state: mix(seed) ^ mix(name.wrapping_add(0x9e37_79b9_7f4a_7c15)), spare: None }
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in [0, 1) with 53 random bits.
    fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number from U(`lo`, `up`).
    pub fn uniform(&mut self, lo: f64, up: f64) -> f64 {
        lo + (up - lo) * self.unit()
    }

    /// A number from N(0, 1).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        let angle = std::f64::consts::TAU * self.unit();
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }
}

/// SplitMix64's output function.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_its_published_sequence() {
        let mut stream = Stream { state: 1234567, spare: None };
        let drawn: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        assert_eq!(drawn, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn names_and_seeds_have_streams_of_their_own() {
        let first = |seed, name| Stream::new(seed, name).next_u64();
        assert_eq!(first(0, "mlp.0.weight"), first(0, "mlp.0.weight"));
        assert_ne!(first(0, "mlp.0.weight"), first(0, "mlp.0.bias"));
        assert_ne!(first(0, "mlp.0.weight"), first(1, "mlp.0.weight"));
    }

    #[test]
    fn streams_are_the_same_everywhere() {
        let mut stream = Stream::new(7, "mlp.0.weight");
        let drawn = [stream.next_u64(), stream.normal().to_bits(), stream.normal().to_bits()];
        assert_eq!(drawn, [4105063691837885732, 4583047081115443181, 4601008087802548394]);
    }

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let mut stream = Stream::new(7, "x");
        let n = 200_000;
        let drawn: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let moment = |power: i32| drawn.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(n);
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.02, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.05, "skewness {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "kurtosis {}", moment(4));
    }
}

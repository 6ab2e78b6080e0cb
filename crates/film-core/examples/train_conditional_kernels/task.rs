//! The task: Gabor kernels, each asked for by register tokens that speak of its angle, frequency and width.

use std::f64::consts::TAU;

use candle_core::{Device, Tensor};
use film_core::Result;
use film_core::init::Stream;

/// Grid lengths of the kernels that are trained on: 17 × 17 points, over [−1, 1] along each axis.
pub(crate) const LENGTHS: [usize; 2] = [9, 9];
/// An even and an odd kernel each: cosine and sine of the same wave.
pub(crate) const CHANNELS: usize = 2;
/// A token for each parameter.
pub(crate) const REGISTERS: usize = 3;
/// Numbers in a token: those that its parameter fills and, zero, those of the others.
pub(crate) const WIDTH: usize = 16;

/// From where to where frequencies go, in periods from the centre to the edge, and widths.
const FREQUENCY: (f64, f64) = (0.5, 2.0);
const SPREAD: (f64, f64) = (0.2, 0.45);

/// A wave under a bell: exp(−r²/2σ²) · cos or sin of 2πf(x cos θ + y sin θ).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gabor {
    /// θ in radians, over the full turn.
    pub(crate) angle: f64,
    /// f, in periods from the centre to the edge.
    pub(crate) frequency: f64,
    /// σ, in distances from the centre to the edge.
    pub(crate) spread: f64,
}

impl Gabor {
    /// Uniform in the angle and in the logarithms of the others.
    fn random(stream: &mut Stream) -> Self {
        let mut between =
            |(low, high): (f64, f64)| low * (high / low).powf(stream.uniform(0.0, 1.0));
        let (frequency, spread) = (between(FREQUENCY), between(SPREAD));
        Self { angle: stream.uniform(0.0, TAU), frequency, spread }
    }

    /// The even and the odd kernel's value at a point.
    fn at(&self, y: f64, x: f64) -> [f64; CHANNELS] {
        let bell = (-(x * x + y * y) / (2.0 * self.spread.powi(2))).exp();
        let (sin, cos) = self.angle.sin_cos();
        let (odd, even) = (TAU * self.frequency * (x * cos + y * sin)).sin_cos();
        [bell * even, bell * odd]
    }

    /// Harmonics of the angle in the first token, Chebyshev polynomials of the logarithms in the others; each in
    /// numbers of its own, so that the weighted mean that pooling takes keeps them apart.
    fn tokens(&self) -> [[f64; WIDTH]; REGISTERS] {
        let mut tokens = [[0.0; WIDTH]; REGISTERS];
        for order in 0..4 {
            let angle = (order + 1) as f64 * self.angle;
            tokens[0][2 * order] = angle.cos();
            tokens[0][2 * order + 1] = angle.sin();
            for (token, value, (low, high)) in
                [(1, self.frequency, FREQUENCY), (2, self.spread, SPREAD)]
            {
                let place = 2.0 * (value / low).ln() / (high / low).ln() - 1.0;
                let polynomial = ((order + 1) as f64 * place.clamp(-1.0, 1.0).acos()).cos();
                tokens[token][4 + 4 * token + order] = polynomial;
            }
        }
        // The mean over the tokens divides by their number.
        tokens.map(|token| token.map(|value| value * REGISTERS as f64))
    }
}

/// Some kernels and how they are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// Their parameters.
    pub(crate) gabors: Vec<Gabor>,
    /// `[B, REGISTERS, WIDTH]`
    pub(crate) registers: Tensor,
    /// `[B, 17, 17, CHANNELS]`
    pub(crate) targets: Tensor,
}

impl Batch {
    /// `count` random ones, the same for a seed and a name on every run: training at a step needs no step before it.
    pub(crate) fn new(seed: u64, name: &str, count: usize) -> Result<Self> {
        let mut stream = Stream::new(seed, name);
        let gabors: Vec<Gabor> = (0..count).map(|_| Gabor::random(&mut stream)).collect();
        let tokens = gabors.iter().flat_map(|gabor| gabor.tokens().into_iter().flatten());
        let tokens: Vec<f32> = tokens.map(|value| value as f32).collect();
        Ok(Self {
            registers: Tensor::from_vec(tokens, (count, REGISTERS, WIDTH), &Device::Cpu)?,
            targets: kernels(&gabors, LENGTHS)?,
            gabors,
        })
    }
}

/// The kernels themselves, on a grid of these lengths over [−1, 1]: `[B, *2L−1, CHANNELS]`.
pub(crate) fn kernels(gabors: &[Gabor], lengths: [usize; 2]) -> Result<Tensor> {
    let [height, width] = lengths.map(|length| 2 * length - 1);
    let coordinate = |index: usize, length: usize| index as f64 / (length - 1) as f64 - 1.0;
    let mut values = Vec::with_capacity(gabors.len() * height * width * CHANNELS);
    for gabor in gabors {
        for row in 0..height {
            for column in 0..width {
                let (y, x) = (coordinate(row, lengths[0]), coordinate(column, lengths[1]));
                values.extend(gabor.at(y, x).map(|value| value as f32));
            }
        }
    }
    Ok(Tensor::from_vec(values, (gabors.len(), height, width, CHANNELS), &Device::Cpu)?)
}

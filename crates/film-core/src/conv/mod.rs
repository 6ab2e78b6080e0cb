//! Depthwise convolution with long kernels: each channel of a signal with a kernel of its own.
//!
//! ```text
//! axis        one axis of the convolution and of its gradients, as sums of one form
//! reference   the definition, term by term            direct, pack   many channels at a time
//! fft         transforms on the CPU                    matmul         transforms as matrix products, any device
//! plan        which of them                            op             the CPU ones as one differentiable operation
//! spread      its jobs, and how they are put together  operands       what a job packs and computes
//! ```
//!
//! It is a true convolution (the kernel is flipped). With a centred kernel of K = 2L − 1 points,
//! y\[n\] = Σ_j k\[j\] · x\[n + L − 1 − j\] along each axis.

mod axis;
mod direct;
mod fft;
mod matmul;
mod op;
mod operands;
mod pack;
mod plan;
mod real;
mod reference;
mod spread;

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use op::{Depthwise, Sizes};

pub use axis::Boundary;

/// Where the channels of a signal stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channels {
    /// `[B, *spatial, C]`
    #[default]
    Last,
    /// `[B, C, *spatial]`
    First,
}

/// How a convolution is computed. All ways agree within rounding, and all are differentiable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Term by term in float64, on the CPU: the definition, and slow.
    Reference,
    /// Term by term with vector instructions, on the CPU. Best for short axes and short kernels.
    Direct,
    /// By real fast Fourier transforms, on the CPU. Best for long axes.
    Fft,
    /// By Fourier transforms in the form of small matrix products, in candle's operations, on any device.
    Matmul,
}

/// A depthwise convolution.
///
/// # Shapes
/// signal `[B, *spatial, C]` or `[B, C, *spatial]`, kernel `[1 or B, *K, C]` → the signal's
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    boundaries: Vec<Boundary>,
    channels: Channels,
    algorithm: Option<Algorithm>,
}

impl Convolution {
    /// A convolution over as many axes as there are boundaries, of signals with their channels last.
    ///
    /// # Errors
    /// If there is no axis, or a causal one among several.
    pub fn new(boundaries: &[Boundary]) -> Result<Self> {
        match boundaries {
            [] => Err(Error::config("boundaries", "one for each axis", "none")),
            [_] => Ok(()),
            several if several.contains(&Boundary::Causal) => {
                let found = format!("{} axes", several.len());
                Err(Error::config("is_causal", "one axis, for a causal convolution", found))
            }
            _ => Ok(()),
        }?;
        Ok(Self { boundaries: boundaries.into(), channels: Channels::Last, algorithm: None })
    }

    /// The same of signals whose channels stand there.
    #[must_use]
    pub fn channels(self, channels: Channels) -> Self {
        Self { channels, ..self }
    }

    /// The same computed in that way. By default the sizes and the device decide.
    #[must_use]
    pub fn algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm: Some(algorithm), ..self }
    }

    /// Convolves each channel of `signal` with its kernel; a kernel batch of 1 serves all samples.
    ///
    /// Kernels on zero and circular axes have an odd number of points and are centred; on a causal axis the first
    /// point multiplies the present. Half precision is computed in float32; the output has the signal's dtype.
    /// Differentiable in both.
    ///
    /// Beside signal, kernel and output, the CPU's own ways take memory for at most the output once more, its channels filled
    /// up to a vector; for index tables of 8 bytes a point of one channel's signal and kernel, which all threads share; and,
    /// by each thread, for some channels of a sample: of sums as many as 2 MiB of its signal and of its kernel hold, or a
    /// vector of them; of transforms at most 16, and the spectra of their kernels, up to 64 MiB or one channel's. Plans of
    /// transforms are kept for later calls, of at most 2²² points together. The matrix products go by chunks of samples and
    /// channels whose spectra have 2²³ numbers together, or of one channel of one sample where that is more; with
    /// variables, candle keeps all chunks' intermediate results for the backward pass.
    ///
    /// # Shapes
    /// signal `[B, *spatial, C]` or `[B, C, *spatial]`, kernel `[1 or B, *K, C]` → the signal's
    ///
    /// # Errors
    /// If the shapes, dtypes or devices do not fit together; if a kernel has an even number of points where it is
    /// centred, or is longer than 2N − 1 (zero) or N (circular, causal) on an axis of length N; if the way of
    /// computing is for the CPU and the tensors are not.
    pub fn forward(&self, signal: &Tensor, kernel: &Tensor) -> Result<Tensor> {
        let sizes = self.sizes(signal, kernel)?;
        let dtype = signal.dtype();
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let (signal, kernel) = (signal.to_dtype(wide)?, kernel.to_dtype(wide)?);
        let algorithm = match (self.algorithm, signal.device().is_cpu()) {
            (None, false) => Some(Algorithm::Matmul),
            (Some(Algorithm::Matmul), _) | (_, true) => self.algorithm,
            (Some(other), false) => {
                let found = format!("{:?}", signal.device().location());
                return Err(Error::config(format!("{other:?}"), "tensors on the CPU", found));
            }
        };
        let output = if algorithm == Some(Algorithm::Matmul) {
            self.matmul(&signal, &kernel, &sizes)?
        } else {
            let op = Depthwise { sizes, kind: axis::Kind::Output, algorithm };
            signal.contiguous()?.apply_op2(&kernel.contiguous()?, op)?
        };
        Ok(output.to_dtype(dtype)?)
    }

    fn matmul(&self, signal: &Tensor, kernel: &Tensor, sizes: &Sizes) -> Result<Tensor> {
        if signal.elem_count() == 0 {
            return Ok(signal.zeros_like()?);
        }
        let rank = signal.rank();
        let first: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let last: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        let kernel = kernel.permute(first.clone())?;
        let axes = sizes.axes(axis::Kind::Output);
        Ok(match self.channels {
            Channels::First => matmul::convolve(signal, &kernel, axes)?,
            Channels::Last => {
                matmul::convolve(&signal.permute(first)?, &kernel, axes)?.permute(last)?
            }
        }
        .contiguous()?)
    }

    /// Batch, lengths and channels of a signal, if it is one.
    pub(crate) fn check_signal<'a>(
        &self,
        signal: &'a Tensor,
        channels: Option<usize>,
    ) -> Result<(usize, &'a [usize], usize)> {
        let (axes, dims) = (self.boundaries.len(), signal.dims());
        let found = match (self.channels, dims) {
            (Channels::Last, [batch, spatial @ .., last]) => (*batch, spatial, *last),
            (Channels::First, [batch, first, spatial @ ..]) => (*batch, spatial, *first),
            _ => (0, dims, 0),
        };
        if dims.len() == axes + 2 && channels.is_none_or(|channels| channels == found.2) {
            return Ok(found);
        }
        let names = axis_names('N', axes);
        let channels = channels.map_or("C".into(), |channels| channels.to_string());
        let expected = match self.channels {
            Channels::Last => format!("shape [B, {names}, {channels}]"),
            Channels::First => format!("shape [B, {channels}, {names}]"),
        };
        Err(Error::tensor("signal", expected, format!("{dims:?}")))
    }

    /// The sizes of signal and kernel, if they fit together.
    fn sizes(&self, signal: &Tensor, kernel: &Tensor) -> Result<Sizes> {
        let axes = self.boundaries.len();
        let (batch, spatial, channels) = self.check_signal(signal, None)?;
        let refuse = |expected: String| {
            Err(Error::tensor("kernel", expected, format!("{:?}", kernel.dims())))
        };
        let found = kernel.dims();
        if found.len() != axes + 2
            || found[axes + 1] != channels
            || (found[0] != 1 && found[0] != batch)
        {
            let names = axis_names('K', axes);
            let batches = if batch == 1 { "1".into() } else { format!("1 or {batch}") };
            return refuse(format!("shape [{batches}, {names}, {channels}]"));
        }
        if kernel.dtype() != signal.dtype() {
            let expected = format!("dtype {}, the signal's", signal.dtype().as_str());
            return Err(Error::tensor("kernel", expected, kernel.dtype().as_str()));
        }
        if !signal.device().same_device(kernel.device()) {
            let [expected, found] =
                [signal, kernel].map(|x| format!("{:?}", x.device().location()));
            return Err(Error::tensor("kernel", format!("device {expected}, the signal's"), found));
        }
        let points = &found[1..=axes];
        for (axis, boundary) in self.boundaries.iter().enumerate() {
            let (length, points) = (spatial[axis], points[axis]);
            let (limit, centred) = match boundary {
                Boundary::Zero => ((2 * length).saturating_sub(1), true),
                Boundary::Circular => (length, true),
                Boundary::Causal => (length, false),
            };
            if points == 0 || points > limit || (centred && points.is_multiple_of(2)) {
                let odd = if centred { "an odd number of points" } else { "points" };
                return refuse(format!(
                    "{odd}, 1 to {limit}, on axis {axis} of a signal {length} long, whose boundary is {boundary}"
                ));
            }
        }
        Ok(Sizes {
            batch,
            channels,
            spatial: spatial.into(),
            kernel_batch: found[0],
            points: points.into(),
            boundaries: self.boundaries.clone(),
            order: self.channels,
        })
    }
}

/// "N1, N2"
fn axis_names(letter: char, axes: usize) -> String {
    (1..=axes).map(|axis| format!("{letter}{axis}")).collect::<Vec<_>>().join(", ")
}

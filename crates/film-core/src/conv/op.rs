//! The convolution on the CPU as one differentiable operation.
//!
//! Here the way of computing is chosen, and into how large jobs it is cut; `spread` does them beside each other, each as
//! `operands` says.

use candle_core::{CpuStorage, CustomOp2, Layout as View, Shape, Tensor};

use super::axis::{Axis, Boundary, Kind};
use super::direct::{Direct, lanes};
use super::fft::{self, Transforms};
use super::operands::Operands;
use super::pack::Layout;
use super::plan::{Vectors, choose, cost};
use super::real::Real;
use super::reference;
use super::spread::Jobs;
use super::{Algorithm, Channels};
use crate::ops::threads;
use film_fft::Complex;

/// Bytes of kernel spectra that a thread holds.
const SPECTRA_BYTES: usize = 64 << 20;
/// Most channels in a block of transforms.
const BLOCK: usize = 16;
/// Nanoseconds of work for which it pays to wake other threads.
const WORTH_A_THREAD: f64 = 60e3;
/// Bytes of a point's channels that a job of direct sums packs. The longer the rows are, the faster memory gives them: 512
/// bytes take half as long again, a line of the cache twice.
const ROW_BYTES: usize = 2048;
/// Bytes of the kernel, or of the input, that it packs.
const PACKED_BYTES: usize = 2 << 20;

/// The sizes of a convolution, known to fit together.
#[derive(Debug, Clone)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) spatial: Vec<usize>,
    /// 1, or the batch.
    pub(super) kernel_batch: usize,
    /// Points of the kernel.
    pub(super) points: Vec<usize>,
    pub(super) boundaries: Vec<Boundary>,
    pub(super) order: Channels,
}

impl Sizes {
    /// The signal and the output.
    pub(super) fn signal(&self) -> Layout {
        let points = self.spatial.iter().product();
        Layout { samples: self.batch, points, channels: self.channels, order: self.order }
    }

    /// The kernel.
    pub(super) fn kernel(&self) -> Layout {
        let points = self.points.iter().product();
        let (samples, channels) = (self.kernel_batch, self.channels);
        Layout { samples, points, channels, order: Channels::Last }
    }

    /// The axes of the sum `kind`.
    pub(super) fn axes(&self, kind: Kind) -> Vec<Axis> {
        let lengths = self.spatial.iter().zip(&self.points).zip(&self.boundaries);
        lengths
            .map(|((&length, &points), &boundary)| Axis::new(kind, boundary, length, points))
            .collect()
    }

    fn kernel_shape(&self) -> Shape {
        [&[self.kernel_batch], self.points.as_slice(), &[self.channels]].concat().into()
    }

    fn signal_shape(&self) -> Shape {
        match self.order {
            Channels::Last => [&[self.batch], self.spatial.as_slice(), &[self.channels]].concat(),
            Channels::First => [&[self.batch, self.channels], self.spatial.as_slice()].concat(),
        }
        .into()
    }
}

/// One of the three sums, as an operation on two contiguous tensors.
#[derive(Debug)]
pub(super) struct Depthwise {
    pub(super) sizes: Sizes,
    pub(super) kind: Kind,
    /// How to compute it; what suits the sizes if not given.
    pub(super) algorithm: Option<Algorithm>,
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise-convolution"
    }

    fn cpu_fwd(
        &self,
        first: &CpuStorage,
        first_view: &View,
        second: &CpuStorage,
        second_view: &View,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = match self.kind {
            Kind::Output | Kind::SignalGradient => self.sizes.signal_shape(),
            Kind::KernelGradient => self.sizes.kernel_shape(),
        };
        let storage = match first {
            CpuStorage::F64(_) => self.run(
                contiguous::<f64>(first, first_view)?,
                contiguous::<f64>(second, second_view)?,
            ),
            _ => self.run(
                contiguous::<f32>(first, first_view)?,
                contiguous::<f32>(second, second_view)?,
            ),
        };
        Ok((storage, shape))
    }

    fn bwd(
        &self,
        signal: &Tensor,
        kernel: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        if self.kind != Kind::Output {
            return Err(candle_core::Error::BackwardNotSupported { op: self.name() });
        }
        let gradient = gradient.contiguous()?;
        let sum = |kind, second: &Tensor| {
            let op = Self { sizes: self.sizes.clone(), kind, algorithm: self.algorithm };
            gradient.apply_op2(second, op)
        };
        let in_signal = signal.track_op().then(|| sum(Kind::SignalGradient, kernel)).transpose()?;
        let in_kernel = kernel.track_op().then(|| sum(Kind::KernelGradient, signal)).transpose()?;
        Ok((in_signal, in_kernel))
    }
}

fn contiguous<'a, T: Real>(storage: &'a CpuStorage, view: &View) -> candle_core::Result<&'a [T]> {
    let values = storage.as_slice::<T>()?;
    let (start, end) = view
        .contiguous_offsets()
        .ok_or(candle_core::Error::RequiresContiguous { op: "depthwise-convolution" })?;
    Ok(&values[start..end])
}

impl Depthwise {
    fn run<T: Real>(&self, first: &[T], second: &[T]) -> CpuStorage {
        let (sizes, kind) = (&self.sizes, self.kind);
        let output = match kind {
            Kind::Output | Kind::SignalGradient => sizes.signal(),
            Kind::KernelGradient => sizes.kernel(),
        };
        let axes = sizes.axes(kind);
        let (channels, lanes) = (sizes.channels, lanes::<T>());
        let vectors = Vectors { lanes, bytes: lanes * size_of::<T>() };
        if output.len() == 0 || first.is_empty() || second.is_empty() {
            return T::storage(vec![T::zero(); output.len()]);
        }
        let algorithm = self.algorithm.unwrap_or_else(|| choose(&axes, channels, vectors));
        if algorithm == Algorithm::Reference {
            return T::storage(reference::sum(sizes, kind, first, second));
        }
        let (kernel, lengths) = match kind {
            Kind::Output | Kind::SignalGradient => (sizes.kernel(), &sizes.points),
            Kind::KernelGradient => (sizes.signal(), &sizes.spatial),
        };
        let work = cost(&axes, algorithm, channels, vectors) * sizes.batch as f64;
        let cost = if work > WORTH_A_THREAD { usize::MAX } else { 0 };
        let axes: Vec<Axis> = axes
            .into_iter()
            .map(if algorithm == Algorithm::Direct { Axis::unrolled } else { fft::transformed })
            .collect();
        let first = (first, sizes.signal(), sizes.spatial.as_slice());
        let operands = Operands::new(&axes, first, (second, kernel, lengths), output);
        let jobs =
            |width, keeps_kernel| Jobs::new((sizes, kind), (output, width), keeps_kernel, cost);
        let values = if algorithm == Algorithm::Direct {
            Direct::new(axes).map(|direct| {
                let padded = direct.padded();
                let points = operands.packed_points(padded.1);
                let width =
                    lanes * blocks_together(output, vectors, points, threads::threads(cost));
                operands.sums((&direct, &padded), &jobs(width, false), (lanes, width))
            })
        } else {
            Transforms::new(axes.clone()).map(|transforms| {
                let bytes = transforms.spectrum() * size_of::<Complex<T>>();
                // Enough blocks for all threads.
                let shares = rayon::current_num_threads().div_ceil(sizes.batch);
                let width = (SPECTRA_BYTES / bytes.max(1)).min(channels.div_ceil(shares));
                let width = width.clamp(1, BLOCK);
                operands.transforms(&transforms, &axes, &jobs(width, true), width)
            })
        };
        T::storage(values.unwrap_or_default())
    }
}

/// Blocks of channels of a job of direct sums that packs so many points: as many as can be while there are jobs for all
/// threads, and as many in each.
fn blocks_together(output: Layout, vectors: Vectors, points: usize, workers: usize) -> usize {
    let blocks = output.channels.div_ceil(vectors.lanes);
    let most = ROW_BYTES.min(PACKED_BYTES / points.max(1)) / vectors.bytes;
    let most = most.min(blocks * output.samples / (4 * workers)).clamp(1, blocks);
    blocks.div_ceil(blocks.div_ceil(most))
}

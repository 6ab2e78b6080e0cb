//! The convolution on the CPU as one differentiable operation.
//!
//! Blocks of channels are computed beside each other: packed, summed (directly or by transforms) and put into
//! the output.

use candle_core::{CpuStorage, CustomOp2, Layout as View, Shape, Tensor};

use super::axis::{Axis, Boundary, Kind, offsets};
use super::direct::{Direct, lanes};
use super::fft::{self, Transforms};
use super::pack::{Layout, Order};
use super::plan::{Vectors, choose, cost};
use super::real::Real;
use super::reference;
use super::{Algorithm, Channels};
use crate::ops::threads;
use crate::ops::vector::Aligned;
use realfft::num_complex::Complex;

/// Bytes of kernel spectra that a thread holds.
const SPECTRA_BYTES: usize = 64 << 20;
/// Most channels in a block of transforms.
const BLOCK: usize = 16;
/// Nanoseconds of work for which it pays to wake other threads.
const WORTH_A_THREAD: f64 = 60e3;
/// Pieces in which a sample is put together, and summed where there are fewer samples and blocks of channels than threads.
const PIECES: usize = 8;

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

/// Some samples and channels of the output.
struct Job {
    samples: std::ops::Range<usize>,
    channels: std::ops::Range<usize>,
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
        let lengths = (sizes.spatial.as_slice(), lengths.as_slice());
        let work = cost(&axes, algorithm, channels, vectors) * sizes.batch as f64;
        let threads = work > WORTH_A_THREAD;
        let axes: Vec<Axis> = axes
            .into_iter()
            .map(if algorithm == Algorithm::Direct { Axis::unrolled } else { fft::transformed })
            .collect();
        let (inputs, kernels) = picks(&axes, lengths);
        let input = sizes.signal();
        let operands = Operands { first, input, inputs, second, kernel, kernels };
        let values = if algorithm == Algorithm::Direct {
            Direct::new(axes).map(|direct| {
                let jobs = jobs(sizes, kind, lanes, false);
                let places = direct.padded();
                let idle = threads && jobs.len() < rayon::current_num_threads();
                let pieces = if idle { PIECES } else { 1 };
                spread(&jobs, threads, output, Order::Interleaved(lanes), |job| {
                    operands.direct((&direct, pieces), &places, job, lanes, output)
                })
            })
        } else {
            Transforms::<T>::new(axes.clone()).map(|transforms| {
                let bytes = transforms.spectrum() * size_of::<Complex<T>>();
                // Enough blocks for all threads.
                let shares = rayon::current_num_threads().div_ceil(sizes.batch);
                let width = (SPECTRA_BYTES / bytes.max(1)).min(sizes.channels.div_ceil(shares));
                let width = width.clamp(1, BLOCK);
                let jobs = jobs(sizes, kind, width, true);
                spread(&jobs, threads, output, Order::Planar(output.points), |job| {
                    operands.transforms(&transforms, &axes, job, output)
                })
            })
        };
        T::storage(values.unwrap_or_default())
    }
}

/// Cuts the output into jobs: all blocks of channels of the first samples, then of the next.
fn jobs(sizes: &Sizes, kind: Kind, width: usize, keeps_kernel: bool) -> Vec<Job> {
    let blocks = sizes.channels.div_ceil(width);
    let samples = match (sizes.kernel_batch == 1, kind) {
        // One gradient, summed over the batch.
        (true, Kind::KernelGradient) => sizes.batch,
        // What is made of the kernel serves several samples.
        (true, _) if keeps_kernel => {
            sizes.batch.div_ceil((2 * rayon::current_num_threads()).div_ceil(blocks))
        }
        _ => 1,
    };
    let block = |start: usize| start..sizes.channels.min(start + width);
    (0..sizes.batch)
        .step_by(samples)
        .flat_map(|first| {
            let samples = first..sizes.batch.min(first + samples);
            (0..sizes.channels)
                .step_by(width)
                .map(move |start| Job { samples: samples.clone(), channels: block(start) })
        })
        .collect()
}

/// Runs the jobs beside each other and puts what they give into the output.
fn spread<T: Real>(
    jobs: &[Job],
    threads: bool,
    output: Layout,
    order: Order,
    run: impl Fn(&Job) -> Vec<T> + Sync,
) -> Vec<T> {
    let cost = if threads { usize::MAX } else { 0 };
    let parts: Vec<Vec<T>> = threads::map(cost, jobs.iter().collect(), run);
    let blocks = jobs.iter().take_while(|job| job.samples.start == jobs[0].samples.start).count();
    let each = jobs[0].samples.len().min(output.samples);
    let mut values = vec![T::zero(); output.len()];
    let sample_len = output.points * output.channels;
    // A whole number of points, or of blocks of channels.
    let piece = match output.order {
        Channels::Last => output.channels * output.points.div_ceil(PIECES),
        Channels::First => output.points * jobs[0].channels.len(),
    };
    let fill = |(sample, number, values): (usize, usize, &mut [T])| {
        let group = sample / each * blocks;
        let range = match output.order {
            Channels::Last => group..group + blocks,
            Channels::First => group + number..group + number + 1,
        };
        for (job, part) in jobs[range.clone()].iter().zip(&parts[range]) {
            // A sample's points stand behind those of the samples before it in the same job.
            let len = part.len() / job.samples.len().min(each);
            let part = &part[sample % each * len..][..len];
            let (points, start) = match output.order {
                Channels::Last => {
                    let first = number * (piece / output.channels);
                    ((first, values.len() / output.channels), job.channels.start)
                }
                Channels::First => ((0, output.points), 0),
            };
            output.unpack(part, order, points, (start, job.channels.len()), values);
        }
    };
    let samples = values.chunks_mut(sample_len).enumerate();
    let pieces = samples.flat_map(|(sample, values)| {
        let pieces = values.chunks_mut(piece).enumerate();
        pieces.map(move |(number, values)| (sample, number, values))
    });
    threads::for_each(cost, pieces.collect(), || (), |(), piece| fill(piece));
    values
}

/// Which points of a sample of the input and of the kernel stand in a block, for axes of those lengths.
fn picks(
    axes: &[Axis],
    (input_lengths, kernel_lengths): (&[usize], &[usize]),
) -> (Vec<usize>, Vec<usize>) {
    let inputs = axes.iter().zip(input_lengths).map(|(axis, &length)| (&*axis.input, length));
    let kernels = axes.iter().zip(kernel_lengths).map(|(axis, &length)| (&*axis.kernel, length));
    (offsets(inputs), offsets(kernels))
}

/// The two tensors that are summed over, and which points of a sample stand in a block.
struct Operands<'a, T> {
    first: &'a [T],
    input: Layout,
    inputs: Vec<usize>,
    second: &'a [T],
    kernel: Layout,
    kernels: Vec<usize>,
}

impl<T: Real> Operands<'_, T> {
    /// The samples of a job: which of the output's, of the input's and of the kernel's.
    fn samples(&self, job: &Job, output: Layout) -> impl Iterator<Item = (usize, usize, usize)> {
        let (start, each, kernels) = (job.samples.start, output.samples, self.kernel.samples);
        job.samples.clone().map(move |sample| {
            let out = if each == 1 { 0 } else { sample - start };
            (out, sample, if kernels == 1 { 0 } else { sample })
        })
    }

    fn direct(
        &self,
        (direct, pieces): (&Direct, usize),
        (places, padded): &(Vec<usize>, usize),
        job: &Job,
        lanes: usize,
        output: Layout,
    ) -> Vec<T> {
        let order = Order::Interleaved(lanes);
        let Self { inputs, kernels, .. } = self;
        let mut input = Aligned::zeros(inputs.len() * lanes);
        let mut kernel = Aligned::zeros(padded * lanes);
        let each = output.points * lanes;
        let mut out = vec![T::zero(); each * job.samples.len().min(output.samples)];
        let mut packed = None;
        for (at, sample, kernel_sample) in self.samples(job, output) {
            let block = (sample, &job.channels);
            self.input.pack(self.first, block, inputs, input.as_mut(), order, |place| place);
            if packed.replace(kernel_sample) != Some(kernel_sample) {
                let block = (kernel_sample, &job.channels);
                let place = |place: usize| places[place];
                self.kernel.pack(self.second, block, kernels, kernel.as_mut(), order, place);
            }
            let out = &mut out[at * each..][..each];
            direct.add((input.as_ref(), kernel.as_ref()), out, lanes, pieces);
        }
        out
    }

    fn transforms(
        &self,
        transforms: &Transforms<T>,
        axes: &[Axis],
        job: &Job,
        output: Layout,
    ) -> Vec<T> {
        let Self { inputs, kernels, .. } = self;
        let lengths = |of: fn(&Axis) -> usize| -> Vec<usize> { axes.iter().map(of).collect() };
        let input_lengths = lengths(|axis| axis.input.len());
        let kernel_lengths = lengths(|axis| axis.kernel.len());
        let width = job.channels.len();
        let zero = Complex::new(T::zero(), T::zero());
        let mut spectrum = vec![zero; transforms.spectrum()];
        let mut spectra = vec![zero; width * transforms.spectrum()];
        let mut planes = vec![T::zero(); width * inputs.len().max(kernels.len())];
        let mut buffers = transforms.buffers();
        let mut out =
            vec![T::zero(); output.points * width * job.samples.len().min(output.samples)];
        let mut packed = None;
        for (at, sample, kernel_sample) in self.samples(job, output) {
            if packed.replace(kernel_sample) != Some(kernel_sample) {
                let (block, order) = ((kernel_sample, &job.channels), Order::Planar(kernels.len()));
                self.kernel.pack(self.second, block, kernels, &mut planes, order, |place| place);
                let planes = planes.chunks_exact(kernels.len());
                for (plane, spectrum) in planes.zip(spectra.chunks_exact_mut(spectrum.len())) {
                    transforms.forward(plane, &kernel_lengths, spectrum, &mut buffers);
                }
            }
            let (block, order) = ((sample, &job.channels), Order::Planar(inputs.len()));
            self.input.pack(self.first, block, inputs, &mut planes, order, |place| place);
            let outs = out[at * width * output.points..].chunks_exact_mut(output.points);
            let planes = planes.chunks_exact(inputs.len());
            let spectra = spectra.chunks_exact(transforms.spectrum());
            for ((plane, out), kernel) in planes.zip(outs).zip(spectra) {
                transforms.forward(plane, &input_lengths, &mut spectrum, &mut buffers);
                transforms.multiply(&mut spectrum, kernel);
                transforms.inverse(&mut spectrum, out, &mut buffers);
            }
        }
        out
    }
}

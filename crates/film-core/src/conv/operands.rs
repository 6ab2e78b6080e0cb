//! The two tensors that are summed over, and what a job makes of them.

use std::ops::Range;

use film_fft::Complex;

use super::axis::{Axis, offsets};
use super::direct::Direct;
use super::fft::{Buffers, Transforms};
use super::pack::{Layout, Order};
use super::real::Real;
use super::spread::{Job, Jobs};
use crate::ops::vector::Aligned;

/// Pieces in which a job is summed where there are fewer of them than threads.
const SHARES: usize = 8;

/// The tensors, and which points of a sample stand at each place of what is packed of it.
pub(super) struct Operands<'a, T> {
    first: &'a [T],
    input: Layout,
    inputs: Vec<usize>,
    second: &'a [T],
    kernel: Layout,
    kernels: Vec<usize>,
    output: Layout,
}

/// What a thread transforms in.
struct Transformed<T> {
    spectrum: Vec<Complex<T>>,
    /// Of a job's kernels.
    spectra: Vec<Complex<T>>,
    /// The channels of a job, of the input or of the kernel.
    planes: Vec<T>,
    buffers: Buffers<T>,
}

impl<'a, T: Real> Operands<'a, T> {
    /// Of axes on which the tensors have those lengths.
    pub(super) fn new(
        axes: &[Axis],
        (first, input, input_lengths): (&'a [T], Layout, &[usize]),
        (second, kernel, kernel_lengths): (&'a [T], Layout, &[usize]),
        output: Layout,
    ) -> Self {
        let inputs = axes.iter().zip(input_lengths).map(|(axis, &length)| (&*axis.input, length));
        let kernels =
            axes.iter().zip(kernel_lengths).map(|(axis, &length)| (&*axis.kernel, length));
        let (inputs, kernels) = (offsets(inputs), offsets(kernels));
        Self { first, input, inputs, second, kernel, kernels, output }
    }

    /// The samples of a job: which of the job's own outputs, of the input's and of the kernel's.
    fn samples(&self, job: &Job) -> impl Iterator<Item = (usize, usize, usize)> {
        let (start, each, kernels) = (job.samples.start, self.output.samples, self.kernel.samples);
        job.samples.clone().map(move |sample| {
            let out = if each == 1 { 0 } else { sample - start };
            (out, sample, if kernels == 1 { 0 } else { sample })
        })
    }

    fn pack_input(&self, of: (usize, &Range<usize>), to: &mut [T], order: Order) {
        self.input.pack(self.first, of, &self.inputs, to, order, |place| place);
    }

    /// Points of a channel that direct sums pack, of the input or of the kernel with its padded rows.
    pub(super) fn packed_points(&self, padded: usize) -> usize {
        self.inputs.len().max(padded)
    }

    /// The sums taken one by one, in jobs of at most `width` channels.
    pub(super) fn sums(
        &self,
        (direct, (places, padded)): (&Direct, &(Vec<usize>, usize)),
        jobs: &Jobs,
        (lanes, width): (usize, usize),
    ) -> Vec<T> {
        let Self { inputs, kernels, output, .. } = self;
        let order = Order::Interleaved(lanes);
        let shares = if jobs.len() < jobs.workers() { SHARES } else { 1 };
        // The zeros around the kernel's rows stay: a group of channels stands at the same place in every job. Lanes beyond a
        // job's channels keep old numbers, which nobody reads.
        let scratch = || [inputs.len(), *padded].map(|points| Aligned::zeros(points * width));
        jobs.run(order, scratch, |[input, kernel], job, out| {
            let channels = order.width(job.channels.len());
            let input = &mut input.as_mut()[..inputs.len() * channels];
            let kernel = &mut kernel.as_mut()[..padded * channels];
            let mut packed = None;
            for (at, sample, kernel_sample) in self.samples(job) {
                self.pack_input((sample, &job.channels), input, order);
                if packed.replace(kernel_sample) != Some(kernel_sample) {
                    let of = (kernel_sample, &job.channels);
                    self.kernel.pack(self.second, of, kernels, kernel, order, |at| places[at]);
                }
                let inputs = input.chunks_exact(inputs.len() * lanes);
                let operands = inputs.zip(kernel.chunks_exact(padded * lanes));
                let outs = &mut out[at * channels * output.points..];
                for (operands, out) in operands.zip(outs.chunks_exact_mut(output.points * lanes)) {
                    direct.add(operands, out, lanes, shares);
                }
            }
        })
    }

    /// The sums by transforms, in jobs of at most `width` channels.
    pub(super) fn transforms(
        &self,
        transforms: &Transforms<T>,
        axes: &[Axis],
        jobs: &Jobs,
        width: usize,
    ) -> Vec<T> {
        let Self { inputs, kernels, output, .. } = self;
        let [input_order, kernel_order] =
            [inputs, kernels].map(|points| Order::Planar(points.len()));
        let lengths = |of: fn(&Axis) -> usize| -> Vec<usize> { axes.iter().map(of).collect() };
        let input_lengths = lengths(|axis| axis.input.len());
        let kernel_lengths = lengths(|axis| axis.kernel.len());
        let scratch = || {
            let zeros = |len| vec![Complex::new(T::zero(), T::zero()); len];
            let [spectrum, spectra] = [1, width].map(|count| zeros(count * transforms.spectrum()));
            let planes = vec![T::zero(); width * inputs.len().max(kernels.len())];
            Transformed { spectrum, spectra, planes, buffers: transforms.buffers() }
        };
        jobs.run(Order::Planar(output.points), scratch, |scratch, job, out| {
            let channels = job.channels.len();
            let Transformed { spectrum, spectra, planes, buffers } = scratch;
            let mut packed = None;
            for (at, sample, kernel_sample) in self.samples(job) {
                if packed.replace(kernel_sample) != Some(kernel_sample) {
                    let of = (kernel_sample, &job.channels);
                    let planes = &mut planes[..channels * kernels.len()];
                    self.kernel.pack(self.second, of, kernels, planes, kernel_order, |at| at);
                    let planes = planes.chunks_exact(kernels.len());
                    for (plane, spectrum) in planes.zip(spectra.chunks_exact_mut(spectrum.len())) {
                        transforms.forward(plane, &kernel_lengths, spectrum, buffers);
                    }
                }
                let planes = &mut planes[..channels * inputs.len()];
                self.pack_input((sample, &job.channels), planes, input_order);
                let outs = out[at * channels * output.points..].chunks_exact_mut(output.points);
                let spectra = spectra.chunks_exact(spectrum.len());
                for ((plane, out), kernel) in
                    planes.chunks_exact(inputs.len()).zip(outs).zip(spectra)
                {
                    transforms.forward(plane, &input_lengths, spectrum, buffers);
                    transforms.multiply(spectrum, kernel);
                    transforms.inverse(spectrum, out, buffers);
                }
            }
        })
    }
}

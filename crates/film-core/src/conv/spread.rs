//! The output in jobs, some channels of a few samples each, and how they are put together.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Channels;
use super::axis::Kind;
use super::op::Sizes;
use super::pack::{Layout, Order};
use super::real::Real;
use crate::ops::{threads, zeros};

/// Pieces in which a sample is put together.
const PIECES: usize = 8;
/// Numbers of the output that are computed before they are put together, while they are still in the cache.
const PARTS: usize = 1 << 18;

/// Some samples and channels of the output.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) samples: Range<usize>,
    pub(super) channels: Range<usize>,
}

/// The jobs of an output: all channels of the first samples, then of the next.
#[derive(Debug)]
pub(super) struct Jobs {
    jobs: Vec<Job>,
    /// Jobs of the same samples.
    blocks: usize,
    output: Layout,
    /// What they all cost, as [`threads`] counts it.
    cost: usize,
}

impl Job {
    /// Samples of the output: one, where the batch is summed.
    fn outputs(&self, output: Layout) -> usize {
        self.samples.len().min(output.samples)
    }
}

impl Jobs {
    /// Jobs of at most `width` channels.
    pub(super) fn new(
        (sizes, kind): (&Sizes, Kind),
        (output, width): (Layout, usize),
        keeps_kernel: bool,
        cost: usize,
    ) -> Self {
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
        let job = |first: usize, start: usize| Job {
            samples: first..sizes.batch.min(first + samples),
            channels: start..sizes.channels.min(start + width),
        };
        let starts = (0..sizes.channels).step_by(width);
        let jobs = (0..sizes.batch)
            .step_by(samples)
            .flat_map(|first| starts.clone().map(move |start| job(first, start)));
        Self { jobs: jobs.collect(), blocks, output, cost }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Threads that do them.
    pub(super) fn workers(&self) -> usize {
        threads::threads(self.cost)
    }

    /// Does them beside each other, each with scratch memory of `scratch`, and puts what they give into the output.
    ///
    /// `work` is given zeros, to which it adds a job's channels in `order`: one sample of the output behind the other.
    pub(super) fn run<T: Real, M: Send>(
        &self,
        order: Order,
        scratch: impl Fn() -> M + Sync,
        work: impl Fn(&mut M, &Job, &mut [T]) + Sync,
    ) -> Vec<T> {
        let Self { jobs, blocks, output, .. } = self;
        let len =
            |job: &Job| job.outputs(*output) * output.points * order.width(job.channels.len());
        let lens = |jobs: &[Job]| jobs.iter().map(len).sum::<usize>();
        // Enough jobs for all threads, too.
        let groups = (PARTS / lens(&jobs[..*blocks])).max((4 * self.workers()).div_ceil(*blocks));
        let group = jobs[0].outputs(*output) * output.points * output.channels;
        // Scratch memory serves all groups of jobs.
        let kept = Mutex::new(vec![]);
        let mut values = zeros(output.len());
        let mut numbers = zeros(lens(&jobs[..jobs.len().min(groups * blocks)]));
        for (values, jobs) in values.chunks_mut(groups * group).zip(jobs.chunks(groups * blocks)) {
            let mut rest = numbers.as_mut_slice();
            let tasks = jobs.iter().filter_map(|job| Some((job, rest.split_off_mut(..len(job))?)));
            let task = |(job, part): (&Job, &mut [T])| {
                let memory = lock(&kept).pop();
                let mut memory = memory.unwrap_or_else(&scratch);
                part.fill(T::zero());
                work(&mut memory, job, part);
                lock(&kept).push(memory);
            };
            threads::for_each(self.cost, tasks.collect(), || (), |(), part| task(part));
            let mut rest = numbers.as_slice();
            let parts = jobs.iter().filter_map(|job| Some((job, rest.split_off(..len(job))?)));
            self.put_together(&parts.collect::<Vec<_>>(), order, values);
        }
        values
    }

    /// Puts what some jobs gave into their part of the output.
    fn put_together<T: Real>(&self, parts: &[(&Job, &[T])], order: Order, values: &mut [T]) {
        let Self { jobs, blocks, output, .. } = self;
        let each = jobs[0].outputs(*output);
        // A whole number of points, or of a job's channels.
        let piece = match output.order {
            Channels::Last => output.channels * output.points.div_ceil(PIECES),
            Channels::First => output.points * jobs[0].channels.len(),
        };
        let samples = values.chunks_mut(output.points * output.channels).enumerate();
        let pieces = samples.flat_map(|(sample, values)| {
            let pieces = values.chunks_mut(piece).enumerate();
            pieces.map(move |(number, values)| (sample, number, values))
        });
        let fill = |(sample, number, values): (usize, usize, &mut [T])| {
            let parts = &parts[sample / each * blocks..][..*blocks];
            let (parts, points, origin) = match output.order {
                Channels::Last => {
                    let first = number * (piece / output.channels);
                    (parts, (first, values.len() / output.channels), 0)
                }
                Channels::First => {
                    let part = &parts[number..=number];
                    (part, (0, output.points), part[0].0.channels.start)
                }
            };
            for (job, part) in parts {
                // A sample's numbers stand behind those of the samples before it in the same job.
                let len = part.len() / job.outputs(*output);
                let part = &part[sample % each * len..][..len];
                let channels = (job.channels.start - origin, job.channels.len());
                output.unpack(part, order, points, channels, values);
            }
        };
        threads::for_each(self.cost, pieces.collect(), || (), |(), piece| fill(piece));
    }
}

fn lock<M>(kept: &Mutex<Vec<M>>) -> MutexGuard<'_, Vec<M>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

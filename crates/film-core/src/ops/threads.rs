//! Work spread over threads, where there is enough of it: waking one takes some microseconds.

use rayon::prelude::*;

/// Multiply-adds below which one thread is faster.
const LEAST: usize = 1 << 19;

/// Whether threads are worth waking for work of that cost in so many tasks.
fn worth(cost: usize, tasks: usize) -> bool {
    cost >= LEAST && tasks > 1 && rayon::current_num_threads() > 1
}

/// Does `work`, which calls the functions below more than once: among the threads, so that they are woken once.
pub(crate) fn among<R: Send>(cost: usize, work: impl FnOnce() -> R + Send) -> R {
    if worth(cost, 2) { rayon::scope(|_| work()) } else { work() }
}

/// Does `work` on each of the tasks, in any order, with scratch memory of `scratch`. `cost` is the number of
/// multiply-adds of all tasks.
pub(crate) fn for_each<T: Send, M>(
    cost: usize,
    tasks: Vec<T>,
    scratch: impl Fn() -> M + Sync + Send,
    work: impl Fn(&mut M, T) + Sync + Send,
) {
    if worth(cost, tasks.len()) {
        tasks.into_par_iter().for_each_init(scratch, work);
    } else {
        let mut memory = scratch();
        tasks.into_iter().for_each(|task| work(&mut memory, task));
    }
}

/// What `work` makes of each of the tasks, in their order.
pub(crate) fn map<T: Send, R: Send>(
    cost: usize,
    tasks: Vec<T>,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if worth(cost, tasks.len()) {
        tasks.into_par_iter().map(work).collect()
    } else {
        tasks.into_iter().map(work).collect()
    }
}

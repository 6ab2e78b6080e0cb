//! Work spread over threads, where there is enough of it: waking one takes some microseconds.

use rayon::prelude::*;

/// Multiply-adds below which one thread is faster.
const LEAST: usize = 1 << 19;

/// Does `work` on each of the tasks, in any order, with scratch memory of `scratch`. `cost` is the number of
/// multiply-adds of all tasks.
pub(crate) fn for_each<T: Send, M>(
    cost: usize,
    tasks: Vec<T>,
    scratch: impl Fn() -> M + Sync + Send,
    work: impl Fn(&mut M, T) + Sync + Send,
) {
    if cost < LEAST || tasks.len() < 2 {
        let mut memory = scratch();
        tasks.into_iter().for_each(|task| work(&mut memory, task));
    } else {
        tasks.into_par_iter().for_each_init(scratch, work);
    }
}

/// What `work` makes of each of the tasks, in their order.
pub(crate) fn map<T: Send, R: Send>(
    cost: usize,
    tasks: Vec<T>,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if cost < LEAST || tasks.len() < 2 {
        tasks.into_iter().map(work).collect()
    } else {
        tasks.into_par_iter().map(work).collect()
    }
}

//! Work spread over rayon's threads, where there is enough of it.
//!
//! Waking a thread takes some ten microseconds. So the calling thread begins at once, and the others take tasks from the
//! same list as soon as they are awake.

use std::sync::{Mutex, PoisonError};

/// Multiply-adds below which one thread is faster.
const LEAST: usize = 1 << 21;
/// A number that is read and written takes about as long as so many multiply-adds.
pub(crate) const PASS: usize = 32;

/// For how many threads there is enough of it.
pub(crate) fn threads(cost: usize) -> usize {
    if cost < LEAST { 1 } else { rayon::current_num_threads() }
}

/// Rows of a task, at most `most`: so many that all threads have as much to do.
pub(crate) fn share(cost: usize, rows: usize, most: usize) -> usize {
    let threads = threads(cost);
    rows.div_ceil(threads * rows.div_ceil(threads * most).max(1)).max(1)
}

/// Does `work` on each of the tasks, in any order, with scratch memory of `scratch`. `cost` is the number of
/// multiply-adds of all tasks.
pub(crate) fn for_each<T: Send, M>(
    cost: usize,
    tasks: Vec<T>,
    scratch: impl Fn() -> M + Sync,
    work: impl Fn(&mut M, T) + Sync,
) {
    let threads = threads(cost).min(tasks.len());
    let tasks = Mutex::new(tasks.into_iter());
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let Some(mut task) = next() else { return };
        let mut memory = scratch();
        loop {
            work(&mut memory, task);
            let Some(next) = next() else { return };
            task = next;
        }
    };
    if threads <= 1 {
        return run();
    }
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| run());
        }
        run();
    });
}

/// What `work` makes of each of the tasks, in their order.
pub(crate) fn map<T: Send, R: Send>(
    cost: usize,
    tasks: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let mut results: Vec<Option<R>> = tasks.iter().map(|_| None).collect();
    let places = tasks.into_iter().zip(&mut results).collect();
    for_each(cost, places, || (), |(), (task, result)| *result = Some(work(task)));
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_by_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (cost, count) in [(0, 1000), (usize::MAX, 0), (usize::MAX, 1), (usize::MAX, 1000)] {
                let squares = || map(cost, (0..count).collect(), |task: usize| task * task);
                let expected: Vec<usize> = (0..count).map(|task| task * task).collect();
                assert_eq!(pool.install(squares), expected);
                assert_eq!(squares(), expected);
            }
        }
    }

    #[test]
    fn tasks_are_as_long_as_each_other() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let shares =
            |cost| pool.install(|| [0, 1, 2, 31, 64, 65, 4096].map(|rows| share(cost, rows, 32)));
        assert_eq!(shares(LEAST), [1, 1, 1, 16, 32, 17, 32]);
        assert_eq!(shares(LEAST - 1), [1, 1, 2, 31, 32, 22, 32]);
    }

    #[test]
    fn tasks_may_have_tasks_and_panic() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let inner = |task: usize| map(LEAST, (0..task).collect(), |x: usize| x).len();
        let counts = pool.install(|| map(LEAST, (0..50).collect(), inner));
        assert!(counts.into_iter().eq(0..50));
        let panics = || map(LEAST, (0..50).collect(), |task: usize| assert!(task != 20));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(inner(50), 50);
    }
}

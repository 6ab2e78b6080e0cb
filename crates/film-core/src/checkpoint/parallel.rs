//! Files' bytes, worked on by a few threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};

/// Bytes that a thread reads at once: large enough for the system, small enough for the processor's cache.
pub(super) const BLOCK: usize = 256 * 1024;

/// More threads than this do not read faster.
const MOST: usize = 4;

/// Items that are worked on before their results are handed out: so many that threads seldom wait for each other, so few
/// that results take no memory.
const GROUP: usize = 1 << 16;

/// What `work` makes of each item, in their order. Threads take the items in that order, so files are read forwards;
/// each thread has a state of its own.
pub(super) fn map<'a, T: Sync, S, R: Send>(
    items: &'a [T],
    state: impl Fn() -> S + Sync + 'a,
    work: impl Fn(&mut S, &T) -> R + Sync + 'a,
) -> impl Iterator<Item = R> {
    items.chunks(GROUP).flat_map(move |items| group(items, &state, &work))
}

fn group<T: Sync, S, R: Send>(
    items: &[T],
    state: &(impl Fn() -> S + Sync),
    work: &(impl Fn(&mut S, &T) -> R + Sync),
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut state = state();
        let mut done = Vec::new();
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, item))
        } {
            done.push((index, work(&mut state, item)));
        }
        done
    };
    let threads = available_parallelism().map_or(1, usize::from).min(MOST).min(items.len());
    let mut done = scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::{GROUP, map};

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..GROUP + 1000).collect();
        let squares = map(
            &items,
            || 0usize,
            |seen, item| {
                *seen += 1;
                item * item
            },
        );
        assert!(squares.eq(items.iter().map(|item| item * item)));
        assert_eq!(map(&[] as &[usize], || (), |(), item| *item).count(), 0);
    }
}

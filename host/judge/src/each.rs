//! The same work on every cell, on several cores. The order of the results does not depend on which core was faster.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// Cores that are used: each holds the answers of one cell and of its references.
const WORKERS_MAX: usize = 4;

/// The results in the order of the items, or the error of the first item that has one.
pub fn each<T: Sync, R: Send, E: Send>(items: &[T], work: impl Fn(&T) -> Result<R, E> + Sync) -> Result<Vec<R>, E> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = cores.min(WORKERS_MAX).min(items.len());
    if workers < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(item) = items.get(number) else { return done };
            done.push((number, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(take)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        joined.flatten().collect::<Vec<_>>()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_errors_come_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        let double = |item: &u32| Ok::<_, u32>(item * 2);
        assert_eq!(each(&items, double), Ok(items.iter().map(|item| item * 2).collect()));
        let odd = |item: &u32| if item % 100 == 99 { Err(*item) } else { Ok(()) };
        assert_eq!(each(&items, odd), Err(99));
        assert_eq!(each(&[], double), Ok(Vec::new()));
    }
}

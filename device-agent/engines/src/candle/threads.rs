//! candle on one thread: it spreads loops over rayon's pool, and a pool of one is the thread that asks.

use rayon::ThreadPoolBuilder;

/// Makes the calling thread its own pool, once. Each thread that loads a model infers by itself, like with every other engine here.
pub(super) fn stay_on_this_thread() {
    thread_local! {
        /// Kept as long as the thread: rayon asks for that.
        static POOL: Option<rayon::ThreadPool> =
            // A thread that is in a pool already stays there: whoever put it there decides.
            ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok();
    }
    POOL.with(|_| ());
}

#[cfg(test)]
mod tests {
    #[test]
    fn work_stays_on_the_thread_that_loads() {
        let work = || {
            super::stay_on_this_thread();
            let own = std::thread::current().id();
            rayon::join(|| std::thread::current().id() == own, || std::thread::current().id() == own)
        };
        let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(work)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("a thread that ends well"), (true, true));
        }
    }
}

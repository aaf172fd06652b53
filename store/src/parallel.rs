//! Work of one caller spread over the cores, in threads that end with it.

use std::num::NonZero;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

/// Threads one caller may use, itself included: as many as there were when it was first asked, for to ask the system
/// takes a dozen reads of files.
#[must_use]
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// What `work` makes of each of `items`, in their order; the caller and threads of its own, [`cores`] together, take one
/// item after the other. After an error no further ones are taken, and the first met in the order of the items is returned.
///
/// # Errors
///
/// Those of `work`.
pub fn map<I: Send, T: Send, E: Send>(
    items: Vec<I>,
    work: impl Fn(I) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let n_threads = items.len().min(cores());
    if n_threads < 2 {
        return items.into_iter().map(work).collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate());
    let is_over = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while is_over.load(Ordering::Relaxed) == 0 {
            let item = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((at, item)) = item else { break };
            let made = work(item);
            is_over.fetch_add(usize::from(made.is_err()), Ordering::Relaxed);
            done.push((at, made));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        // Where the system gives no more threads, fewer do it.
        let others: Vec<_> = (1..n_threads)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, worker).ok())
            .collect();
        let mut done = worker();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_keep_the_order_and_the_first_error_ends_it() {
        let twice = map((0..1_000).collect(), |i: u32| Ok::<_, u32>(i * 2)).unwrap();
        assert_eq!(twice, (0..1_000).map(|i| i * 2).collect::<Vec<_>>());
        let refused = map((0..1_000).collect(), |i: u32| if i >= 10 { Err(i) } else { Ok(i) });
        assert_eq!(refused, Err(10));
        assert_eq!(map(Vec::new(), |i: u32| Ok::<_, u32>(i)), Ok(Vec::new()));
    }
}

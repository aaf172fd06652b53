//! Where queries compute: a runtime of their own, so that ingest and network never wait for one.
//!
//! Owns every thread and task of the read path. A task dies with the future that waits for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::error::Error;
use crate::promql::Stop;

/// Planning recurses over expressions; its stack is paid for only as far as it is touched.
const STACK_BYTES: usize = 32 << 20;

/// Tells blocking work that nobody waits for it any more.
struct CancelOnDrop(Arc<Stop>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

tokio::task_local! {
    static STOP: Arc<Stop>;
}

/// What tells the work this is called from to end; outside of work on the query threads, what never does.
pub(crate) fn stop() -> Arc<Stop> {
    STOP.try_with(Arc::clone).unwrap_or_default()
}

/// The threads, and the slots for queries that may run at once.
///
/// Deadlines are kept, and blocking work is run, by threads that no SQL ever gets: however busy that keeps its own
/// threads, callers get their answer in time, and rules are evaluated.
#[derive(Debug)]
pub(crate) struct Workers {
    runtimes: [Option<Runtime>; 2],
    handle: Handle,
    keeper: Handle,
    slots: Arc<Semaphore>,
    blocking_slots: Arc<Semaphore>,
}

impl Workers {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let computing = runtime("headrope-query", config.threads, config.queries_max)?;
        let keeper = runtime("headrope-keeper", 1, config.queries_max)?;
        Ok(Self {
            handle: computing.handle().clone(),
            keeper: keeper.handle().clone(),
            runtimes: [Some(computing), Some(keeper)],
            slots: Arc::new(Semaphore::new(config.queries_max)),
            blocking_slots: Arc::new(Semaphore::new(config.queries_max)),
        })
    }

    /// Runs `work` on the query threads. It is aborted when the returned future is dropped, or after `time`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let slots = self.slots.clone();
        let handle = self.handle.clone();
        let task = self.keeper.spawn(async move {
            let deadline = Instant::now() + time;
            let waited = tokio::time::timeout_at(deadline, slot(slots)).await;
            let slot = waited.unwrap_or_else(|_| Err(timed_out(time)))?;
            let stop = Arc::new(Stop::default());
            let _cancel = CancelOnDrop(stop.clone());
            let working = AbortOnDropHandle::new(handle.spawn(STOP.scope(stop, async move {
                let _slot = slot; // Kept until the work really ended, not until its caller lost patience.
                work.await
            })));
            let worked = tokio::time::timeout_at(deadline, joined(working)).await;
            worked.unwrap_or_else(|_| Err(timed_out(time)))
        });
        joined(AbortOnDropHandle::new(task)).await
    }

    /// Runs short work that is no query.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        joined(AbortOnDropHandle::new(self.keeper.spawn(work))).await
    }

    /// Whether all of `queries_max` slots are given back within `time`.
    #[cfg(test)]
    pub(crate) async fn is_idle_within(&self, time: Duration, queries_max: u32) -> bool {
        let all = self.slots.clone().acquire_many_owned(queries_max);
        let waited = self.keeper.spawn(async move { tokio::time::timeout(time, all).await });
        matches!(waited.await, Ok(Ok(Ok(_))))
    }

    /// Runs blocking `work` on a thread of its own, which asks `stop` often whether to end.
    ///
    /// The work is told to end when the returned future is dropped, or after `time`.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        time: Duration,
        work: impl FnOnce(&Arc<Stop>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let stop = Arc::new(Stop::default());
        let _cancel = CancelOnDrop(stop.clone());
        let deadline = Instant::now() + time;
        let waited = self.until(deadline, slot(self.blocking_slots.clone())).await;
        let slot = waited.unwrap_or_else(|_| Err(timed_out(time)))?;
        let told = stop.clone();
        // From the caller to the thread and back: a short query is as long as the wakings in between.
        let blocking = self.keeper.spawn_blocking(move || {
            let _slot = slot;
            work(&told)
        });
        match self.until(deadline, blocking).await {
            Ok(joined) => joined.unwrap_or_else(|error| Err(failed(&error))),
            Err(_) => {
                stop.time_out();
                Err(timed_out(time))
            }
        }
    }

    /// `work`, polled by the caller, with a deadline that the keeper keeps.
    fn until<F: Future>(&self, deadline: Instant, work: F) -> Timeout<F> {
        let _keeper = self.keeper.enter();
        tokio::time::timeout_at(deadline, work)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for runtime in self.runtimes.iter_mut().filter_map(Option::take) {
            // The engine may be dropped inside another runtime, where waiting for threads is forbidden.
            runtime.shutdown_background();
        }
    }
}

fn runtime(name: &str, threads: usize, queries_max: usize) -> Result<Runtime, Error> {
    let mut builder = Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder
        .thread_name(name)
        .thread_stack_size(STACK_BYTES)
        // Each query blocks one thread at most; object reads of scans need some beside them.
        .max_blocking_threads(queries_max + 16)
        .enable_all()
        .build()
        .map_err(|error| Error::Unavailable(format!("no threads for queries: {error}")))
}

async fn slot(slots: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    slots.acquire_owned().await.map_err(|_| Error::Unavailable("queries are stopped".to_owned()))
}

async fn joined<T>(task: AbortOnDropHandle<Result<T, Error>>) -> Result<T, Error> {
    task.await.unwrap_or_else(|error| Err(failed(&error)))
}

fn failed(error: &tokio::task::JoinError) -> Error {
    if error.is_cancelled() {
        Error::Canceled
    } else {
        Error::Internal("the query's task panicked".to_owned())
    }
}

const fn timed_out(after: Duration) -> Error {
    Error::Timeout { after }
}

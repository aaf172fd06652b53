//! Where queries compute: a runtime of their own, so that ingest and network never wait for one.
//!
//! Owns every thread and task of the read path. A task dies with the future that waits for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
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

/// The threads, and the slots for queries that may run at once.
#[derive(Debug)]
pub(crate) struct Workers {
    runtime: Option<Runtime>,
    handle: Handle,
    slots: Arc<Semaphore>,
}

impl Workers {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut builder = Builder::new_multi_thread();
        if config.threads > 0 {
            builder.worker_threads(config.threads);
        }
        let runtime = builder
            .thread_name("headrope-query")
            .thread_stack_size(STACK_BYTES)
            // Each query blocks one thread at most; object reads of scans need some beside them.
            .max_blocking_threads(config.queries_max + 16)
            .enable_all()
            .build()
            .map_err(|error| Error::Unavailable(format!("no threads for queries: {error}")))?;
        let handle = runtime.handle().clone();
        let slots = Arc::new(Semaphore::new(config.queries_max));
        Ok(Self { runtime: Some(runtime), handle, slots })
    }

    /// Runs `work` on the query threads. It is aborted when the returned future is dropped, or after `time`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        time: Duration,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let slots = self.slots.clone();
        let task = self.handle.spawn(async move {
            let deadline = Instant::now() + time;
            let waited = tokio::time::timeout_at(deadline, slot(slots)).await;
            let slot = waited.unwrap_or_else(|_| Err(timed_out(time)))?;
            // A task of its own: planning never yields, and the caller is not to wait for it beyond the deadline.
            let working = AbortOnDropHandle::new(tokio::spawn(async move {
                let _slot = slot;
                work.await
            }));
            let worked = tokio::time::timeout_at(deadline, joined(working)).await;
            worked.unwrap_or_else(|_| Err(timed_out(time)))
        });
        joined(AbortOnDropHandle::new(task)).await
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
        let slots = self.slots.clone();
        let task = self.handle.spawn(async move {
            let deadline = Instant::now() + time;
            let waited = tokio::time::timeout_at(deadline, slot(slots)).await;
            let slot = waited.unwrap_or_else(|_| Err(timed_out(time)))?;
            let told = stop.clone();
            let blocking = tokio::task::spawn_blocking(move || {
                let _slot = slot; // Kept until the work really ended, not until its caller lost patience.
                work(&told)
            });
            match tokio::time::timeout_at(deadline, blocking).await {
                Ok(joined) => joined.unwrap_or_else(|error| Err(failed(&error))),
                Err(_) => {
                    stop.time_out();
                    Err(timed_out(time))
                }
            }
        });
        joined(AbortOnDropHandle::new(task)).await
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The engine may be dropped inside another runtime, where waiting for threads is forbidden.
            runtime.shutdown_background();
        }
    }
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

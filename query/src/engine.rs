//! The engine: one a process, shared by everyone who asks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datafusion::execution::session_state::SessionState;
use futures::future::BoxFuture;
use model::id::TenantId;
use model::time::TimeRange;
use store::Store;

use crate::catalog::{View, catalogs};
use crate::config::Config;
use crate::error::Error;
use crate::result::SqlAnswer;
use crate::running::{FinishedQuery, MetricUse, Origin, Running, RunningQuery, Ticket};
use crate::runtime::{Class, QueryMemory};
use crate::workers::Workers;
use crate::{runtime, sql};

/// Attempts at one query that damaged segments may spoil.
const DAMAGED_MAX: usize = 16;

/// Engines of this process so far.
static ENGINES: AtomicUsize = AtomicUsize::new(0);

/// A question in SQL.
#[derive(Clone, Debug, Default)]
pub struct SqlQuery {
    /// One `SELECT`, `EXPLAIN`, `DESCRIBE` or `SHOW`.
    pub text: String,
    /// Rows at which the answer is cut; unset: the configured limit, which is also the most one can ask for.
    pub rows_max: Option<usize>,
    /// Time the query may take; unset: as configured.
    pub timeout: Option<Duration>,
    /// What `$__range` stands for.
    pub range: Option<TimeRange>,
    /// Who asks.
    pub origin: Origin,
}

/// Answers questions over a store. Dropping the future of an answer ends the work on it.
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) config: Config,
    pub(crate) workers: Workers,
    pub(crate) template: SessionState,
    pub(crate) running: Arc<Running>,
    pub(crate) log: OnceLock<QueryLog>,
    /// Tells what it keeps from what others do.
    pub(crate) number: usize,
}

/// Takes note of a PromQL query that has ended; called on the caller's task, so it must not block.
pub type QueryLog = Box<dyn Fn(FinishedQuery) + Send + Sync>;

impl Engine {
    /// An engine over `store`. Starts the query threads and empties the spill directory.
    ///
    /// # Errors
    /// `Invalid` for a setting that makes no sense, `Unavailable` when threads or the spill directory cannot be had.
    pub fn new(store: Arc<Store>, config: Config) -> Result<Arc<Self>, Error> {
        config.check()?;
        let template = runtime::template(&config)?;
        let workers = Workers::new(&config)?;
        let (running, log) = (Arc::default(), OnceLock::new());
        let number = ENGINES.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { store, config, workers, template, running, log, number }))
    }

    /// Tells `log` of every PromQL query that ends from now on. Only the first call counts.
    pub fn log_to(&self, log: QueryLog) {
        drop(self.log.set(log)); // Err: there is one already.
    }

    /// The queries under way, oldest first.
    #[must_use]
    pub fn running(&self) -> Vec<RunningQuery> {
        self.running.list()
    }

    /// Ends the query of this number; `false` when there is none.
    #[must_use]
    pub fn cancel(&self, id: u64) -> bool {
        self.running.cancel(id)
    }

    /// The metrics asked for since the start, by name, and how many further uses are not counted one by one.
    #[must_use]
    pub fn metric_uses(&self) -> (Vec<MetricUse>, u64) {
        self.running.uses()
    }

    /// `work`, unless somebody ends the query.
    pub(crate) async fn until_cancelled<T>(
        ticket: &Ticket,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let cancelled = ticket.cancelled();
        tokio::select! {
            biased; // Who ends a query gets no answer that came at the same moment.
            () = cancelled.cancelled() => Err(Error::Canceled),
            answer = work => answer,
        }
    }

    /// Answers a SQL query over one snapshot.
    ///
    /// # Errors
    /// `Invalid` with a position where known, `Exhausted` for memory, disk or time, `Canceled` never: a future that is
    /// dropped has nobody to tell.
    pub fn sql(&self, query: SqlQuery) -> BoxFuture<'_, Result<SqlAnswer, Error>> {
        let rows_max = query.rows_max.unwrap_or(usize::MAX).min(self.config.rows_max);
        let time = query.timeout.unwrap_or(self.config.timeout);
        let length = query.text.len();
        let limit = self.config.text_bytes_max;
        Box::pin(async move {
            if length > limit {
                return Err(Error::invalid(format!(
                    "the query is {length} bytes long, the limit is {limit}"
                )));
            }
            let ticket = self.running.enter("sql", &query.text, query.origin.clone());
            let answer = self.sound(|view| {
                let memory = self.memory(Class::Interactive);
                let (query, ticket) = (query.clone(), ticket.clone());
                async move {
                    let memory = memory?;
                    ticket.holds(&memory);
                    let session = self.session_in(view.clone(), memory)?;
                    let answer = async move {
                        let _listed = ticket;
                        let answer = sql::answer(session, &query.text, query.range, rows_max);
                        let answer = answer.await?;
                        Ok(SqlAnswer { warnings: view.warnings(), ..answer })
                    };
                    self.workers.run(time, answer).await
                }
            });
            Self::until_cancelled(&ticket, answer).await
        })
    }

    /// What `attempt` gives over a version of the store. Where that fails at a damaged segment, the segment goes to
    /// quarantine, and another attempt is made without it.
    pub(crate) async fn sound<T, F: Future<Output = Result<T, Error>>>(
        &self,
        attempt: impl Fn(Arc<View>) -> F,
    ) -> Result<T, Error> {
        for _ in 0..DAMAGED_MAX {
            match attempt(self.view()).await {
                Err(Error::Corrupt(_) | Error::Internal(_)) if self.quarantine().await > 0 => {}
                answer => return answer,
            }
        }
        attempt(self.view()).await
    }

    /// Damaged segments put in quarantine.
    async fn quarantine(&self) -> usize {
        let store = Arc::clone(&self.store);
        let work = async move { Ok(store.quarantine().await?) };
        self.workers.aside(work).await.unwrap_or(0)
    }

    /// The store as it is now, seen by the only tenant there is.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::new(View::new(self.store.snapshot(), TenantId::default()))
    }

    /// A session whose tables are those of `view`.
    pub(crate) fn session(&self, view: Arc<View>) -> Result<SessionState, Error> {
        self.session_in(view, self.memory(Class::Interactive)?)
    }

    /// Likewise, with memory that is known to somebody else.
    fn session_in(&self, view: Arc<View>, memory: Arc<QueryMemory>) -> Result<SessionState, Error> {
        view.count_as(&memory);
        let catalogs = catalogs(view).map_err(|error| Error::Internal(error.to_string()))?;
        let env = runtime::with_memory(self.template.runtime_env(), &self.config, memory);
        Ok(sql::session(&self.template, catalogs, env))
    }

    /// What one query of `class` may take, nothing of it held yet.
    pub(crate) fn memory(&self, class: Class) -> Result<Arc<QueryMemory>, Error> {
        Ok(QueryMemory::new(self.store.memory(), class)?)
    }
}

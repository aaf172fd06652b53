//! SQL: text in, record batches out. Called by [`crate::Engine::sql`] on the query threads.
//!
//! Reads only: whatever would change data, settings or files is refused before it is planned.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement;
use futures::TryStreamExt as _;
use tokio::time::Instant;

use crate::error::Error;
use crate::result::{SqlAnswer, SqlStats};
use crate::workers;

mod blame;
mod interrupt;
mod prepare;

pub(crate) use blame::blame;
pub(crate) use prepare::prepare;

use interrupt::interruptible;

/// As a limit of rows: none.
pub(crate) const ROWS_UNLIMITED: usize = usize::MAX / 2;

/// Plans and runs `text`; cuts the answer at `rows_max` rows.
pub(crate) async fn answer(
    state: SessionState,
    text: &str,
    range: Option<model::time::TimeRange>,
    rows_max: usize,
) -> std::result::Result<SqlAnswer, Error> {
    let started = Instant::now();
    let statement = prepare(text, range)?;
    let plan = state
        .statement_to_plan(Statement::Statement(Box::new(statement)))
        .await
        .map_err(|error| blame(&error, text, &state))?;
    let options =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan).map_err(|error| blame(&error, text, &state))?;
    let mut answer =
        run(&state, plan, rows_max).await.map_err(|error| blame(&error, text, &state))?;
    answer.stats.elapsed = started.elapsed();
    Ok(answer)
}

async fn run(state: &SessionState, plan: LogicalPlan, rows_max: usize) -> Result<SqlAnswer> {
    let is_text = matches!(
        plan,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
    );
    let mut frame = DataFrame::new(state.clone(), plan);
    if !is_text && rows_max < ROWS_UNLIMITED {
        // One row more than asked for tells a cut answer from a complete one.
        frame = frame.limit(0, Some(rows_max + 1))?;
    }
    let physical = frame.create_physical_plan().await?;
    let physical = interruptible(physical, &workers::stop())?;
    let context = state.task_ctx();
    let held = MemoryConsumer::new("answer").register(context.memory_pool());
    let mut stream = execute_stream(physical.clone(), context)?;
    let mut gathered = Gathered { batches: Vec::new(), rows: 0, rows_max, held };
    while let Some(batch) = stream.try_next().await? {
        if !gathered.push(batch)? {
            break;
        }
    }
    let truncated = gathered.rows > rows_max;
    let mut stats = scanned(physical.as_ref());
    stats.rows = gathered.rows.min(rows_max);
    let (schema, batches) = (physical.schema(), gathered.batches);
    Ok(SqlAnswer { schema, batches, stats, truncated, warnings: Vec::new() })
}

/// The batches of an answer, their memory accounted for.
struct Gathered {
    batches: Vec<RecordBatch>,
    rows: usize,
    rows_max: usize,
    held: MemoryReservation,
}

impl Gathered {
    /// Keeps `batch` up to the limit; `false` once the limit is passed.
    fn push(&mut self, batch: RecordBatch) -> Result<bool> {
        self.held.try_grow(batch.get_array_memory_size())?;
        let room = self.rows_max - self.rows;
        self.rows += batch.num_rows();
        let fits = batch.num_rows() <= room;
        self.batches.push(if fits { batch } else { batch.slice(0, room) });
        Ok(fits)
    }
}

/// What the leaves of an executed plan read, from their metrics.
fn scanned(plan: &dyn ExecutionPlan) -> SqlStats {
    let mut stats = SqlStats::default();
    let children = plan.children();
    if let (true, Some(metrics)) = (children.is_empty(), plan.metrics()) {
        let sum = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize());
        stats.rows_scanned = metrics.output_rows().unwrap_or_default();
        stats.bytes_scanned = sum("bytes_scanned");
    }
    for child in children {
        let below = scanned(child.as_ref());
        stats.rows_scanned += below.rows_scanned;
        stats.bytes_scanned += below.bytes_scanned;
    }
    stats
}

/// A session for one query: the shared settings and functions, `catalog` as what it sees, `env` as what it may take.
pub(crate) fn session(
    template: &SessionState,
    catalog: Arc<dyn datafusion::catalog::CatalogProviderList>,
    env: Arc<RuntimeEnv>,
) -> SessionState {
    let mut state = SessionStateBuilder::new_from_existing(template.clone())
        .with_catalog_list(catalog)
        .with_runtime_env(env)
        .build();
    state.mark_start_execution(); // `now()` is the time of the query, not of the template.
    state
}

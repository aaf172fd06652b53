//! DataFusion's surroundings, one of each a process: memory pool, spill directory, caches, settings and functions.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::config::SpillCompression;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;

use crate::catalog::{CATALOG, SCHEMA};
use crate::config::Config;
use crate::error::Error;
use crate::function;

mod pool;

pub use pool::Class;
pub(crate) use pool::{QueryMemory, QueryPool, share};

/// Consumers named in the message when memory runs out.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(5).expect("five is not zero");

/// The session all queries start from.
pub(crate) fn template(config: &Config) -> Result<SessionState, Error> {
    let env = runtime_env(config)?;
    let defaults = SessionStateBuilder::new()
        .with_config(settings(config))
        .with_runtime_env(env)
        .with_default_features()
        .build();
    let mut functions: Vec<_> =
        defaults.scalar_functions().values().map(function::bounded).collect();
    functions.extend(function::all());
    Ok(SessionStateBuilder::new_from_existing(defaults).with_scalar_functions(functions).build())
}

fn runtime_env(config: &Config) -> Result<Arc<RuntimeEnv>, Error> {
    let mode = match &config.spill_dir {
        Some(dir) => {
            empty(dir).map_err(|error| {
                Error::Unavailable(format!("spill directory {}: {error}", dir.display()))
            })?;
            DiskManagerMode::Directories(vec![dir.clone()])
        }
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(config.spill_bytes_max);
    RuntimeEnvBuilder::new()
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(config.metadata_cache_bytes_max)
        .build_arc()
        .map_err(|error| Error::Unavailable(format!("query runtime: {error}")))
}

/// `env` with the memory of one query.
pub(crate) fn with_memory(
    env: &RuntimeEnv,
    config: &Config,
    memory: Arc<QueryMemory>,
) -> Arc<RuntimeEnv> {
    let pool = QueryPool::new(config.memory_bytes_max, memory);
    let pool = TrackConsumersPool::new(pool, CONSUMERS_NAMED);
    Arc::new(RuntimeEnv { memory_pool: Arc::new(pool), ..env.clone() })
}

/// Creates `dir`, and removes what a process that died left in it.
fn empty(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("datafusion-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn settings(config: &Config) -> SessionConfig {
    let mut session = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    if config.threads > 0 {
        session = session.with_target_partitions(config.threads);
    }
    let options = session.options_mut();
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.parquet.enable_page_index = true;
    options.execution.parquet.pruning = true;
    options.execution.parquet.bloom_filter_on_read = true;
    options.execution.parquet.max_in_list_size = 256;
    options.execution.parquet.max_predicate_cache_size = Some(config.memory_bytes_max / 16);
    options.execution.collect_statistics = false;
    options.execution.split_file_groups_by_statistics = true;
    options.execution.spill_compression = SpillCompression::Zstd;
    options.optimizer.prefer_existing_sort = true;
    options.optimizer.repartition_file_scans = true;
    options.sql_parser.collect_spans = true;
    session
}

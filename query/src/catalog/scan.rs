//! The leaves of a plan: segments as Parquet files, pruned before any is opened, and the head as batches.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetSource, parquet::CachedParquetFileReaderFactory,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::object_store::path::Path;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use store::scan::SegmentScan;
use store::schema::{Table, columns, segment_schema, time_ms, time_ns};

use super::View;
use super::translate::{texts, time_range};

/// Footers are read in one go when they are not larger.
const FOOTER_HINT_BYTES: usize = 512 << 10;

/// Reads the columns `projection` of `table`, from all segments and head rows where `conditions` may hold.
pub(super) fn plan(
    state: &dyn Session,
    view: &View,
    table: Table,
    projection: Vec<usize>,
    conditions: &[Expr],
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = segment_schema(table);
    let segments = pruned(view, table, &schema, conditions);
    let head = view
        .snapshot
        .head(table)
        .map_err(|error| DataFusionError::External(Box::new(crate::Error::from(error))))?;
    let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
    if !segments.is_empty() {
        inputs.push(parquet(state, &schema, &segments, projection.clone())?);
    }
    if head.iter().any(|batch| batch.num_rows() > 0) {
        let partitions = dealt(head, state.config().target_partitions());
        inputs.push(MemorySourceConfig::try_new_exec(
            &partitions,
            schema.clone(),
            Some(projection.clone()),
        )?);
    }
    if inputs.is_empty() {
        return Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&projection)?))));
    }
    UnionExec::try_new(inputs)
}

/// The segments in which a row may satisfy all `conditions`, by what the catalogue knows of them.
fn pruned(view: &View, table: Table, schema: &SchemaRef, conditions: &[Expr]) -> Vec<SegmentScan> {
    let time = time_column(schema);
    let range = time.map_or(model::time::TimeRange::ALL, |time| time_range(conditions, time));
    let names = texts(conditions, columns::METRIC);
    let mut segments = view.snapshot.segments(table, range);
    if let Some(names) = names {
        segments.retain(|segment| {
            segment.metrics.is_empty()
                || names.iter().any(|name| {
                    segment.metrics.binary_search_by(|metric| (**metric).cmp(name)).is_ok()
                })
        });
    }
    segments
}

/// The column segments are placed by in time.
fn time_column(schema: &SchemaRef) -> Option<&'static str> {
    schema.field_with_name(columns::TIME).is_ok().then_some(columns::TIME)
}

/// Spreads batches over at most `n` partitions, in order.
fn dealt<T>(items: Vec<T>, n: usize) -> Vec<Vec<T>> {
    let each = items.len().div_ceil(n.max(1)).max(1);
    let mut partitions: Vec<Vec<T>> = Vec::new();
    for item in items {
        match partitions.last_mut() {
            Some(last) if last.len() < each => last.push(item),
            _ => partitions.push(vec![item]),
        }
    }
    partitions
}

fn parquet(
    state: &dyn Session,
    schema: &SchemaRef,
    segments: &[SegmentScan],
    projection: Vec<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let url = ObjectStoreUrl::local_filesystem();
    let env = state.runtime_env();
    let cache = env.cache_manager.get_file_metadata_cache();
    let reader = CachedParquetFileReaderFactory::new(env.object_store(&url)?, cache);
    let options = TableParquetOptions {
        global: state.config_options().execution.parquet.clone(),
        ..TableParquetOptions::default()
    };
    let source = ParquetSource::new(schema.clone())
        .with_table_parquet_options(options)
        .with_metadata_size_hint(FOOTER_HINT_BYTES)
        .with_parquet_file_reader_factory(Arc::new(reader));
    let files: Vec<PartitionedFile> =
        segments.iter().map(|segment| file(segment, schema)).collect::<Result<_>>()?;
    let groups = FileGroup::new(files).split_files(state.config().target_partitions());
    let rows = segments.iter().map(|segment| usize::try_from(segment.rows).unwrap_or(usize::MAX));
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Exact(rows.sum());
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(statistics)
        .with_projection_indices(Some(projection))?
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

fn file(segment: &SegmentScan, schema: &SchemaRef) -> Result<PartitionedFile> {
    let mut file = PartitionedFile::new(String::new(), segment.bytes);
    file.object_meta.location = Path::from_absolute_path(&segment.path)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = Precision::Exact(usize::try_from(segment.rows).unwrap_or(usize::MAX));
    if let Some(time) = time_column(schema) {
        let index = schema.index_of(time)?;
        let utc = Some(Arc::from("UTC"));
        let at = |time: model::time::Timestamp| match schema.field(index).data_type() {
            ms if *ms == time_ms() => {
                ScalarValue::TimestampMillisecond(Some(time.ms()), utc.clone())
            }
            ns if *ns == time_ns() => ScalarValue::TimestampNanosecond(Some(time.0), utc.clone()),
            _ => ScalarValue::Null,
        };
        // Bounds only: the catalogue may have widened them to whole milliseconds.
        let bounds = ColumnStatistics::new_unknown()
            .with_min_value(Precision::Inexact(at(segment.min_time)))
            .with_max_value(Precision::Inexact(at(segment.max_time)));
        statistics.column_statistics[index] = bounds;
    }
    Ok(file.with_statistics(Arc::new(statistics)))
}

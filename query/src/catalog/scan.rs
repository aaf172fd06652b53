//! The leaves of a plan: segments as Parquet files, pruned before any is opened, and the head as batches.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimestampMillisecondType};
use datafusion::catalog::Session;
use datafusion::common::cast::as_primitive_array;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, ParquetSource,
    parquet::{CachedParquetFileReaderFactory, ParquetRowSelection},
};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::object_store::path::Path;
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, lit as physical_lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use futures::{StreamExt as _, TryStreamExt as _};
use store::Sought;
use store::scan::{SegmentFiles, SegmentScan};
use store::schema::{Table, columns, segment_schema, time_ms, time_ns};

use super::View;
use super::fold::{self, Stretch};
use super::needle::needle;
use super::promoted::{unified, widen, widened};
use super::translate::{texts, time_range, traces};

/// Sidecars read at once.
const SIDECARS_AT_ONCE: usize = 8;

/// Footers are read in one go when they are not larger.
const FOOTER_HINT_BYTES: usize = 512 << 10;

/// What a scan of one table has to read.
pub(super) struct Inputs {
    table: Table,
    segments: Vec<SegmentScan>,
    head: Vec<RecordBatch>,
    /// Attributes that segments hold in columns of their own.
    promoted: Vec<FieldRef>,
    /// Stored columns, those among them.
    schema: SchemaRef,
}

/// Name of the column that tells rows of newer inputs from those of older ones.
const RANK: &str = "rank of input";

/// Stretches of time folded apart at most; more are merged.
const STRETCHES_MAX: usize = 64;

impl Inputs {
    /// Segments and head rows of `table` where `conditions` may hold.
    pub(super) async fn find(view: &View, table: Table, conditions: &[Expr]) -> Result<Self> {
        let schema = segment_schema(table);
        let segments = pruned(view, table, &schema, conditions);
        let (segments, promoted) = selected(segments, table, conditions).await?;
        let schema = widened(&schema, &promoted);
        let head = view
            .snapshot
            .head_sought(table, &sought(&schema, conditions), &view.limit())
            .map_err(|error| DataFusionError::External(Box::new(crate::Error::from(error))))?;
        let mut head = fold::newest(head, fold::keys(table))?;
        if !promoted.is_empty() {
            head = head.iter().map(|batch| widen(batch, &schema)).collect::<Result<_>>()?;
        }
        Ok(Self { table, segments, head, promoted, schema })
    }

    /// Attributes that segments hold in columns of their own.
    pub(super) fn promoted(&self) -> &[FieldRef] {
        &self.promoted
    }

    /// Stored columns.
    pub(super) const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The stretches of time in which rows may be there twice, in ms.
    pub(super) fn overlaps(&self) -> Result<Vec<Stretch>> {
        if fold::keys(self.table).is_empty() {
            return Ok(Vec::new());
        }
        let mut covered: Vec<Stretch> = self
            .segments
            .iter()
            .map(|segment| (segment.min_time.ms(), segment.max_time.ms()))
            .collect();
        let mut hot: Option<Stretch> = None;
        for batch in &self.head {
            let index = batch.schema().index_of(columns::TIME)?;
            let times = as_primitive_array::<TimestampMillisecondType>(batch.column(index))?;
            if let (Some(first), Some(last)) = (min(times), max(times)) {
                let (from, to) = hot.unwrap_or((first, last));
                hot = Some((from.min(first), to.max(last)));
            }
        }
        covered.extend(hot);
        Ok(fold::overlaps(covered, STRETCHES_MAX))
    }

    /// Reads the columns `projection`.
    pub(super) fn plan(
        &self,
        state: &dyn Session,
        projection: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.ranked(state, projection, false)
    }

    /// Reads the columns `projection` and, as the last one, the rank of the input a row comes from.
    pub(super) fn plan_ranked(
        &self,
        state: &dyn Session,
        projection: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.ranked(state, projection, true)
    }

    fn ranked(
        &self,
        state: &dyn Session,
        projection: &[usize],
        is_ranked: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = Arc::clone(&self.schema);
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if !self.segments.is_empty() {
            inputs.push(parquet(state, &schema, &self.segments, projection, is_ranked)?);
        }
        if self.head.iter().any(|batch| batch.num_rows() > 0) {
            let partitions = dealt(self.head.clone(), state.config().target_partitions());
            let head: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(
                &partitions,
                schema.clone(),
                Some(projection.to_vec()),
            )?;
            inputs.push(if is_ranked { with_rank(head)? } else { head });
        }
        if inputs.is_empty() {
            let mut fields = schema.project(projection)?.fields().to_vec();
            if is_ranked {
                fields.push(rank_field());
            }
            return Ok(Arc::new(EmptyExec::new(Arc::new(Schema::new(fields)))));
        }
        UnionExec::try_new(inputs)
    }
}

fn rank_field() -> FieldRef {
    Arc::new(Field::new(RANK, DataType::UInt64, false))
}

/// The head is newer than any segment.
fn with_rank(head: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = head.schema();
    let columns = schema.fields().iter().enumerate().map(|(i, field)| ProjectionExpr {
        expr: Arc::new(PhysicalColumn::new(field.name(), i)),
        alias: field.name().clone(),
    });
    let rank = ProjectionExpr {
        expr: physical_lit(ScalarValue::UInt64(Some(u64::MAX))),
        alias: RANK.to_owned(),
    };
    Ok(Arc::new(ProjectionExec::try_new(columns.chain([rank]), head)?))
}

/// The segments in which a row may satisfy all `conditions`, by what the catalogue knows of them.
fn pruned(view: &View, table: Table, schema: &SchemaRef, conditions: &[Expr]) -> Vec<SegmentScan> {
    let time = time_column(schema);
    let range = time.map_or(model::time::TimeRange::ALL, |time| time_range(conditions, time));
    let names = texts(conditions, columns::METRIC);
    view.note_missing(table, range);
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

/// `segments` narrowed to the rows that their indexes say may satisfy all `conditions`, and the columns they hold promoted
/// attributes in. Reads sidecars and footers, several at once.
async fn selected(
    segments: Vec<SegmentScan>,
    table: Table,
    conditions: &[Expr],
) -> Result<(Vec<SegmentScan>, Vec<FieldRef>)> {
    let needle = needle(conditions);
    let has_promoted = matches!(table, Table::Logs | Table::Spans);
    if needle.is_none() && !has_promoted {
        return Ok((segments, Vec::new()));
    }
    let needle = Arc::new(needle);
    let tasks = segments.into_iter().map(|mut segment| {
        let needle = Arc::clone(&needle);
        let look = move || {
            if let Some(needle) = needle.as_ref() {
                segment.select(needle);
            }
            let is_read = has_promoted && segment.selected_rows() > 0;
            let promoted = if is_read { segment.promoted()? } else { Vec::new() };
            Ok::<_, store::Error>((segment, promoted))
        };
        async move {
            let done = tokio::task::spawn_blocking(look).await;
            let done = done.map_err(|error| DataFusionError::External(Box::new(error)))?;
            done.map_err(|error| DataFusionError::External(Box::new(crate::Error::from(error))))
        }
    });
    let looked: Vec<(SegmentScan, Vec<FieldRef>)> =
        futures::stream::iter(tasks).buffered(SIDECARS_AT_ONCE).try_collect().await?;
    let (mut segments, promoted): (Vec<_>, Vec<_>) = looked.into_iter().unzip();
    segments.retain(|segment| segment.selected_rows() > 0);
    Ok((segments, unified(promoted)))
}

/// What the rows of the head must be.
fn sought(schema: &SchemaRef, conditions: &[Expr]) -> Sought {
    let time = time_column(schema);
    Sought {
        range: time.map_or(model::time::TimeRange::ALL, |time| time_range(conditions, time)),
        services: texts(conditions, columns::SERVICE_NAME),
        traces: traces(conditions, columns::TRACE_ID),
    }
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
    projection: &[usize],
    is_ranked: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let url = ObjectStoreUrl::local_filesystem();
    let env = state.runtime_env();
    let cache = env.cache_manager.get_file_metadata_cache();
    // Reads through the store's own view: checked against their sums, and pinned while the plan lives.
    let files = Arc::new(SegmentFiles::new(segments));
    let reader = CachedParquetFileReaderFactory::new(files, cache);
    let options = TableParquetOptions {
        global: state.config_options().execution.parquet.clone(),
        ..TableParquetOptions::default()
    };
    let mut projection = projection.to_vec();
    let mut partition_columns = Vec::new();
    if is_ranked {
        projection.push(schema.fields().len());
        partition_columns.push(rank_field());
    }
    let table =
        TableSchema::builder(schema.clone()).with_table_partition_cols(partition_columns).build();
    let source = ParquetSource::new(table)
        .with_table_parquet_options(options)
        .with_metadata_size_hint(FOOTER_HINT_BYTES)
        .with_parquet_file_reader_factory(Arc::new(reader));
    // Segments come oldest commit first, so their place is their rank.
    let ranks = (0..).map(|rank| is_ranked.then_some(rank));
    let files: Vec<PartitionedFile> = segments
        .iter()
        .zip(ranks)
        .map(|(segment, rank)| file(segment, schema, rank))
        .collect::<Result<_>>()?;
    let rows = |file: &PartitionedFile| {
        file.statistics.as_ref().map_or(Precision::Absent, |statistics| statistics.num_rows)
    };
    let n_rows = files.iter().map(rows).fold(Precision::Exact(0), |all, rows| all.add(&rows));
    let groups = FileGroup::new(files).split_files(state.config().target_partitions());
    let config = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups)
        .with_projection_indices(Some(projection))?;
    let config = if is_ranked {
        config.build()
    } else {
        let mut statistics = Statistics::new_unknown(schema);
        statistics.num_rows = n_rows;
        config.with_statistics(statistics).build()
    };
    Ok(DataSourceExec::from_data_source(config))
}

/// The rows that an index points at.
fn indexed(segment: &SegmentScan) -> Option<RowSelection> {
    let row = |row: u64| usize::try_from(row).unwrap_or(usize::MAX);
    let ranges = segment.selection.as_ref()?.iter().map(|rows| row(rows.start)..row(rows.end));
    Some(RowSelection::from_consecutive_ranges(ranges, row(segment.rows)))
}

fn file(segment: &SegmentScan, schema: &SchemaRef, rank: Option<u64>) -> Result<PartitionedFile> {
    let kept = segment
        .kept()
        .map_err(|error| DataFusionError::External(Box::new(crate::Error::from(error))))?;
    let rows = kept.as_ref().map_or(segment.rows, |kept| kept.rows);
    let mut file = PartitionedFile::new(String::new(), segment.bytes);
    let selection = match (kept, indexed(segment)) {
        (Some(kept), Some(indexed)) => Some(kept.selection.intersection(&indexed)),
        (kept, indexed) => kept.map(|kept| kept.selection).or(indexed),
    };
    if let Some(selection) = selection {
        file = file.with_extension(ParquetRowSelection::new(selection));
    }
    file.object_meta.location = Path::from_absolute_path(&segment.path)
        .map_err(|error| DataFusionError::External(Box::new(error)))?;
    let mut statistics = Statistics::new_unknown(schema);
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    // An index points at more rows than there are in the end.
    statistics.num_rows = match segment.selection {
        Some(_) => Precision::Inexact(rows),
        None => Precision::Exact(rows),
    };
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
    if let Some(rank) = rank {
        file = file.with_partition_values(vec![ScalarValue::UInt64(Some(rank))]);
    }
    Ok(file.with_statistics(Arc::new(statistics)))
}

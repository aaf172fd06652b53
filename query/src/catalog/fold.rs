//! Of rows with one key the newest: a row that was sent again, in a request whose answer was lost, counts once.
//!
//! Only stretches of time that more than one input covers can hold a row twice, so only those are sorted and folded.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef, TimestampMillisecondType, UInt64Type};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::cast::as_primitive_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, internal_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements,
    Partitioning, PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream,
};
use futures::StreamExt as _;
use store::schema::{Table, columns};

/// The columns that tell rows of `table` apart; none where every row counts.
pub(super) const fn keys(table: Table) -> &'static [&'static str] {
    match table {
        Table::Samples | Table::HistPoints => &[columns::SERIES_ID, columns::TIME],
        Table::HistBuckets => {
            &[columns::SERIES_ID, columns::TIME, columns::EXP_SCALE, columns::SIDE, columns::BUCKET]
        }
        _ => &[],
    }
}

/// A stretch of time in ms, both ends inside.
pub(super) type Stretch = (i64, i64);

/// The stretches that at least two of `inputs` cover, ascending and apart; at most `max`, merged where they are more.
pub(super) fn overlaps(mut inputs: Vec<Stretch>, max: usize) -> Vec<Stretch> {
    inputs.sort_unstable();
    let mut found: Vec<Stretch> = Vec::new();
    let mut covered: Option<i64> = None;
    for (first, last) in inputs {
        if let Some(end) = covered.filter(|end| first <= *end) {
            let shared = (first, last.min(end));
            match found.last_mut() {
                Some(previous) if shared.0 <= previous.1.saturating_add(1) => {
                    previous.1 = previous.1.max(shared.1);
                }
                _ => found.push(shared),
            }
        }
        covered = covered.max(Some(last));
    }
    while found.len() > max.max(1) {
        // A gap that is closed means rows folded in vain, so the narrowest goes first.
        let gaps = found.windows(2).map(|pair| pair[1].0 - pair[0].1).enumerate();
        let narrowest = gaps.min_by_key(|(_, gap)| *gap).map_or(0, |(i, _)| i);
        let (_, last) = found.remove(narrowest + 1);
        found[narrowest].1 = last;
    }
    found
}

/// `batches` in order of arrival without the rows that a later one replaces.
pub(super) fn newest(batches: Vec<RecordBatch>, keys: &[&str]) -> Result<Vec<RecordBatch>> {
    let Some(first) = batches.first().filter(|_| !keys.is_empty()) else {
        return Ok(batches);
    };
    if keys.len() == 2 && is_ascending(&batches)? {
        return Ok(batches);
    }
    let converter = converter(&first.schema(), keys)?;
    let mut seen: HashSet<Box<[u8]>> = HashSet::new();
    let mut kept = Vec::with_capacity(batches.len());
    for batch in batches.into_iter().rev() {
        let rows = converter.convert_columns(&key_columns(&batch, keys)?)?;
        let mut is_new: Vec<bool> = (0..rows.num_rows())
            .rev()
            .map(|row| seen.insert(rows.row(row).data().into()))
            .collect();
        is_new.reverse();
        if is_new.iter().all(|is_new| *is_new) {
            kept.push(batch);
        } else {
            kept.push(filter_record_batch(&batch, &BooleanArray::from(is_new))?);
        }
    }
    kept.reverse();
    Ok(kept)
}

/// Whether each series' times rise from row to row, as they do where nothing was sent twice: then no key is there twice.
fn is_ascending(batches: &[RecordBatch]) -> Result<bool> {
    let mut newest: HashMap<u64, i64> = HashMap::new();
    for batch in batches {
        let columns = key_columns(batch, &[columns::SERIES_ID, columns::TIME])?;
        let ids = as_primitive_array::<UInt64Type>(&columns[0])?;
        let times = as_primitive_array::<TimestampMillisecondType>(&columns[1])?;
        for (id, time) in ids.values().iter().zip(times.values()) {
            if newest.insert(*id, *time).is_some_and(|before| before >= *time) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn converter(schema: &Schema, keys: &[&str]) -> Result<RowConverter> {
    let fields =
        keys.iter().map(|key| Ok(SortField::new(schema.field_with_name(key)?.data_type().clone())));
    Ok(RowConverter::new(fields.collect::<Result<_>>()?)?)
}

fn key_columns(batch: &RecordBatch, keys: &[&str]) -> Result<Vec<arrow::array::ArrayRef>> {
    let column = |key: &&str| {
        let found = batch.column_by_name(key).cloned();
        found.ok_or_else(|| DataFusionError::Internal(format!("rows to fold have no {key}")))
    };
    keys.iter().map(column).collect()
}

/// Keeps the first of adjacent rows with one key. Its input has the rank of the row's origin as the last column, and is
/// sorted by key, then rank descending; the output is without the rank.
#[derive(Debug)]
pub(super) struct FoldExec {
    input: Arc<dyn ExecutionPlan>,
    keys: &'static [&'static str],
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl FoldExec {
    /// Folds `input` by `keys`.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        keys: &'static [&'static str],
    ) -> Result<Self> {
        let all = input.schema();
        let schema = Arc::new(all.project(&(0..all.fields().len() - 1).collect::<Vec<_>>())?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { input, keys, schema, properties: Arc::new(properties) })
    }

    fn ordering(&self) -> Option<LexOrdering> {
        let schema = self.input.schema();
        let sort = |index: usize, descending: bool| {
            let name = schema.field(index).name();
            let options = arrow::compute::SortOptions { descending, nulls_first: true };
            PhysicalSortExpr::new(Arc::new(Column::new(name, index)), options)
        };
        let keys = self.keys.iter().filter_map(|key| schema.index_of(key).ok());
        let rank = schema.fields().len() - 1;
        LexOrdering::new(keys.map(|key| sort(key, false)).chain([sort(rank, true)]))
    }
}

impl DisplayAs for FoldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoldExec: keys=[{}]", self.keys.join(", "))
    }
}

impl ExecutionPlan for FoldExec {
    fn name(&self) -> &'static str {
        "FoldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.ordering().map(OrderingRequirements::from)]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.keys)?)),
            _ => internal_err!("a fold has one input"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let converter = converter(&input.schema(), self.keys)?;
        let keys = self.keys;
        let schema = self.schema.clone();
        let mut last: Option<OwnedRow> = None;
        let folded = input.map(move |batch| {
            let batch = batch?;
            let rows = converter.convert_columns(&key_columns(&batch, keys)?)?;
            let is_first = |row: usize| match row.checked_sub(1) {
                Some(before) => rows.row(before) != rows.row(row),
                None => last.as_ref().is_none_or(|last| last.row() != rows.row(row)),
            };
            let mask: BooleanArray = (0..rows.num_rows()).map(|row| Some(is_first(row))).collect();
            if let Some(end) = rows.num_rows().checked_sub(1) {
                last = Some(rows.row(end).owned());
            }
            let columns: Vec<usize> = (0..batch.num_columns() - 1).collect();
            Ok(filter_record_batch(&batch.project(&columns)?, &mask)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, folded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_what_two_inputs_share() {
        assert_eq!(overlaps(vec![(0, 10), (11, 20)], 8), []);
        assert_eq!(overlaps(vec![(11, 20), (0, 12)], 8), [(11, 12)]);
        assert_eq!(overlaps(vec![(0, 10), (1, 2), (4, 12)], 8), [(1, 2), (4, 10)]);
        assert_eq!(overlaps(vec![(0, 10), (1, 5), (4, 8)], 8), [(1, 8)]);
        assert_eq!(overlaps(vec![(0, 100), (1, 2), (4, 5), (50, 60)], 2), [(1, 5), (50, 60)]);
        assert_eq!(overlaps(vec![], 8), []);
    }
}

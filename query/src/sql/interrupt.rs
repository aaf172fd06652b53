//! Plans that end when they are told to: joins make many rows of few, long without giving a thread back.
//!
//! A join's batches count against the budget of the task it runs in, as those of scans do, so that a task can be
//! aborted between them. A join's condition, which may be asked about billions of pairs before there is a batch, fails
//! once nobody waits for the answer.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
    SortMergeJoinExec,
};

use crate::error::Error;
use crate::promql::Stop;

/// `plan`, its joins made to end soon after `stop` says so.
pub(super) fn interruptible(
    plan: Arc<dyn ExecutionPlan>,
    stop: &Arc<Stop>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if !multiplies(node.name()) {
            return Ok(Transformed::no(node));
        }
        let node = checked(node, stop)?;
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    })
    .data()
}

/// Whether an operator of this name may give far more rows than it takes.
fn multiplies(name: &str) -> bool {
    name.ends_with("JoinExec") || name == "UnnestExec"
}

/// `join` with a condition that fails once told to stop; a join without a condition gives batches all the time.
fn checked(join: Arc<dyn ExecutionPlan>, stop: &Arc<Stop>) -> Result<Arc<dyn ExecutionPlan>> {
    let condition = |filter: &JoinFilter| {
        let inner = filter.expression().clone();
        let guarded = Arc::new(Guarded { inner, stop: stop.clone() });
        JoinFilter::new(guarded, filter.column_indices().to_vec(), filter.schema().clone())
    };
    if let Some(nested) = join.downcast_ref::<NestedLoopJoinExec>()
        && let Some(filter) = nested.filter()
    {
        let builder = NestedLoopJoinExecBuilder::from(nested);
        return Ok(Arc::new(builder.with_filter(Some(condition(filter))).build()?));
    }
    if let Some(hash) = join.downcast_ref::<HashJoinExec>()
        && let Some(filter) = hash.filter()
    {
        let builder = HashJoinExecBuilder::from(hash);
        return builder.with_filter(Some(condition(filter))).build_exec();
    }
    if let Some(merge) = join.downcast_ref::<SortMergeJoinExec>()
        && let Some(filter) = merge.filter()
    {
        return Ok(Arc::new(SortMergeJoinExec::try_new(
            merge.left().clone(),
            merge.right().clone(),
            merge.on().to_vec(),
            Some(condition(filter)),
            merge.join_type(),
            merge.sort_options().to_vec(),
            merge.null_equality(),
        )?));
    }
    Ok(join)
}

/// An expression that fails once told to stop.
#[derive(Debug)]
struct Guarded {
    inner: Arc<dyn PhysicalExpr>,
    stop: Arc<Stop>,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stop, &other.stop) && self.inner.eq(&other.inner)
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Guarded {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stop.is_told() {
            return Err(DataFusionError::External(Box::new(Error::Canceled)));
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| self.inner.clone());
        Ok(Arc::new(Self { inner, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

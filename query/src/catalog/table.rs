//! A table over stored rows: chooses series, translates conditions, and puts the plan of a scan together.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DFSchema, JoinType, NullEquality, ScalarValue, project_schema};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType, ident, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use store::Series;
use store::schema::{Table, columns};

use super::View;
use super::column::{Column, Source, schema_of};
use super::dimension::Dimension;
use super::fold::{self, FoldExec, Stretch};
use super::promoted;
use super::scan::Inputs;
use super::translate::{About, about, texts, translate};

/// A table of a query's catalog over one of the store's tables.
#[derive(Debug)]
pub(crate) struct StoreTable {
    view: Arc<View>,
    table: Table,
    columns: Vec<Column>,
    schema: SchemaRef,
    /// Conditions on stored columns that every row of the table satisfies.
    keep: Vec<Expr>,
    /// The only series in the table; unset: all.
    series: Option<Vec<Arc<Series>>>,
    /// Whether those are all series of their metrics, so that the metrics' names say enough.
    is_whole: bool,
}

impl StoreTable {
    /// `table` shown as `columns`.
    pub(crate) fn new(view: Arc<View>, table: Table, columns: Vec<Column>) -> Self {
        let schema = schema_of(&columns);
        Self { view, table, columns, schema, keep: Vec::new(), series: None, is_whole: true }
    }

    /// Only rows that satisfy `condition`, over stored columns.
    pub(crate) fn keeping(mut self, condition: Expr) -> Self {
        self.keep.push(condition);
        self
    }

    /// Only rows of `series`.
    pub(crate) fn of_series(mut self, series: Vec<Arc<Series>>) -> Self {
        let names: BTreeSet<&str> = series.iter().map(|s| s.def.metric.as_str()).collect();
        let all = names.iter().flat_map(|name| {
            let found = self.view.series_of(name).unwrap_or_default();
            found.into_iter().filter(move |series| series.def.metric == *name)
        });
        self.is_whole = all.count() == series.len();
        self.series = Some(series);
        self
    }

    fn shown(&self, projection: Option<&Vec<usize>>) -> Vec<&Column> {
        match projection {
            Some(indices) => indices.iter().map(|&i| &self.columns[i]).collect(),
            None => self.columns.iter().collect(),
        }
    }

    /// The series the rows must belong to; `None` when any will do.
    fn pick(
        &self,
        state: &dyn Session,
        shown: &[&Column],
        filters: &[Expr],
    ) -> Result<Option<Vec<Arc<Series>>>> {
        let is_of_series = |filter: &&Expr| about(filter, &self.columns) == About::Series;
        let of_series: Vec<&Expr> = filters.iter().filter(is_of_series).collect();
        let is_joined = shown.iter().any(|column| matches!(column.source, Source::Series(_)));
        if self.series.is_none() && of_series.is_empty() && !is_joined {
            return Ok(None);
        }
        let names = texts(filters, columns::METRIC);
        let mut candidates = match (&self.series, &names) {
            (Some(series), _) => series.clone(),
            (None, Some(names)) => {
                let mut found = Vec::new();
                for name in names {
                    found.extend(self.view.series_of(name)?);
                }
                found
            }
            (None, None) => self.view.select(&[])?,
        };
        if let Some(names) = names {
            candidates.retain(|series| names.contains(&series.def.metric));
        }
        match conjunction(of_series.into_iter().cloned()) {
            Some(filter) => self.satisfying(state, candidates, filter).map(Some),
            None => Ok(Some(candidates)),
        }
    }

    /// Those of `series` for which `filter`, about series only, holds.
    fn satisfying(
        &self,
        state: &dyn Session,
        series: Vec<Arc<Series>>,
        filter: Expr,
    ) -> Result<Vec<Arc<Series>>> {
        let used: BTreeSet<String> =
            filter.column_refs().into_iter().map(|column| column.name().to_owned()).collect();
        let dimensions = used.iter().filter_map(|name| {
            let column = self.columns.iter().find(|column| column.field.name() == name)?;
            match &column.source {
                Source::Series(dimension) => Some((name.as_str(), dimension.clone())),
                _ => Some((name.as_str(), Dimension::Metric)),
            }
        });
        let batch = series_batch(&self.view, &series, dimensions)?;
        let holds = physical(state, filter, batch.schema_ref())?
            .evaluate(&batch)?
            .into_array(batch.num_rows())?;
        let holds = as_boolean_array(&holds)?;
        let kept = series.into_iter().zip(holds.iter());
        Ok(kept.filter(|(_, holds)| *holds == Some(true)).map(|(series, _)| series).collect())
    }

    /// Conditions that narrow a scan to `picked`.
    fn narrowing(&self, picked: &[Arc<Series>], by_id: bool) -> Vec<Expr> {
        const NAMES_MAX: usize = 256;
        let mut narrowing = Vec::new();
        let names: BTreeSet<&str> = picked.iter().map(|s| s.def.metric.as_str()).collect();
        if names.len() <= NAMES_MAX {
            narrowing.push(any_of(columns::METRIC, names.into_iter().map(lit)));
        }
        if by_id {
            narrowing.push(any_of(columns::SERIES_ID, picked.iter().map(|s| lit(s.id.0))));
        }
        narrowing
    }

    /// The stored rows that satisfy `conditions`, with the columns `shown` is made of; and which of those hold promoted
    /// attributes.
    async fn rows(
        &self,
        state: &dyn Session,
        shown: &[&Column],
        conditions: Vec<Expr>,
    ) -> Result<(Arc<dyn ExecutionPlan>, Vec<FieldRef>)> {
        let inputs = Inputs::find(&self.view, self.table, &conditions).await?;
        let through = |expr: Expr| promoted::through(expr, inputs.promoted());
        let conditions: Vec<Expr> = conditions.into_iter().map(through).collect::<Result<_>>()?;
        let stored = shown.iter().filter_map(|column| column.source.stored()).map(through);
        let mut needed: Vec<Expr> = stored.collect::<Result<_>>()?;
        needed.extend(conditions.iter().cloned());
        if shown.iter().any(|column| matches!(column.source, Source::Series(_))) {
            needed.push(ident(columns::SERIES_ID));
        }
        let schema = Arc::clone(inputs.schema());
        let names = needed.iter().flat_map(Expr::column_refs);
        let indices = names.map(|column| schema.index_of(column.name()));
        let mut indices: BTreeSet<usize> = indices.collect::<std::result::Result<_, _>>()?;
        let shared = inputs.overlaps()?;
        if shared.is_empty() {
            let projection: Vec<usize> = indices.into_iter().collect();
            let rows = kept(state, inputs.plan(state, &projection)?, conditions)?;
            return Ok((rows, inputs.promoted().to_vec()));
        }
        for key in fold::keys(self.table) {
            indices.insert(schema.index_of(key)?);
        }
        let projection: Vec<usize> = indices.into_iter().collect();
        let is_key = |condition: &Expr| {
            // The metric is the series', so rows of one key have one metric.
            let keys = [columns::METRIC, columns::SERIES_ID, columns::TIME];
            condition.column_refs().iter().all(|column| keys.contains(&column.name()))
        };
        let (before, after): (Vec<Expr>, Vec<Expr>) = conditions.iter().cloned().partition(is_key);
        let folded = kept(
            state,
            inputs.plan_ranked(state, &projection)?,
            before.into_iter().chain([any_stretch(&shared)]).collect(),
        )?;
        let folded = Arc::new(FoldExec::new(folded, fold::keys(self.table))?);
        let apart = conditions.into_iter().chain([!any_stretch(&shared)]).collect();
        let apart = kept(state, inputs.plan(state, &projection)?, apart)?;
        let rows = UnionExec::try_new(vec![apart, kept(state, folded, after)?])?;
        Ok((rows, inputs.promoted().to_vec()))
    }

    /// Joins the properties of `picked` that `shown` has to `rows`.
    fn join(
        &self,
        rows: Arc<dyn ExecutionPlan>,
        picked: &[Arc<Series>],
        shown: &[&Column],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let dimensions = shown.iter().filter_map(|column| match &column.source {
            Source::Series(dimension) => {
                Some((joined_name(column.field.name()), dimension.clone()))
            }
            _ => None,
        });
        let key = std::iter::once((joined_name(columns::SERIES_ID), Dimension::SeriesId));
        let all = key.chain(dimensions);
        let batch = series_batch(&self.view, picked, all)?;
        let schema = batch.schema();
        let left = MemorySourceConfig::try_new_exec(&[vec![batch]], schema.clone(), None)?;
        let key = |name: &str, schema: &Schema| -> Result<Arc<dyn PhysicalExpr>> {
            Ok(Arc::new(PhysicalColumn::new_with_schema(name, schema)?))
        };
        let left_key = joined_name(columns::SERIES_ID);
        let on = vec![(key(&left_key, &schema)?, key(columns::SERIES_ID, &rows.schema())?)];
        let join = HashJoinExec::try_new(
            left,
            rows,
            on,
            None,
            &JoinType::Inner,
            None,
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok(Arc::new(join))
    }
}

/// The name on the series' side of the join: no stored column has a dot in its name, attributes may have any name.
fn joined_name(name: &str) -> String {
    format!("series.{name}")
}

/// The rows of `input` that satisfy all `conditions`.
fn kept(
    state: &dyn Session,
    input: Arc<dyn ExecutionPlan>,
    conditions: Vec<Expr>,
) -> Result<Arc<dyn ExecutionPlan>> {
    match conjunction(conditions) {
        Some(condition) => {
            let predicate = physical(state, condition, &input.schema())?;
            Ok(Arc::new(FilterExec::try_new(predicate, input)?))
        }
        None => Ok(input),
    }
}

/// The condition that a row's time lies in one of `stretches`.
fn any_stretch(stretches: &[Stretch]) -> Expr {
    let at = |ms: i64| lit(ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into())));
    let within =
        stretches.iter().map(|(first, last)| ident(columns::TIME).between(at(*first), at(*last)));
    within.reduce(Expr::or).unwrap_or_else(|| lit(false))
}

fn any_of(column: &str, values: impl Iterator<Item = Expr>) -> Expr {
    let mut values: Vec<Expr> = values.collect();
    match (values.pop(), values.is_empty()) {
        (None, _) => lit(false),
        (Some(only), true) => ident(column).eq(only),
        (Some(last), false) => {
            values.push(last);
            ident(column).in_list(values, false)
        }
    }
}

fn physical(state: &dyn Session, expr: Expr, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    let expr = unqualified(expr)?;
    state.create_physical_expr(expr, &DFSchema::try_from(schema.as_ref().clone())?)
}

/// Filters come qualified by the name the query gave the table.
fn unqualified(expr: Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
    expr.transform(|expr| {
        Ok(match expr {
            Expr::Column(column) if column.relation.is_some() => {
                Transformed::yes(ident(column.name))
            }
            other => Transformed::no(other),
        })
    })
    .data()
}

/// Properties of `series` as a batch, one row each.
fn series_batch(
    view: &View,
    series: &[Arc<Series>],
    dimensions: impl Iterator<Item = (impl Into<String>, Dimension)>,
) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (name, dimension) in dimensions {
        fields.push(Field::new(name, dimension.data_type(), true));
        arrays.push(dimension.array(series, view)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(series.len()));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match about(filter, &self.columns) {
            About::Rows | About::Series => TableProviderFilterPushDown::Exact,
            About::Both => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>, // Limits are pushed through the plan that is returned.
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let shown = self.shown(projection);
        let filters: Vec<Expr> = filters.iter().cloned().map(unqualified).collect::<Result<_>>()?;
        let picked = self.pick(state, &shown, &filters)?;
        if picked.as_ref().is_some_and(Vec::is_empty) {
            let schema = project_schema(&self.schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let mut conditions = self.keep.clone();
        let mut by_id = self.series.is_some() && !self.is_whole;
        for filter in &filters {
            match about(filter, &self.columns) {
                About::Series => by_id = true,
                About::Rows | About::Both => conditions.push(translate(filter, &self.columns)?),
            }
        }
        if let Some(picked) = &picked {
            // A metric's own name says enough, unless its series were chosen among.
            let is_narrow = by_id || self.series.is_some();
            if is_narrow {
                conditions.extend(self.narrowing(picked, by_id));
            }
        }
        let is_joined = shown.iter().any(|column| matches!(column.source, Source::Series(_)));
        let (mut rows, promoted) = self.rows(state, &shown, conditions).await?;
        if let (true, Some(picked)) = (is_joined, &picked) {
            rows = self.join(rows, picked, &shown)?;
        }
        let input = rows.schema();
        let project = |column: &&Column| -> Result<ProjectionExpr> {
            let name = column.field.name();
            let expr = match column.source.stored() {
                Some(expr) => physical(state, promoted::through(expr, &promoted)?, &input)?,
                None => Arc::new(PhysicalColumn::new_with_schema(&joined_name(name), &input)?),
            };
            Ok(ProjectionExpr { expr, alias: name.clone() })
        };
        let exprs: Vec<ProjectionExpr> = shown.iter().map(project).collect::<Result<_>>()?;
        Ok(Arc::new(ProjectionExec::try_new(exprs, rows)?))
    }
}

//! Aggregations that fold a group into one value. `topk` and its like, which pick series, stand in `topk`.

use std::collections::HashMap;
use std::sync::Arc;

use store::parallel;

use super::call::string;
use super::column::{Cell, Column, Grid};
use super::over_time::{Mean, Sum, quantile_of};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::{Aggregate, AggregateOp};
use crate::promql::histogram::{CompensatedHistogram, Histogram};
use crate::promql::labels::{Labels, is_reserved};
use crate::promql::number::{decimal, is_label_name, quote};

/// Series that share their grouping labels.
pub(super) struct Group {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    /// Indices into the input, rising.
    pub(super) members: Vec<usize>,
}

/// Sorts columns into groups, in order of first sight.
pub(super) fn groups(aggregate: &Aggregate, columns: &[Column]) -> Vec<Group> {
    let mut found: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        let labels = group_labels(aggregate, &column.labels);
        let at = *found.entry(labels.clone()).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Group { labels, drop_name: false, members: Vec::new() });
        }
        groups[at].members.push(i);
        groups[at].drop_name |= column.drop_name;
    }
    groups
}

fn group_labels(aggregate: &Aggregate, labels: &Labels) -> Labels {
    let listed = |name: &str| aggregate.grouping.iter().any(|label| label.as_ref() == name);
    if aggregate.without {
        labels.filter(|name| !is_reserved(name) && !listed(name))
    } else if aggregate.grouping.is_empty() {
        Labels::empty()
    } else {
        labels.filter(listed)
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        match aggregate.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => return self.pick(aggregate, grid),
            AggregateOp::CountValues => return self.count_values(aggregate, grid),
            _ => {}
        }
        let mut numbers = Vec::new();
        if let Some(param) = &aggregate.param {
            numbers = self.scalar(param, grid)?;
            // Of many only the extremes are worth a word.
            let nan = numbers.iter().copied().find(|q| q.is_nan());
            let least = numbers.iter().copied().reduce(f64::min);
            let most = numbers.iter().copied().reduce(f64::max);
            for q in [nan, least, most].into_iter().flatten() {
                self.annotations.quantile(q, param.place());
            }
        }
        let columns = self.vector(&aggregate.expr, grid)?;
        let mut groups = groups(aggregate, &columns);
        // Whatever folds the groups in turn does so in an order that does not depend on the steps that are evaluated.
        groups.sort_by(|a, b| a.labels.cmp(&b.labels));
        let floats = self.fold_columns(aggregate.op, &columns, &groups)?;
        let mut out = Vec::new();
        for (group, floats) in groups.into_iter().zip(floats) {
            self.options.stop.check()?;
            let cells = floats.unwrap_or_else(|| {
                let cells = (0..grid.len).map(|step| {
                    let q = numbers.get(step).copied().unwrap_or(f64::NAN);
                    let members = group.members.iter().map(|i| &columns[*i]);
                    self.fold(aggregate, q, step, members)
                });
                cells.collect()
            });
            let column = Column { labels: group.labels, drop_name: group.drop_name, cells };
            if !column.is_empty() {
                out.push(column);
            }
        }
        Ok(out)
    }

    /// The cells of each group, taken column by column; `None` of a group where that cannot be done.
    fn fold_columns(
        &self,
        op: AggregateOp,
        columns: &[Column],
        groups: &[Group],
    ) -> Result<Vec<Option<Vec<Cell>>>, EvalError> {
        let Some(empty) = Fold::of(op) else { return Ok(vec![None; groups.len()]) };
        let fold = |group: &Group| {
            self.options.stop.check()?;
            Ok(folded(&empty, group.members.iter().map(|i| &columns[*i])))
        };
        let n_cells = columns.first().map_or(0, |column| column.cells.len() * columns.len());
        if n_cells < CELLS_A_THREAD {
            return groups.iter().map(fold).collect();
        }
        parallel::map(groups.iter().collect(), fold)
    }

    /// One group at one step.
    fn fold<'c>(
        &mut self,
        aggregate: &Aggregate,
        q: f64,
        step: usize,
        members: impl Iterator<Item = &'c Column> + Clone,
    ) -> Cell {
        let floats = members.clone().filter_map(|column| column.cells[step].float());
        let n_floats = floats.clone().count();
        let mut histograms = members.filter_map(|column| match &column.cells[step] {
            Cell::Histogram(histogram) => Some((&column.labels, histogram)),
            Cell::None | Cell::Float(_) => None,
        });
        let n_histograms = histograms.clone().count();
        let op = aggregate.op;
        match op {
            _ if n_floats + n_histograms == 0 => Cell::None,
            AggregateOp::Count => Cell::Float((n_floats + n_histograms) as f64),
            AggregateOp::Group => Cell::Float(1.0),
            AggregateOp::Sum | AggregateOp::Avg if n_floats > 0 && n_histograms > 0 => {
                let text = "encountered a mix of histograms and floats for aggregation";
                self.annotations.warn(aggregate.expr.place(), text.to_owned());
                Cell::None
            }
            AggregateOp::Sum | AggregateOp::Avg if n_histograms > 0 => {
                self.fold_histograms(aggregate, &mut histograms)
            }
            _ => {
                if n_histograms > 0 {
                    let text = format!("ignored histogram in {} aggregation", op.word());
                    self.annotations.info(aggregate.expr.place(), text);
                }
                if n_floats == 0 { Cell::None } else { Cell::Float(fold_floats(op, q, floats)) }
            }
        }
    }

    fn fold_histograms(
        &mut self,
        aggregate: &Aggregate,
        histograms: &mut dyn Iterator<Item = (&Labels, &Arc<Histogram>)>,
    ) -> Cell {
        let mut fold = HistogramFold::new(aggregate.op == AggregateOp::Avg);
        let mut misfit = None;
        for (labels, histogram) in histograms {
            if !fold.add(histogram) {
                misfit.get_or_insert(labels);
            }
        }
        let place = aggregate.expr.place();
        for fault in fold.faults() {
            match fault {
                FoldFault::MixedSchemas => {
                    let name = quote(misfit.map_or("", |labels| labels.name()));
                    let text = format!(
                        "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {name}"
                    );
                    self.annotations.warn(place, text);
                }
                FoldFault::Collision => {
                    let text = "conflicting counter resets during histogram aggregation";
                    self.annotations.warn(place, text.to_owned());
                }
                FoldFault::Reconciled => {
                    let text = "mismatched custom buckets were reconciled during aggregation";
                    self.annotations.info(place, text.to_owned());
                }
            }
        }
        fold.finish().map_or(Cell::None, |histogram| Cell::Histogram(Arc::new(histogram)))
    }

    fn count_values(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let label = aggregate.param.as_ref().map(string).unwrap_or_default();
        if !is_label_name(&label) {
            return Err(execution(format!("invalid label name {}", quote(&label))));
        }
        let columns = self.vector(&aggregate.expr, grid)?;
        let mut found: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<Column> = Vec::new();
        for column in &columns {
            let base = group_labels(aggregate, &column.labels);
            for (step, cell) in column.cells.iter().enumerate() {
                let value = match cell {
                    Cell::None => continue,
                    Cell::Float(value) => decimal(*value),
                    Cell::Histogram(histogram) => histogram.to_string(),
                };
                let labels = base.with(&label, &value);
                let at = *found.entry(labels.clone()).or_insert(out.len());
                if at == out.len() {
                    self.room(at + 1, grid)?;
                    out.push(Column::new(labels, vec![Cell::None; grid.len]));
                }
                out[at].drop_name |= column.drop_name && label.as_ref() != "__name__";
                let count = out[at].cells[step].float().unwrap_or(0.0);
                out[at].cells[step] = Cell::Float(count + 1.0);
            }
        }
        Ok(out)
    }
}

/// Cells that are worth a thread.
const CELLS_A_THREAD: usize = 65_536;

/// A fold of floats that takes one after the other.
#[derive(Clone)]
enum Fold {
    Count(f64),
    Group,
    Sum(Sum),
    Mean(Mean),
    Least(f64),
    Most(f64),
}

impl Fold {
    /// Of nothing yet; `None` for what needs all values at once.
    fn of(op: AggregateOp) -> Option<Self> {
        Some(match op {
            AggregateOp::Count => Self::Count(0.0),
            AggregateOp::Group => Self::Group,
            AggregateOp::Sum => Self::Sum(Sum::default()),
            AggregateOp::Avg => Self::Mean(Mean::default()),
            AggregateOp::Min => Self::Least(f64::NAN),
            AggregateOp::Max => Self::Most(f64::NAN),
            _ => return None,
        })
    }

    fn add(&mut self, value: f64) {
        match self {
            Self::Count(count) => *count += 1.0,
            Self::Group => {}
            Self::Sum(sum) => sum.add(value),
            Self::Mean(mean) => mean.add(value),
            Self::Least(least) if value < *least || least.is_nan() => *least = value,
            Self::Most(most) if value > *most || most.is_nan() => *most = value,
            Self::Least(_) | Self::Most(_) => {}
        }
    }

    fn value(&self) -> f64 {
        match self {
            Self::Count(count) => *count,
            Self::Group => 1.0,
            Self::Sum(sum) => sum.value(),
            Self::Mean(mean) => mean.value(),
            Self::Least(value) | Self::Most(value) => *value,
        }
    }
}

/// Folds columns of floats one after the other: the same order at every step as value by value. `None` when there is a
/// histogram among them.
fn folded<'c>(empty: &Fold, members: impl Iterator<Item = &'c Column>) -> Option<Vec<Cell>> {
    let mut folds: Vec<Option<Fold>> = Vec::new();
    for column in members {
        folds.resize(column.cells.len(), None);
        for (fold, cell) in folds.iter_mut().zip(&column.cells) {
            match cell {
                Cell::None => {}
                Cell::Float(value) => fold.get_or_insert_with(|| empty.clone()).add(*value),
                Cell::Histogram(_) => return None,
            }
        }
    }
    let cell = |fold: Option<Fold>| fold.map_or(Cell::None, |fold| Cell::Float(fold.value()));
    Some(folds.into_iter().map(cell).collect())
}

fn fold_floats(op: AggregateOp, q: f64, values: impl Iterator<Item = f64>) -> f64 {
    match op {
        AggregateOp::Stdvar => variance(values),
        AggregateOp::Stddev => variance(values).sqrt(),
        AggregateOp::Quantile => quantile_of(q, &mut values.collect::<Vec<_>>()),
        _ => Fold::of(op).map_or(f64::NAN, |mut fold| {
            values.for_each(|value| fold.add(value));
            fold.value()
        }),
    }
}

/// Welford's method; a first value that is not finite gives NaN.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut sum) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        if count == 1.0 {
            mean = value;
            sum = if value.is_finite() { 0.0 } else { f64::NAN };
            continue;
        }
        let delta = value - mean;
        mean += delta / count;
        sum += delta * (value - mean);
    }
    sum / count
}

/// What went wrong or deserves a word while histograms were folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoldFault {
    MixedSchemas,
    Collision,
    Reconciled,
}

/// Sum or mean of histograms with compensated arithmetic.
pub(super) struct HistogramFold {
    mean: bool,
    count: f64,
    sum: Option<CompensatedHistogram>,
    incremental: bool,
    faults: Vec<FoldFault>,
    seen_reset: [bool; 2],
}

impl HistogramFold {
    pub(super) const fn new(mean: bool) -> Self {
        Self {
            mean,
            count: 0.0,
            sum: None,
            incremental: false,
            faults: Vec::new(),
            seen_reset: [false; 2],
        }
    }

    /// Adds one; returns whether it fits those before it.
    pub(super) fn add(&mut self, histogram: &Histogram) -> bool {
        use crate::promql::histogram::ResetHint;
        match histogram.reset_hint {
            ResetHint::Reset => self.seen_reset[0] = true,
            ResetHint::NotReset => self.seen_reset[1] = true,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.faults.contains(&FoldFault::MixedSchemas) {
            return false;
        }
        self.count += 1.0;
        let n = self.count;
        let Some(sum) = &mut self.sum else {
            self.sum = Some(CompensatedHistogram::new(histogram.clone()));
            return true;
        };
        let mut part = histogram.clone();
        if self.mean && (self.incremental || sum.would_overflow(histogram)) {
            if self.incremental {
                sum.scale((n - 1.0) / n);
            } else {
                self.incremental = true;
                sum.scale(1.0 / (n - 1.0) * ((n - 1.0) / n));
            }
            part.scale(1.0 / n);
        }
        match sum.add(&part) {
            Err(_) => {
                self.fault(FoldFault::MixedSchemas);
                return false;
            }
            Ok(joined) if joined.bounds_reconciled => self.fault(FoldFault::Reconciled),
            Ok(_) => {}
        }
        true
    }

    fn fault(&mut self, fault: FoldFault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    pub(super) fn faults(&mut self) -> Vec<FoldFault> {
        if self.seen_reset == [true; 2] {
            self.fault(FoldFault::Collision);
        }
        self.faults.clone()
    }

    /// The sum or mean; `None` when the layouts do not go together.
    pub(super) fn finish(mut self) -> Option<Histogram> {
        if self.faults.contains(&FoldFault::MixedSchemas) {
            return None;
        }
        let mut sum = self.sum.take()?;
        if self.mean && !self.incremental {
            sum.divide(self.count);
        }
        let mut total = sum.total();
        total.compact();
        Some(total)
    }
}

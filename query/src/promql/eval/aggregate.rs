//! Aggregations that fold a group into one value. `topk` and its like, which pick series, stand in `topk`.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::string;
use super::column::{Cell, Column, Grid};
use super::over_time::{Mean, quantile_of, sum_of};
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
        let mut out = Vec::new();
        for group in groups(aggregate, &columns) {
            self.options.stop.check()?;
            let cells = (0..grid.len).map(|step| {
                let q = numbers.get(step).copied().unwrap_or(f64::NAN);
                let members = group.members.iter().map(|i| &columns[*i]);
                self.fold(aggregate, q, step, members)
            });
            let cells = cells.collect();
            let column = Column { labels: group.labels, drop_name: group.drop_name, cells };
            if !column.is_empty() {
                out.push(column);
            }
        }
        Ok(out)
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

fn fold_floats(op: AggregateOp, q: f64, values: impl Iterator<Item = f64>) -> f64 {
    match op {
        AggregateOp::Sum => sum_of(values),
        AggregateOp::Avg => {
            let mut mean = Mean::default();
            values.for_each(|value| mean.add(value));
            mean.value()
        }
        AggregateOp::Min => values.fold(f64::NAN, |m, v| if v < m || m.is_nan() { v } else { m }),
        AggregateOp::Max => values.fold(f64::NAN, |m, v| if v > m || m.is_nan() { v } else { m }),
        AggregateOp::Stdvar => variance(values),
        AggregateOp::Stddev => variance(values).sqrt(),
        _ => quantile_of(q, &mut values.collect::<Vec<_>>()),
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

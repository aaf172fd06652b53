//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::cmp::Ordering;

use super::aggregate::{Group, groups};
use super::column::{Cell, Column, Grid};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::{Aggregate, AggregateOp};
use crate::promql::number::{percent_g, to_index};

impl Evaluator<'_> {
    pub(super) fn pick(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let Some(param) = &aggregate.param else {
            return Err(execution("no parameter for aggregate expression provided"));
        };
        let mut numbers = self.scalar(param, grid)?;
        if aggregate.op == AggregateOp::LimitRatio {
            self.cap_ratios(&mut numbers, param.place())?;
        } else {
            check_counts(&numbers)?;
        }
        let mut columns = self.vector(&aggregate.expr, grid)?;
        let groups = groups(aggregate, &columns);
        let mut order = Vec::new();
        let mut kept = vec![vec![false; grid.len]; columns.len()];
        for group in &groups {
            self.options.stop.check()?;
            for (step, number) in numbers.iter().enumerate() {
                let picked = self.pick_members(aggregate, *number, (group, &columns), step);
                for i in &picked {
                    kept[*i][step] = true;
                }
                if grid.len == 1 {
                    order.extend(picked);
                }
            }
        }
        for (column, kept) in columns.iter_mut().zip(&kept) {
            for (cell, kept) in column.cells.iter_mut().zip(kept) {
                if !kept {
                    *cell = Cell::None;
                }
            }
        }
        if grid.len > 1 {
            columns.retain(|column| !column.is_empty());
            return Ok(columns);
        }
        let mut slots: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
        Ok(order.into_iter().filter_map(|i| slots[i].take()).collect())
    }

    /// Members of a group that stay at a step, best first.
    fn pick_members(
        &mut self,
        aggregate: &Aggregate,
        number: f64,
        (group, columns): (&Group, &[Column]),
        step: usize,
    ) -> Vec<usize> {
        let cell = |i: usize| &columns[i].cells[step];
        let present = group.members.iter().copied().filter(|i| !cell(*i).is_none());
        match aggregate.op {
            AggregateOp::Limitk => present.take(to_index(number)).collect(),
            AggregateOp::LimitRatio => {
                present.filter(|i| in_ratio(columns[*i].labels.hash64(), number)).collect()
            }
            op => {
                if number < 1.0 {
                    return Vec::new();
                }
                let mut floats: Vec<(usize, f64)> = Vec::new();
                for i in present {
                    match cell(i).float() {
                        Some(value) => floats.push((i, value)),
                        None => {
                            let text = format!("ignored histogram in {} aggregation", op.word());
                            self.annotations.info(aggregate.place, text);
                        }
                    }
                }
                floats.sort_by(|(_, a), (_, b)| best_first(op, *a, *b));
                floats.truncate(to_index(number));
                floats.into_iter().map(|(i, _)| i).collect()
            }
        }
    }

    fn cap_ratios(
        &mut self,
        ratios: &mut [f64],
        place: crate::promql::place::Place,
    ) -> Result<(), EvalError> {
        for ratio in ratios {
            if ratio.is_nan() {
                return Err(execution("Ratio value is NaN"));
            }
            let capped = ratio.clamp(-1.0, 1.0);
            if capped != *ratio {
                let text = format!(
                    "ratio value should be between -1 and 1, got {}, capping to {}",
                    percent_g(*ratio),
                    percent_g(capped)
                );
                self.annotations.warn(place, text);
                *ratio = capped;
            }
        }
        Ok(())
    }
}

fn check_counts(counts: &[f64]) -> Result<(), EvalError> {
    for count in counts {
        if count.is_nan() {
            return Err(execution("Parameter value is NaN"));
        }
        // The bounds of i64 as floats.
        if *count >= 9_223_372_036_854_775_807.0 {
            return Err(execution(format!("Scalar value {} overflows int64", percent_g(*count))));
        }
        if *count <= -9_223_372_036_854_775_808.0 {
            return Err(execution(format!("Scalar value {} underflows int64", percent_g(*count))));
        }
    }
    Ok(())
}

/// Largest (or smallest) first, NaN last.
fn best_first(op: AggregateOp, a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if op == AggregateOp::Bottomk => a.total_cmp(&b),
        (false, false) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    }
}

/// Whether a series of this hash belongs to the first `ratio` of all (or, negative, to the last).
fn in_ratio(hash: u64, ratio: f64) -> bool {
    let offset = hash as f64 / u64::MAX as f64;
    (ratio >= 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio)
}

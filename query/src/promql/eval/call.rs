//! Calls: which function runs where, and the scalar ones.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::Arc;

use super::column::{Cell, Column, Grid, merge_same, refuse_same};
use super::select::Aspect;
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::{BinaryOp, Call, Expr, LabelMatcher, Unary};
use crate::promql::labels::Labels;
use model::matcher::MatchOp;

/// The text of a string literal; empty for anything else, which the checks have refused.
pub(super) fn string(expr: &Expr) -> Arc<str> {
    match expr.bare() {
        Expr::String(literal) => Arc::clone(&literal.value),
        _ => "".into(),
    }
}

impl Evaluator<'_> {
    /// A scalar expression at every step.
    pub(super) fn scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let expr = expr.bare();
        if let Expr::Number(literal) = expr {
            return Ok(vec![literal.value; grid.len]);
        }
        let begun = self.begin(expr, grid);
        let values = self.scalar_once(expr, grid)?;
        self.end_scalar(begun, values.len());
        Ok(values)
    }

    fn scalar_once(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match expr {
            Expr::Unary(unary) => {
                let values = self.scalar(&unary.expr, grid)?;
                let sign = if unary.negative { -1.0 } else { 1.0 };
                Ok(values.into_iter().map(|value| value * sign).collect())
            }
            Expr::Binary(binary) => {
                let left = self.scalar(&binary.left, grid)?;
                let right = self.scalar(&binary.right, grid)?;
                let op = binary.op;
                Ok(left.into_iter().zip(right).map(|(l, r)| scalar_op(op, l, r)).collect())
            }
            Expr::Call(call) => self.scalar_call(call, grid),
            _ => Err(execution("the expression is not a scalar")),
        }
    }

    fn scalar_call(&mut self, call: &Call, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match call.function.name {
            "pi" => Ok(vec![PI; grid.len]),
            "time" => Ok(grid.times().map(|t| t as f64 / 1000.0).collect()),
            "scalar" => {
                let columns = self.vector(&call.args[0], grid)?;
                Ok((0..grid.len).map(|step| only_float(&columns, step)).collect())
            }
            name @ ("min_of" | "max_of") => {
                let left = self.scalar(&call.args[0], grid)?;
                let right = self.scalar(&call.args[1], grid)?;
                let pick = |(l, r): (f64, f64)| {
                    if l.is_nan() || r.is_nan() {
                        f64::NAN
                    } else if name == "min_of" {
                        l.min(r)
                    } else {
                        l.max(r)
                    }
                };
                Ok(left.into_iter().zip(right).map(pick).collect())
            }
            name => Err(execution(format!("function {name} does not return a scalar"))),
        }
    }

    pub(super) fn unary(&mut self, unary: &Unary, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let columns = self.vector(&unary.expr, grid)?;
        if !unary.negative {
            return Ok(columns);
        }
        let negate = |cell: Cell| match cell {
            Cell::None => Cell::None,
            Cell::Float(value) => Cell::Float(-value),
            Cell::Histogram(mut histogram) => {
                Arc::make_mut(&mut histogram).scale(-1.0);
                Cell::Histogram(histogram)
            }
        };
        let delayed = self.options.delayed_name_removal;
        let columns = columns.into_iter().map(|mut column| {
            column.cells = column.cells.into_iter().map(negate).collect();
            column.without_name(delayed)
        });
        self.unique(columns.collect())
    }

    /// Refuses equal label sets at once, unless names are dropped later.
    pub(super) fn unique(&self, columns: Vec<Column>) -> Result<Vec<Column>, EvalError> {
        if self.options.delayed_name_removal { Ok(columns) } else { refuse_same(columns) }
    }

    /// Joins equal label sets that never meet at one step, unless names are dropped later.
    pub(super) fn merged(&self, columns: Vec<Column>) -> Result<Vec<Column>, EvalError> {
        if self.options.delayed_name_removal { Ok(columns) } else { merge_same(columns) }
    }

    /// A function that returns a vector.
    pub(super) fn call(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        match call.function.name {
            "vector" => {
                let cells = self.scalar(&call.args[0], grid)?.into_iter().map(Cell::Float);
                Ok(vec![Column::new(Labels::empty(), cells.collect())])
            }
            "absent" => self.absent(call, grid),
            "absent_over_time" => self.absent_over_time(call, grid),
            "timestamp" => self.sample_time(call, grid, Aspect::Time),
            "start_timestamp" => self.sample_time(call, grid, Aspect::StartTime),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(call, grid),
            "label_replace" => self.label_replace(call, grid),
            "label_join" => self.label_join(call, grid),
            "histogram_quantile" | "histogram_quantiles" => self.histogram_quantile(call, grid),
            "histogram_fraction" => self.histogram_fraction(call, grid),
            "histogram_count" | "histogram_sum" | "histogram_avg" | "histogram_stddev"
            | "histogram_stdvar" => self.histogram_statistic(call, grid),
            "info" => self.info(call, grid),
            "clamp" | "clamp_min" | "clamp_max" | "round" => self.bounded_call(call, grid),
            name if super::dates::is_date(name) => self.date(call, grid),
            name => match super::over_time::range_function(name) {
                Some(_) => self.range_call(call, grid),
                None => self.math(call, grid),
            },
        }
    }

    /// Changes every cell of the vector argument; the name goes.
    pub(super) fn map_cells(
        &self,
        columns: Vec<Column>,
        mut change: impl FnMut(usize, Cell) -> Cell,
    ) -> Result<Vec<Column>, EvalError> {
        let delayed = self.options.delayed_name_removal;
        let changed = columns.into_iter().filter_map(|mut column| {
            let cells = column.cells.into_iter().enumerate();
            column.cells = cells.map(|(step, cell)| change(step, cell)).collect();
            (!column.is_empty()).then(|| column.without_name(delayed))
        });
        self.merged(changed.collect())
    }

    fn absent(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let columns = self.vector(&call.args[0], grid)?;
        Ok(absent_column(&call.args[0], &columns, grid))
    }

    fn absent_over_time(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let range = (&call.args[0], "absent_over_time");
        let columns = self.windows(
            range,
            grid,
            || (),
            |_, (), _, window| {
                let empty = window.floats.is_empty() && window.histograms.is_empty();
                Ok(if empty { Cell::None } else { Cell::Float(1.0) })
            },
        )?;
        Ok(absent_column(&call.args[0], &columns, grid))
    }

    fn sample_time(
        &mut self,
        call: &Call,
        grid: Grid,
        aspect: Aspect,
    ) -> Result<Vec<Column>, EvalError> {
        if let Expr::Vector(selector) = call.args[0].bare() {
            let columns = self.selector_aspect(selector, grid, aspect)?;
            return self.map_cells(columns, |_, cell| cell);
        }
        let columns = self.vector(&call.args[0], grid)?;
        if aspect == Aspect::StartTime {
            return Ok(Vec::new());
        }
        self.map_cells(columns, |step, cell| match cell {
            Cell::None => Cell::None,
            Cell::Float(_) | Cell::Histogram(_) => Cell::Float(grid.time(step) as f64 / 1000.0),
        })
    }
}

fn only_float(columns: &[Column], step: usize) -> f64 {
    let mut floats = columns.iter().filter_map(|column| column.cells[step].float());
    match (floats.next(), floats.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
}

/// 1 at every step at which no column has a value.
fn absent_column(arg: &Expr, columns: &[Column], grid: Grid) -> Vec<Column> {
    let cell = |step: usize| {
        let present = columns.iter().any(|column| !column.cells[step].is_none());
        if present { Cell::None } else { Cell::Float(1.0) }
    };
    let column = Column::new(absent_labels(arg), (0..grid.len).map(cell).collect());
    if column.is_empty() { Vec::new() } else { vec![column] }
}

/// The labels that the selector fixes by `=`.
fn absent_labels(arg: &Expr) -> Labels {
    let matchers: &[LabelMatcher] = match arg.bare() {
        Expr::Vector(selector) => &selector.matchers,
        Expr::Matrix(matrix) => &matrix.selector.matchers,
        _ => &[],
    };
    let mut fixed: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name.as_ref() != "__name__") {
        let name = matcher.name.as_ref();
        match fixed.get(name) {
            // Only the first `=` counts, and only when no matcher of the label follows.
            None if matcher.op == MatchOp::Equal => {
                fixed.insert(name, Some(matcher.value.as_ref()));
            }
            None => {}
            Some(_) => {
                fixed.insert(name, None);
            }
        }
    }
    Labels::from_texts(fixed.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// An operator between two numbers; comparisons give 0 or 1.
pub(super) fn scalar_op(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        BinaryOp::Equal => truth(left == right),
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::LessOrEqual => truth(left <= right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::GreaterOrEqual => truth(left >= right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::Or
        | BinaryOp::And
        | BinaryOp::Unless
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => f64::NAN,
    }
}

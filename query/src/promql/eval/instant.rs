//! Functions on each float of an instant vector, and sorting.

use std::cmp::Ordering;

use super::column::{Cell, Column, Grid};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::Call;

/// The function of one float with this name.
fn float_function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sgn" => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        _ => return None,
    })
}

fn on_float(cell: &Cell, change: impl FnOnce(f64) -> f64) -> Cell {
    cell.float().map(change).into()
}

impl Evaluator<'_> {
    pub(super) fn math(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let name = call.function.name;
        let change = float_function(name)
            .ok_or_else(|| execution(format!("function {name} is not implemented")))?;
        let columns = self.vector(&call.args[0], grid)?;
        self.map_cells(columns, |_, cell| on_float(&cell, change))
    }

    /// `clamp*` and `round`: numbers that may differ from step to step.
    pub(super) fn bounded_call(
        &mut self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let columns = self.vector(&call.args[0], grid)?;
        let mut numbers = Vec::new();
        for arg in &call.args[1..] {
            numbers.push(self.scalar(arg, grid)?);
        }
        let name = call.function.name;
        self.map_cells(columns, |step, cell| {
            let number = |i: usize| numbers.get(i).map_or(1.0, |values: &Vec<f64>| values[step]);
            let Some(value) = cell.float() else { return Cell::None };
            match name {
                "clamp" if number(0) > number(1) => Cell::None,
                "clamp" => Cell::Float(go_max(number(0), go_min(number(1), value))),
                "clamp_min" => Cell::Float(go_max(number(0), value)),
                "clamp_max" => Cell::Float(go_min(number(0), value)),
                _ => {
                    // The inverse keeps 0.1 and its like exact.
                    let inverse = 1.0 / number(0);
                    Cell::Float((value * inverse + 0.5).floor() / inverse)
                }
            }
        })
    }

    pub(super) fn sort(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let mut columns = self.vector(&call.args[0], grid)?;
        if self.times.step_ms > 0 {
            let text =
                "sort is ineffective for range queries since results are always ordered by labels";
            self.annotations.warn(call.place, text.to_owned());
        }
        let name = call.function.name;
        if matches!(name, "sort" | "sort_desc") {
            for column in &mut columns {
                for cell in &mut column.cells {
                    if cell.float().is_none() {
                        *cell = Cell::None;
                    }
                }
            }
            columns.retain(|column| !column.is_empty());
        }
        if grid.len > 1 {
            return Ok(columns);
        }
        let labels: Vec<_> = call.args[1..].iter().map(super::call::string).collect();
        let value = |column: &Column| column.cells[0].float().unwrap_or(f64::NAN);
        match name {
            "sort" => columns.sort_by(|a, b| nan_last(value(a), value(b))),
            "sort_desc" => columns.sort_by(|a, b| {
                let (a, b) = (value(a), value(b));
                if a.is_nan() || b.is_nan() { nan_last(a, b) } else { nan_last(b, a) }
            }),
            "sort_by_label" => columns.sort_by(|a, b| by_labels(&labels, a, b)),
            _ => columns.sort_by(|a, b| by_labels(&labels, b, a)),
        }
        Ok(columns)
    }
}

fn by_labels(labels: &[std::sync::Arc<str>], a: &Column, b: &Column) -> Ordering {
    labels
        .iter()
        .map(|label| natural(a.labels.value(label), b.labels.value(label)))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.labels.cmp(&b.labels))
}

/// Rising, NaN after everything.
pub(super) fn nan_last(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Order of texts cut into runs of digits, which compare as numbers, and runs of anything else.
fn natural(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() && !b.is_empty() {
        let (run_a, run_b) = (run(a), run(b));
        let order = match (run_a.is_number(), run_b.is_number()) {
            (true, true) => {
                let (x, y) =
                    (run_a.text.trim_start_matches('0'), run_b.text.trim_start_matches('0'));
                x.len().cmp(&y.len()).then(x.cmp(y))
            }
            _ => run_a.text.cmp(run_b.text),
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (run_a.rest, run_b.rest);
    }
    a.len().cmp(&b.len())
}

/// The first run of digits or of anything else, and what follows.
struct Run<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Run<'_> {
    fn is_number(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_digit())
    }
}

fn run(text: &str) -> Run<'_> {
    let begins = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != begins).unwrap_or(text.len());
    let (text, rest) = text.split_at(end);
    Run { text, rest }
}

/// The smaller; NaN when either is.
pub(super) fn go_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The larger; NaN when either is.
pub(super) fn go_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

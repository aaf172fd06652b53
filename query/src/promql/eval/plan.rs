//! Before the first sample is read: durations resolved, `start()` and its like folded, modifiers judged, invariance known.

use super::{EvalError, Query, execution};
use crate::promql::ast::{At, BinaryOp, Call, Edges, Expr, Length, NumberLiteral, Offset};
use crate::promql::duration::QueryTimes;

/// A copy of the query's tree in which every duration and pin is a number.
pub(super) fn prepare(query: &Query, times: QueryTimes) -> Result<Expr, EvalError> {
    let mut expr = query.expr.clone();
    resolve(&mut expr, times)?;
    mark_statistics(&mut expr, Buckets::Undecided);
    Ok(expr)
}

/// Whether what stands above an expression looks at the buckets of its histograms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buckets {
    Undecided,
    Skippable,
    Needed,
}

/// Marks the selectors below `histogram_count` and its like, unless something above needs whole buckets.
fn mark_statistics(expr: &mut Expr, above: Buckets) {
    let below = match expr {
        Expr::Vector(selector) => {
            selector.statistics_only = above == Buckets::Skippable;
            return;
        }
        Expr::Matrix(matrix) => {
            matrix.selector.statistics_only = above == Buckets::Skippable;
            return;
        }
        _ if above == Buckets::Needed => Buckets::Needed,
        Expr::Call(call) => match call.function.name {
            "histogram_count" | "histogram_sum" | "histogram_avg" => Buckets::Skippable,
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => Buckets::Needed,
            _ => above,
        },
        Expr::Subquery(_) => Buckets::Needed,
        Expr::Binary(binary) if matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => {
            Buckets::Needed
        }
        Expr::Number(_)
        | Expr::String(_)
        | Expr::Aggregate(_)
        | Expr::Binary(_)
        | Expr::Unary(_)
        | Expr::Paren(..) => above,
    };
    for child in expr.children_mut() {
        mark_statistics(child, below);
    }
}

fn resolve(expr: &mut Expr, times: QueryTimes) -> Result<(), EvalError> {
    match expr {
        Expr::Vector(selector) => {
            pin(&mut selector.at, times);
            shift(&mut selector.offset, times)?;
        }
        Expr::Matrix(matrix) => {
            pin(&mut matrix.selector.at, times);
            shift(&mut matrix.selector.offset, times)?;
            measure(&mut matrix.range, times)?;
        }
        Expr::Subquery(subquery) => {
            pin(&mut subquery.at, times);
            shift(&mut subquery.offset, times)?;
            measure(&mut subquery.range, times)?;
            if let Some(step) = &mut subquery.step {
                measure(step, times)?;
            }
        }
        Expr::Call(call) => {
            check_edges(call)?;
            if let Some(value) = query_constant(call.function.name, times) {
                let place = call.place;
                *expr = Expr::Number(NumberLiteral { value, duration: false, place });
            }
        }
        Expr::Number(_)
        | Expr::String(_)
        | Expr::Aggregate(_)
        | Expr::Binary(_)
        | Expr::Unary(_)
        | Expr::Paren(..) => {}
    }
    expr.children_mut().into_iter().try_for_each(|child| resolve(child, times))
}

fn query_constant(name: &str, times: QueryTimes) -> Option<f64> {
    let ms = match name {
        "start" => times.start_ms,
        "end" => times.end_ms,
        "step" => times.step_ms,
        "range" => times.end_ms.saturating_sub(times.start_ms),
        _ => return None,
    };
    Some(ms as f64 / 1000.0)
}

const fn pin(at: &mut Option<At>, times: QueryTimes) {
    match at {
        Some(At::Start) => *at = Some(At::Ms(times.start_ms)),
        Some(At::End) => *at = Some(At::Ms(times.end_ms)),
        Some(At::Ms(_)) | None => {}
    }
}

fn shift(offset: &mut Offset, times: QueryTimes) -> Result<(), EvalError> {
    if let Some(expr) = &offset.expr {
        offset.ms = expr
            .resolve(times, false)
            .map_err(|(place, fault)| execution(format!("{place}: {}", fault.sentence())))?;
    }
    Ok(())
}

fn measure(length: &mut Length, times: QueryTimes) -> Result<(), EvalError> {
    if let Some(expr) = &length.expr {
        length.ms = expr
            .resolve(times, true)
            .map_err(|(place, fault)| execution(format!("{place}: {}", fault.sentence())))?;
    }
    Ok(())
}

const ANCHORED: [&str; 5] = ["changes", "delta", "increase", "rate", "resets"];
const SMOOTHED: [&str; 3] = ["delta", "increase", "rate"];

fn check_edges(call: &Call) -> Result<(), EvalError> {
    for arg in &call.args {
        let Expr::Matrix(matrix) = arg.bare() else { continue };
        let selector = &matrix.selector;
        let (word, allowed) = match selector.edges {
            Edges::Plain => continue,
            Edges::Anchored => ("anchored", &ANCHORED[..]),
            Edges::Smoothed => ("smoothed", &SMOOTHED[..]),
        };
        if !allowed.contains(&call.function.name) {
            let (list, name) = (allowed.join(", "), call.function.name);
            let text = format!("{word} modifier can only be used with: {list} - not with {name}");
            return Err(execution(text));
        }
    }
    Ok(())
}

/// Whether the expression has one value for all steps.
pub(super) fn is_step_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Vector(selector) => selector.at.is_some(),
        Expr::Matrix(matrix) => matrix.selector.at.is_some(),
        // A pinned subquery has its own grid, so what stands inside does not matter.
        Expr::Subquery(subquery) => subquery.at.is_some(),
        Expr::Call(call) if call.function.depends_on_time() => false,
        Expr::Number(_)
        | Expr::String(_)
        | Expr::Call(_)
        | Expr::Aggregate(_)
        | Expr::Binary(_)
        | Expr::Unary(_)
        | Expr::Paren(..) => expr.children().into_iter().all(is_step_invariant),
    }
}

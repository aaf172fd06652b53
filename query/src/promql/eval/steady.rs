//! Whether the answer at a step follows from that step and the samples around it alone, and from which samples: then
//! steps that were evaluated once need not be evaluated again. Asked by the cache of range queries.

use super::window::greatest_common_divisor;
use super::{EvalOptions, Query, plan};
use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Edges, Expr, MatrixSelector, Subquery,
    ValueType, VectorSelector,
};
use crate::promql::duration::QueryTimes;
use model::matcher::MatchOp;

/// Windows of whole such stretches may be answered from rollups, whose sums are rounded otherwise than samples'.
const ROLLUP_MS: i64 = 300_000;

/// Which samples an answer at one step may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// From so long before the step, ms...
    pub back_ms: i64,
    /// ...to so long after it, ms.
    pub ahead_ms: i64,
}

/// What is known of a part of an expression.
#[derive(Clone, Copy)]
struct Steady {
    back: i64,
    ahead: i64,
    /// Whether its series come in an order that does not depend on which steps are evaluated.
    is_ordered: bool,
    reads: bool,
}

/// The reach of a query, or `None` where another range of steps could give another answer at the same step, down to the
/// last bit: whatever looks at the range itself, and sums over series whose order follows from the range.
pub fn reach(query: &Query, times: QueryTimes, options: &EvalOptions) -> Option<Reach> {
    let text = query.expr.to_string();
    if ["start()", "end()", "range()"].iter().any(|word| text.contains(word)) {
        return None;
    }
    let expr = plan::prepare(query, times).ok()?;
    let found = Judge { times, options }.of(&expr)?;
    let far = i64::MAX / 4;
    (found.reads && found.back < far && found.ahead < far)
        .then_some(Reach { back_ms: found.back, ahead_ms: found.ahead })
}

impl Steady {
    const CONSTANT: Self = Self { back: 0, ahead: 0, is_ordered: true, reads: false };

    fn of(back: i64, ahead: i64) -> Self {
        Self { back: back.max(0), ahead: ahead.max(0), is_ordered: true, reads: true }
    }

    fn and(self, other: Self) -> Self {
        Self {
            back: self.back.max(other.back),
            ahead: self.ahead.max(other.ahead),
            is_ordered: self.is_ordered && other.is_ordered,
            reads: self.reads || other.reads,
        }
    }

    const fn ordered(self, is_ordered: bool) -> Self {
        Self { is_ordered, ..self }
    }
}

struct Judge<'a> {
    times: QueryTimes,
    options: &'a EvalOptions,
}

impl Judge<'_> {
    fn of(&self, expr: &Expr) -> Option<Steady> {
        match expr {
            Expr::Number(_) | Expr::String(_) => Some(Steady::CONSTANT),
            Expr::Paren(inner, _) => self.of(inner),
            Expr::Unary(unary) => self.of(&unary.expr),
            Expr::Vector(selector) => self.selector(selector, 0),
            Expr::Matrix(matrix) => self.matrix(matrix),
            Expr::Subquery(subquery) => self.subquery(subquery),
            Expr::Call(call) => self.call(call),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
        }
    }

    fn selector(&self, selector: &VectorSelector, range_ms: i64) -> Option<Steady> {
        // Series of several metrics may become one when their names are dropped, or clash, which is told of all steps.
        let is_name = |name: &str, op| name == "__name__" && op == MatchOp::Equal;
        let is_named = selector.name.is_some()
            || selector.matchers.iter().any(|matcher| is_name(&matcher.name, matcher.op));
        if selector.at.is_some() || !is_named {
            return None;
        }
        let (offset, lookback) = (selector.offset.ms, self.options.lookback_ms);
        let (before, after) = match (selector.edges, range_ms) {
            (Edges::Plain, 0) => (lookback, 0),
            (Edges::Plain, _) => (0, 0),
            (Edges::Anchored, _) => (lookback, 0),
            (Edges::Smoothed, _) => (lookback, lookback),
        };
        let back = range_ms.saturating_add(before).saturating_add(offset);
        Some(Steady::of(back, after.saturating_sub(offset)))
    }

    fn matrix(&self, matrix: &MatrixSelector) -> Option<Steady> {
        let (range, QueryTimes { start_ms, step_ms, .. }) = (matrix.range.ms, self.times);
        let first = start_ms.saturating_sub(matrix.selector.offset.ms);
        let unit = [first, step_ms].into_iter().fold(range, greatest_common_divisor);
        let may_be_rolled = matrix.selector.edges == Edges::Plain && unit % ROLLUP_MS == 0;
        if may_be_rolled { None } else { self.selector(&matrix.selector, range) }
    }

    fn subquery(&self, subquery: &Subquery) -> Option<Steady> {
        if subquery.at.is_some() {
            return None;
        }
        let inner = self.of(&subquery.expr)?;
        let step = subquery.step.as_ref().map_or(self.options.subquery_step_ms, |step| step.ms);
        let offset = subquery.offset.ms;
        let back = [subquery.range.ms, step, offset].into_iter().fold(inner.back, add);
        let own = Steady::of(back, inner.ahead.saturating_sub(offset));
        Some(Steady { reads: inner.reads, ..own }.ordered(inner.is_ordered))
    }

    fn call(&self, call: &Call) -> Option<Steady> {
        let name = call.function.name;
        if name == "info" {
            return None; // What it joins is chosen over the whole range.
        }
        let inner = self.all(&call.args)?;
        let reorders = name.starts_with("label_")
            || name.starts_with("sort")
            || matches!(name, "histogram_quantile" | "histogram_quantiles" | "histogram_fraction");
        Some(inner.ordered(inner.is_ordered && !reorders))
    }

    fn all(&self, exprs: &[Expr]) -> Option<Steady> {
        exprs.iter().try_fold(Steady::CONSTANT, |all, expr| Some(all.and(self.of(expr)?)))
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Option<Steady> {
        let inner = self.of(&aggregate.expr)?;
        let needs_order = !matches!(
            aggregate.op,
            AggregateOp::Count
                | AggregateOp::Group
                | AggregateOp::CountValues
                | AggregateOp::LimitRatio
        );
        if needs_order && !inner.is_ordered {
            return None;
        }
        let param = aggregate.param.as_ref().map_or(Some(Steady::CONSTANT), |p| self.of(p))?;
        // Groups are sorted by their labels; what picks series leaves them as they came.
        let is_ordered = aggregate.op != AggregateOp::CountValues;
        Some(inner.and(param).ordered(is_ordered && (needs_order || inner.is_ordered)))
    }

    fn binary(&self, binary: &Binary) -> Option<Steady> {
        let (left, right) = (self.of(&binary.left)?, self.of(&binary.right)?);
        let is_vector = |expr: &Expr| expr.value_type() == ValueType::Vector;
        let is_ordered = match (is_vector(&binary.left), is_vector(&binary.right)) {
            (true, true) => {
                matches!(binary.op, BinaryOp::And | BinaryOp::Unless) && left.is_ordered
            }
            (true, false) => left.is_ordered,
            (false, _) => right.is_ordered,
        };
        Some(left.and(right).ordered(is_ordered))
    }
}

const fn add(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, step_ms: i64) -> Option<(i64, i64)> {
        let query = Query::parse(text).unwrap();
        let times = QueryTimes { start_ms: 600_000, end_ms: 4_200_000, step_ms };
        let reach = reach(&query, times, &EvalOptions::default());
        reach.map(|reach| (reach.back_ms / 1_000, reach.ahead_ms / 1_000))
    }

    #[test]
    fn the_samples_of_a_step_are_known() {
        for (text, wanted) in [
            ("x", (300, 0)),
            ("x offset 1m", (360, 0)),
            ("x offset -1m", (240, 60)),
            ("x offset -10m", (0, 600)),
            ("rate(x[5m])", (300, 0)),
            ("rate(x[5m] smoothed)", (600, 300)),
            ("rate(x[5m] anchored)", (600, 0)),
            ("max_over_time(rate(x[5m])[1h:1m] offset 1m)", (300 + 3_600 + 60 + 60, 0)),
            ("sum by (a) (rate(x[1m])) / on(a) group_left y offset 10m", (900, 0)),
            ("histogram_quantile(0.9, sum by (le) (rate(x_bucket[1m])))", (60, 0)),
            ("topk(5, sum by (a) (x))", (300, 0)),
            ("sum(sum by (a) (x))", (300, 0)),
            ("avg(x and y)", (300, 0)),
            ("count(a / b)", (300, 0)),
            ("x - time()", (300, 0)),
            ("rate(x[4 * step()])", (60, 0)),
        ] {
            assert_eq!(found(text, 15_000), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_another_range_could_change_is_not_steady() {
        for text in [
            "x @ 100",
            "x @ end()",
            "rate(x[5m] @ start())",
            "x - start()",
            "rate(x[range()])",
            "time()",
            "{a=\"b\"}",
            "rate({__name__=~\"a|b\"}[5m])",
            "sum(a / b)",
            "sum(label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\"))",
            "sum(a or b)",
            "info(x)",
        ] {
            assert_eq!(found(text, 15_000), None, "{text}");
        }
        assert_eq!(found("rate(x[5m])", 300_000), None, "rollups may answer it");
        assert_eq!(found("rate(x[4m])", 300_000), Some((240, 0)));
    }
}

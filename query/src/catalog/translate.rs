//! From conditions on shown columns to conditions on stored ones, so that they reach the scan and prune files.

use std::collections::BTreeSet;

use arrow::datatypes::TimeUnit;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, ident, lit};
use model::id::{SpanId, TraceId};
use model::time::{TimeRange, Timestamp};

use super::column::{Column, Source, maps};
use crate::function;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Stored columns only (or none at all).
    Rows,
    /// Properties of the series only, the metric's name among them.
    Series,
    /// Both, or something that cannot be told before the query runs.
    Both,
}

/// What `filter` is about.
pub(crate) fn about(filter: &Expr, columns: &[Column]) -> About {
    if filter.is_volatile() || has_subquery(filter) {
        return About::Both;
    }
    let (mut rows, mut series) = (false, false);
    for used in filter.column_refs() {
        match columns.iter().find(|column| column.field.name() == used.name()) {
            Some(Column { source: Source::Series(_), .. }) => series = true,
            // The name stands in both places: it goes with whatever it is asked together with.
            Some(column) if column.field.name() == "metric" => {}
            _ => rows = true,
        }
    }
    match (rows, series) {
        (_, false) => About::Rows,
        (false, true) => About::Series,
        (true, true) => About::Both,
    }
}

fn has_subquery(filter: &Expr) -> bool {
    filter
        .exists(|expr| {
            Ok(matches!(
                expr,
                Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::ScalarSubquery(_)
                    | Expr::OuterReferenceColumn(..)
            ))
        })
        .unwrap_or(true)
}

/// `filter`, which is about rows, in terms of stored columns; means exactly the same.
pub(crate) fn translate(filter: &Expr, columns: &[Column]) -> Result<Expr> {
    filter
        .clone()
        .transform_down(|expr| {
            if let Some(stored) = special(&expr, columns) {
                return Ok(Transformed::new(
                    stored,
                    true,
                    datafusion::common::tree_node::TreeNodeRecursion::Jump,
                ));
            }
            let Expr::Column(used) = &expr else {
                return Ok(Transformed::no(expr));
            };
            let stored = find(columns, used.name()).and_then(Source::stored);
            Ok(match stored {
                Some(stored) => Transformed::new(
                    stored,
                    true,
                    datafusion::common::tree_node::TreeNodeRecursion::Jump,
                ),
                None => Transformed::no(expr),
            })
        })
        .data()
}

fn find<'a>(columns: &'a [Column], name: &str) -> Option<&'a Source> {
    columns.iter().find(|column| column.field.name() == name).map(|column| &column.source)
}

fn source<'a>(expr: &Expr, columns: &'a [Column]) -> Option<&'a Source> {
    match expr {
        Expr::Column(used) => find(columns, used.name()),
        _ => None,
    }
}

/// Shapes that have a better form over stored columns than their mere substitution.
fn special(expr: &Expr, columns: &[Column]) -> Option<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (column, Expr::Literal(value, _)) => compared(source(column, columns)?, *op, value),
            (Expr::Literal(value, _), column) => {
                compared(source(column, columns)?, op.swap()?, value)
            }
            _ => None,
        },
        Expr::InList(InList { expr, list, negated }) => {
            let Some(Source::Id(name, width)) = source(expr, columns) else {
                return None;
            };
            let ids = list.iter().map(|item| match item {
                Expr::Literal(value, _) => Some(id(value, *width)),
                _ => None,
            });
            let ids: Vec<Expr> = ids.collect::<Option<_>>()?;
            Some(ident(*name).in_list(ids, *negated))
        }
        Expr::ScalarFunction(call) if matches!(call.func.name(), "attr" | "get_field") => {
            let (Some(first), Some(key)) = (call.args.first(), call.args.get(1)) else {
                return None;
            };
            match source(first, columns) {
                Some(Source::Attributes) if call.args.len() == 2 => {
                    Some(function::attr(maps(), key.clone()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn compared(source: &Source, op: Operator, value: &ScalarValue) -> Option<Expr> {
    match source {
        Source::Id(name, width) if matches!(op, Operator::Eq | Operator::NotEq) => {
            let right = id(value, *width);
            Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(ident(*name)), op, Box::new(right))))
        }
        Source::Millis(name) => millis(name, op, nanos(value)?),
        _ => None,
    }
}

/// An id written in hexadecimal; one that is no id equals nothing, like the null made of it.
fn id(value: &ScalarValue, width: usize) -> Expr {
    let text = value.try_as_str().flatten().unwrap_or_default();
    // Shown ids are lower case, so upper case equals none of them.
    let is_shown_form = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let bytes = match width {
        16 => TraceId::parse(text).map(|id| id.0.to_vec()),
        _ => SpanId::parse(text).map(|id| id.0.to_vec()),
    };
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    // Sixteen or eight zero bytes are no valid id, so that "not found" needs no null and keeps `<>` right.
    let bytes = bytes.filter(|_| is_shown_form);
    let nothing = vec![0; usize::try_from(width).unwrap_or_default()];
    lit(ScalarValue::FixedSizeBinary(width, Some(bytes.unwrap_or(nothing))))
}

/// Nanoseconds since the epoch of a timestamp of any unit.
fn nanos(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampSecond(Some(s), _) => s.checked_mul(1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(ms), _) => ms.checked_mul(1_000_000),
        ScalarValue::TimestampMicrosecond(Some(us), _) => us.checked_mul(1_000),
        ScalarValue::TimestampNanosecond(Some(ns), _) => Some(*ns),
        _ => None,
    }
}

/// `ms * 10^6 op ns` as a comparison of whole milliseconds.
fn millis(name: &str, op: Operator, ns: i64) -> Option<Expr> {
    let (floor, exact) = (ns.div_euclid(1_000_000), ns.rem_euclid(1_000_000) == 0);
    let at = |ms: i64| lit(ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into())));
    let column = ident(name);
    Some(match (op, exact) {
        (Operator::Gt, _) => column.gt(at(floor)),
        (Operator::LtEq, _) => column.lt_eq(at(floor)),
        (Operator::GtEq, true) => column.gt_eq(at(floor)),
        (Operator::GtEq, false) => column.gt(at(floor)),
        (Operator::Lt, true) => column.lt(at(floor)),
        (Operator::Lt, false) => column.lt_eq(at(floor)),
        (Operator::Eq, true) => column.eq(at(floor)),
        (Operator::NotEq, true) => column.not_eq(at(floor)),
        _ => return None,
    })
}

/// The stretch of time outside which no row satisfies all `filters` over stored columns.
pub(crate) fn time_range(filters: &[Expr], column: &str) -> TimeRange {
    let (mut first, mut last) = (i64::MIN, i64::MAX);
    for filter in filters {
        let (from, to) = bounds(filter, column);
        first = first.max(from);
        last = last.min(to);
    }
    TimeRange::new(Timestamp(first), Timestamp(last.saturating_add(1)))
}

/// First and last ns at which `filter` may hold.
fn bounds(filter: &Expr, column: &str) -> (i64, i64) {
    const ALL: (i64, i64) = (i64::MIN, i64::MAX);
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let (a, b) = (bounds(left, column), bounds(right, column));
            (a.0.max(b.0), a.1.min(b.1))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (a, b) = (bounds(left, column), bounds(right, column));
            (a.0.min(b.0), a.1.max(b.1))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, value) = match (&**left, &**right) {
                (Expr::Column(used), Expr::Literal(value, _)) if used.name() == column => {
                    (Some(*op), value)
                }
                (Expr::Literal(value, _), Expr::Column(used)) if used.name() == column => {
                    (op.swap(), value)
                }
                _ => return ALL,
            };
            match (op, nanos(value)) {
                // A bound in ms stands for the whole millisecond.
                (Some(Operator::Lt | Operator::LtEq), Some(ns)) => {
                    (i64::MIN, ns.saturating_add(unit_ns(value) - 1))
                }
                (Some(Operator::Gt | Operator::GtEq), Some(ns)) => (ns, i64::MAX),
                (Some(Operator::Eq), Some(ns)) => (ns, ns.saturating_add(unit_ns(value) - 1)),
                _ => ALL,
            }
        }
        Expr::Between(between) if !between.negated => {
            let (Expr::Column(used), Expr::Literal(low, _), Expr::Literal(high, _)) =
                (&*between.expr, &*between.low, &*between.high)
            else {
                return ALL;
            };
            match (used.name() == column, nanos(low), nanos(high)) {
                (true, Some(low), Some(high_ns)) => {
                    (low, high_ns.saturating_add(unit_ns(high) - 1))
                }
                _ => ALL,
            }
        }
        _ => ALL,
    }
}

fn unit_ns(value: &ScalarValue) -> i64 {
    match value.data_type() {
        arrow::datatypes::DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        arrow::datatypes::DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        arrow::datatypes::DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        _ => 1,
    }
}

/// The texts `column` may have if all `filters` hold; `None` when they do not say.
pub(crate) fn texts(filters: &[Expr], column: &str) -> Option<BTreeSet<String>> {
    values(filters, column, |value| value.try_as_str().flatten().map(str::to_owned))
}

/// The traces `column` may name if all `filters` hold; `None` when they do not say.
pub(crate) fn traces(filters: &[Expr], column: &str) -> Option<BTreeSet<TraceId>> {
    values(filters, column, |value| match value {
        ScalarValue::FixedSizeBinary(16, Some(id)) => id.as_slice().try_into().ok().map(TraceId),
        _ => None,
    })
}

/// The values `column` may have if all `filters` hold, as `read` reads literals; `None` when they do not say.
fn values<T: Ord + Clone>(
    filters: &[Expr],
    column: &str,
    read: fn(&ScalarValue) -> Option<T>,
) -> Option<BTreeSet<T>> {
    filters.iter().filter_map(|filter| values_of(filter, column, read)).reduce(|a, b| &a & &b)
}

fn values_of<T: Ord + Clone>(
    filter: &Expr,
    column: &str,
    read: fn(&ScalarValue) -> Option<T>,
) -> Option<BTreeSet<T>> {
    let value = |expr: &Expr| match expr {
        Expr::Literal(value, _) => read(value),
        _ => None,
    };
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(used) if used.name() == column);
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let found = if is_column(left) { value(right) } else { None };
            let found = found.or_else(|| if is_column(right) { value(left) } else { None });
            found.map(|found| BTreeSet::from([found]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(&values_of(left, column, read)? | &values_of(right, column, read)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            match (values_of(left, column, read), values_of(right, column, read)) {
                (Some(a), Some(b)) => Some(&a & &b),
                (a, b) => a.or(b),
            }
        }
        Expr::InList(InList { expr, list, negated: false }) if is_column(expr) => {
            list.iter().map(value).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: i64) -> Expr {
        lit(ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into())))
    }

    fn ns(ns: i64) -> ScalarValue {
        ScalarValue::TimestampNanosecond(Some(ns), None)
    }

    #[test]
    fn conditions_on_shown_times_keep_their_meaning_in_milliseconds() {
        for op in [
            Operator::Lt,
            Operator::LtEq,
            Operator::Gt,
            Operator::GtEq,
            Operator::Eq,
            Operator::NotEq,
        ] {
            for bound in [-1_000_001, -1, 0, 1, 999_999, 1_000_000, 1_500_000] {
                let Some(Expr::BinaryExpr(stored)) = millis("time", op, bound) else {
                    continue;
                };
                let Expr::Literal(ScalarValue::TimestampMillisecond(Some(limit), _), _) =
                    *stored.right
                else {
                    panic!("no literal");
                };
                for row in -3_i64..4 {
                    let shown = holds(op, row * 1_000_000, bound);
                    assert_eq!(holds(stored.op, row, limit), shown, "{row} {op} {bound}");
                }
            }
        }
    }

    fn holds(op: Operator, a: i64, b: i64) -> bool {
        match op {
            Operator::Lt => a < b,
            Operator::LtEq => a <= b,
            Operator::Gt => a > b,
            Operator::GtEq => a >= b,
            Operator::Eq => a == b,
            _ => a != b,
        }
    }

    #[test]
    fn time_ranges_are_never_too_narrow() {
        let time = || ident("time");
        let range = time_range(&[time().gt_eq(ms(5)).and(time().lt_eq(ms(7)))], "time");
        assert_eq!(range, TimeRange::new(Timestamp(5_000_000), Timestamp(8_000_000)));
        let range = time_range(&[time().gt(ms(5)).or(ident("a").eq(lit(1)))], "time");
        assert_eq!((range.start.0, range.end.0), (i64::MIN, i64::MAX));
        let range = time_range(&[time().between(lit(ns(3)), lit(ns(4)))], "time");
        assert_eq!(range, TimeRange::new(Timestamp(3), Timestamp(5)));
    }

    #[test]
    fn names_are_gathered_from_equalities() {
        let metric = || ident("metric");
        let either = metric().eq(lit("a")).or(metric().in_list(vec![lit("b")], false));
        assert_eq!(texts(std::slice::from_ref(&either), "metric").unwrap().len(), 2);
        assert_eq!(texts(&[either, metric().eq(lit("b"))], "metric").unwrap().len(), 1);
        assert_eq!(texts(&[metric().not_eq(lit("a"))], "metric"), None);
        assert_eq!(texts(&[metric().eq(lit("a")).or(ident("x").eq(lit("a")))], "metric"), None);
    }
}

//! What an expression reads: its selectors, and whether their absence is a part of what it asks.

use std::fmt::Write;
use std::sync::Arc;

use model::matcher::{MatchOp, Matcher};

use super::ast::{AggregateOp, Binary, BinaryOp, Cardinality, Expr, VectorSelector};
use super::number::quote;

/// What an expression reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Its selectors, in order.
    pub selectors: Vec<Input>,
    /// Whether it yields something where there is no data: it is built on `absent`, or on `or` a number.
    pub defines_absence: bool,
}

/// One selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Conditions on its series.
    pub matchers: Vec<Matcher>,
    /// The selector alone, without window, `offset` and `@`.
    pub text: String,
    /// Length of its window, ms; 0 when it has none.
    pub range_ms: i64,
    /// `offset`, ms; 0 when it is an expression.
    pub offset_ms: i64,
    /// Whether a result needs series of it: false below `absent`, on the right of `unless`, on either side of `or`, and where
    /// a missing side is filled.
    pub is_needed: bool,
    /// Which of its labels a result has as they are.
    pub carried: Carried,
}

/// Labels that the series of a selector and the results made of them have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Only these, where somebody says so.
    only: Option<Vec<Arc<str>>>,
    except: Vec<Arc<str>>,
}

impl Carried {
    /// Whether a result that has the label has it from the series.
    #[must_use]
    pub fn has(&self, label: &str) -> bool {
        let named = |names: &[Arc<str>]| names.iter().any(|name| **name == *label);
        !named(&self.except) && self.only.as_deref().is_none_or(named)
    }

    fn except(&self, labels: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut carried = self.clone();
        carried.except.extend(labels);
        carried
    }

    fn only(&self, labels: impl IntoIterator<Item = Arc<str>>) -> Self {
        let kept = labels.into_iter().filter(|label| self.has(label));
        Self { only: Some(kept.collect()), except: Vec::new() }
    }
}

/// What an expression is within.
#[derive(Clone, Default)]
struct Around {
    is_optional: bool,
    carried: Carried,
}

impl Around {
    fn optional(&self, is_optional: bool) -> Self {
        Self { is_optional: self.is_optional || is_optional, ..self.clone() }
    }
}

impl Inputs {
    /// Those of an expression.
    #[must_use]
    pub fn of(expr: &Expr) -> Self {
        let mut inputs = Self::default();
        inputs.walk(expr, &Around::default());
        inputs
    }

    fn walk(&mut self, expr: &Expr, around: &Around) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(selector) => self.put(selector, 0, around),
            Expr::Matrix(matrix) => self.put(&matrix.selector, matrix.range.ms, around),
            Expr::Subquery(subquery) => self.walk(&subquery.expr, around),
            Expr::Call(call) => {
                let absent = matches!(call.function.name, "absent" | "absent_over_time");
                self.defines_absence |= absent;
                let makes = matches!(call.function.name, "label_replace" | "label_join");
                let made = call.args.get(1).filter(|_| makes).and_then(literal);
                let carried = around.carried.except(made);
                let inner = Around { carried, ..around.optional(absent) };
                call.args.iter().for_each(|arg| self.walk(arg, &inner));
            }
            Expr::Aggregate(aggregate) => {
                let makes = aggregate.op == AggregateOp::CountValues;
                let made = aggregate.param.as_ref().filter(|_| makes).and_then(literal);
                let carried = around.carried.except(made);
                self.walk(&aggregate.expr, &Around { carried, ..around.clone() });
                aggregate.param.iter().for_each(|param| self.walk(param, around));
            }
            Expr::Binary(binary) => self.walk_both(binary, around),
            Expr::Unary(unary) => self.walk(&unary.expr, around),
            Expr::Paren(inner, _) => self.walk(inner, around),
        }
    }

    fn walk_both(&mut self, binary: &Binary, around: &Around) {
        let either = binary.op == BinaryOp::Or;
        let mut left = around.optional(either);
        let mut right = around.optional(either || binary.op == BinaryOp::Unless);
        if let Some(matching) = &binary.matching {
            left.is_optional |= matching.fill_left.is_some();
            right.is_optional |= matching.fill_right.is_some();
            // The one side gives the labels it is asked for, and is told apart by those it is matched by.
            let (many, one) = match matching.card {
                Cardinality::OneToMany => (&mut right, &mut left),
                _ => (&mut left, &mut right),
            };
            if !either {
                let (by, taken) = (&matching.labels, &matching.include);
                one.carried = match matching.on {
                    true => one.carried.only(by.iter().chain(taken).cloned()),
                    false => one.carried.except(by.iter().cloned()),
                };
                many.carried = many.carried.except(taken.iter().cloned());
            }
        }
        self.walk(&binary.left, &left);
        let before = self.selectors.len();
        self.walk(&binary.right, &right);
        // Something without a selector is there whatever the data.
        self.defines_absence |= either && self.selectors.len() == before;
    }

    fn put(&mut self, selector: &VectorSelector, range_ms: i64, around: &Around) {
        let matchers = selector.all_matchers();
        let text = text(&matchers);
        let offset_ms = selector.offset.ms;
        let (is_needed, carried) = (!around.is_optional, around.carried.clone());
        self.selectors.push(Input { matchers, text, range_ms, offset_ms, is_needed, carried });
    }
}

fn literal(expr: &Expr) -> Option<Arc<str>> {
    match expr {
        Expr::String(text) => Some(Arc::clone(&text.value)),
        Expr::Paren(inner, _) => literal(inner),
        _ => None,
    }
}

fn text(matchers: &[Matcher]) -> String {
    let mut out = String::from("{");
    for (i, matcher) in matchers.iter().enumerate() {
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        let comma = if i > 0 { ", " } else { "" };
        let name = match super::print::is_legacy_name(&matcher.name) {
            true => matcher.name.clone(),
            false => quote(&matcher.name),
        };
        write!(out, "{comma}{name}{op}{}", quote(&matcher.value)).expect("a String takes all text");
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(text: &str) -> Inputs {
        Inputs::of(&crate::promql::parse(text).expect("it parses"))
    }

    #[test]
    fn selectors_are_found_with_what_they_are_for() {
        let found = inputs("sum by (a) (rate(x{b=~\"c.*\"}[5m] offset 1m)) > 2 unless on (a) y");
        assert!(!found.defines_absence);
        let told: Vec<_> = found
            .selectors
            .iter()
            .map(|i| (i.text.as_str(), i.range_ms, i.offset_ms, i.is_needed))
            .collect();
        let wanted = [
            ("{__name__=\"x\", b=~\"c.*\"}", 300_000, 60_000, true),
            ("{__name__=\"y\"}", 0, 0, false),
        ];
        assert_eq!(told, wanted);
        assert!(crate::promql::parse(&found.selectors[0].text).is_ok());
    }

    #[test]
    fn expressions_that_ask_for_absence_are_known() {
        for text in [
            "absent(x)",
            "x or vector(0)",
            "sum(absent_over_time(x[5m]))",
            "x or on() vector(1) > 0",
        ] {
            assert!(inputs(text).defines_absence, "{text}");
        }
        for text in ["x or y", "x and vector(1)", "x > 0"] {
            assert!(!inputs(text).defines_absence, "{text}");
        }
        assert!(!inputs("absent(x)").selectors[0].is_needed);
    }
    #[test]
    fn alternatives_are_not_needed() {
        for text in ["x or y", "(x > 1) or (y > 1)", "z unless x", "x + on (a) fill(0) y"] {
            let needed = inputs(text).selectors.into_iter().filter(|input| input.is_needed);
            let needed: Vec<_> = needed.map(|input| input.text).collect();
            let wanted: &[&str] = if text.starts_with('z') { &["{__name__=\"z\"}"] } else { &[] };
            assert_eq!(needed, wanted, "{text}");
        }
    }

    #[test]
    fn labels_are_carried_unless_somebody_changes_them() {
        for (text, carried) in [
            ("x", ["a b c", ""]),
            ("label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")", ["b c", ""]),
            ("count_values(\"c\", x)", ["a b", ""]),
            ("x and on (a) y", ["a b c", "a"]),
            ("x / ignoring (a) y", ["a b c", "b c"]),
            ("x * on (a) group_left (b) y", ["a c", "a b"]),
            ("x * on (a) group_right (b) y", ["a b", "a c"]),
            ("x and on (a, b) label_join(y, \"b\", \"-\", \"c\")", ["a b c", "a"]),
        ] {
            let found = inputs(text).selectors;
            let told = |n: usize| {
                let labels = ["a", "b", "c"].into_iter();
                let carried =
                    labels.filter(|label| found.get(n).is_some_and(|i| i.carried.has(label)));
                carried.collect::<Vec<_>>().join(" ")
            };
            assert_eq!([told(0), told(1)], carried, "{text}");
        }
    }
}

//! What an expression reads: its selectors, and whether their absence is a part of what it asks.

use std::fmt::Write;

use model::matcher::{MatchOp, Matcher};

use super::ast::{BinaryOp, Expr, VectorSelector};
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
    /// Whether a result needs series of it: false below `absent` and on the right of `unless`.
    pub is_needed: bool,
}

impl Inputs {
    /// Those of an expression.
    #[must_use]
    pub fn of(expr: &Expr) -> Self {
        let mut inputs = Self::default();
        inputs.walk(expr, true);
        inputs
    }

    fn walk(&mut self, expr: &Expr, is_needed: bool) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(selector) => self.put(selector, 0, is_needed),
            Expr::Matrix(matrix) => self.put(&matrix.selector, matrix.range.ms, is_needed),
            Expr::Subquery(subquery) => self.walk(&subquery.expr, is_needed),
            Expr::Call(call) => {
                let absent = matches!(call.function.name, "absent" | "absent_over_time");
                self.defines_absence |= absent;
                call.args.iter().for_each(|arg| self.walk(arg, is_needed && !absent));
            }
            Expr::Aggregate(aggregate) => {
                self.walk(&aggregate.expr, is_needed);
                aggregate.param.iter().for_each(|param| self.walk(param, is_needed));
            }
            Expr::Binary(binary) => {
                self.walk(&binary.left, is_needed);
                let before = self.selectors.len();
                self.walk(&binary.right, is_needed && binary.op != BinaryOp::Unless);
                // Something without a selector is there whatever the data.
                self.defines_absence |= binary.op == BinaryOp::Or && self.selectors.len() == before;
            }
            Expr::Unary(unary) => self.walk(&unary.expr, is_needed),
            Expr::Paren(inner, _) => self.walk(inner, is_needed),
        }
    }

    fn put(&mut self, selector: &VectorSelector, range_ms: i64, is_needed: bool) {
        let matchers = selector.all_matchers();
        let text = text(&matchers);
        let offset_ms = selector.offset.ms;
        self.selectors.push(Input { matchers, text, range_ms, offset_ms, is_needed });
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
}

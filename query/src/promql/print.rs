//! Prints a tree as text, on one line or split; the result parses to an equal tree.

mod json;
mod pretty;

use std::fmt::{self, Display, Formatter, Write as _};

use model::matcher::MatchOp;

use super::ast::{
    Aggregate, At, Binary, Cardinality, Edges, Expr, LabelMatcher, Length, Matching, NumberLiteral,
    Offset, VectorSelector,
};
use super::duration::{DurationExpr, format_ms};
use super::number::{decimal, quote};

pub use json::tree_json;
pub use pretty::pretty;

/// Whether a label name needs no quotes.
#[must_use]
pub fn is_legacy_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A label name, quoted when it must be.
pub(crate) fn label_name(name: &str) -> String {
    if is_legacy_name(name) { name.to_owned() } else { quote(name) }
}

fn signed_duration(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}", format_ms(ms.saturating_abs()))
}

fn join<T: AsRef<str>>(labels: &[T]) -> String {
    labels.iter().map(|label| label_name(label.as_ref())).collect::<Vec<_>>().join(", ")
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.duration {
            let ms = super::number::to_i64((self.value * 1000.0).round());
            return f.write_str(&signed_duration(ms));
        }
        f.write_str(&decimal(self.value))
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => literal.fmt(f),
            Self::Step(_) => f.write_str("step()"),
            Self::Range(_) => f.write_str("range()"),
            Self::Unary { negative: true, operand, .. } => write!(f, "-{operand}"),
            Self::Unary { operand, .. } => operand.fmt(f),
            Self::Binary { op, left, right, .. } => write!(f, "{left} {} {right}", op.word()),
            Self::Choice { least: true, left, right, .. } => write!(f, "min_of({left}, {right})"),
            Self::Choice { left, right, .. } => write!(f, "max_of({left}, {right})"),
            Self::Paren(inner, _) => write!(f, "({inner})"),
        }
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.expr {
            Some(expr) => expr.fmt(f),
            None => f.write_str(&format_ms(self.ms)),
        }
    }
}

impl Display for LabelMatcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{}", label_name(&self.name), quote(&self.value))
    }
}

/// ` @ 1.000`, ` anchored`, ` offset 5m`.
struct Modifiers<'a> {
    at: Option<At>,
    edges: Edges,
    offset: &'a Offset,
}

impl Modifiers<'_> {
    fn at_text(&self) -> String {
        match self.at {
            None => String::new(),
            Some(At::Start) => " @ start()".to_owned(),
            Some(At::End) => " @ end()".to_owned(),
            Some(At::Ms(ms)) => {
                let sign = if ms < 0 { "-" } else { "" };
                let ms = ms.unsigned_abs();
                format!(" @ {sign}{}.{:03}", ms / 1000, ms % 1000)
            }
        }
    }

    const fn edges_text(&self) -> &'static str {
        match self.edges {
            Edges::Plain => "",
            Edges::Anchored => " anchored",
            Edges::Smoothed => " smoothed",
        }
    }

    fn offset_text(&self) -> String {
        match &self.offset.expr {
            Some(expr) => format!(" offset {expr}"),
            None if self.offset.ms == 0 => String::new(),
            None => format!(" offset {}", signed_duration(self.offset.ms)),
        }
    }
}

impl VectorSelector {
    const fn modifiers(&self) -> Modifiers<'_> {
        Modifiers { at: self.at, edges: self.edges, offset: &self.offset }
    }

    /// Name and matchers, without modifiers.
    fn series_text(&self) -> String {
        let mut matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        matchers.sort();
        let name = self.name.as_deref().unwrap_or_default();
        if matchers.is_empty() {
            return if self.name.is_some() { name.to_owned() } else { "{}".to_owned() };
        }
        format!("{name}{{{}}}", matchers.join(","))
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let m = self.modifiers();
        let (at, edges, offset) = (m.at_text(), m.edges_text(), m.offset_text());
        write!(f, "{}{at}{edges}{offset}", self.series_text())
    }
}

/// `op by (a)` with a trailing space where something follows.
fn aggregate_head(node: &Aggregate) -> String {
    let mut head = node.op.word().to_owned();
    if node.without {
        head.push_str(&format!(" without ({}) ", join(&node.grouping)));
    } else if !node.grouping.is_empty() {
        head.push_str(&format!(" by ({}) ", join(&node.grouping)));
    }
    head
}

/// The operator with `bool`, `on`, `group_left`, `fill`.
fn operator(node: &Binary) -> String {
    let mut out = node.op.word().to_owned();
    if node.bool_result {
        out.push_str(" bool");
    }
    if let Some(matching) = &node.matching {
        push_matching(&mut out, matching);
    }
    out
}

fn push_matching(out: &mut String, matching: &Matching) {
    let grouped = matches!(matching.card, Cardinality::ManyToOne | Cardinality::OneToMany);
    if !matching.labels.is_empty() || matching.on || grouped {
        let word = if matching.on { "on" } else { "ignoring" };
        out.push_str(&format!(" {word} ({})", join(&matching.labels)));
    }
    if grouped {
        let side = if matching.card == Cardinality::ManyToOne { "left" } else { "right" };
        out.push_str(&format!(" group_{side} ({})", join(&matching.include)));
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            out.push_str(&format!(" fill ({})", decimal(left)));
        }
        (left, right) => {
            if let Some(value) = left {
                out.push_str(&format!(" fill_left ({})", decimal(value)));
            }
            if let Some(value) = right {
                out.push_str(&format!(" fill_right ({})", decimal(value)));
            }
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(literal) => literal.fmt(f),
            Self::String(literal) => f.write_str(&quote(&literal.value)),
            Self::Vector(selector) => selector.fmt(f),
            Self::Matrix(matrix) => {
                let m = matrix.selector.modifiers();
                let (at, edges, offset) = (m.at_text(), m.edges_text(), m.offset_text());
                let series = matrix.selector.series_text();
                write!(f, "{series}[{}]{edges}{at}{offset}", matrix.range)
            }
            Self::Subquery(node) => {
                let m = Modifiers { at: node.at, edges: Edges::Plain, offset: &node.offset };
                write!(f, "{}[{}:", node.expr, node.range)?;
                if let Some(step) = &node.step {
                    step.fmt(f)?;
                }
                write!(f, "]{}{}", m.at_text(), m.offset_text())
            }
            Self::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (i, arg) in call.args.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    arg.fmt(f)?;
                }
                f.write_char(')')
            }
            Self::Aggregate(node) => {
                write!(f, "{}(", aggregate_head(node))?;
                if let Some(param) = &node.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", node.expr)
            }
            Self::Binary(node) => write!(f, "{} {} {}", node.left, operator(node), node.right),
            Self::Unary(node) => {
                write!(f, "{}{}", if node.negative { '-' } else { '+' }, node.expr)
            }
            Self::Paren(inner, _) => write!(f, "({inner})"),
        }
    }
}

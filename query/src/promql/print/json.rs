//! The tree as JSON text, as `/api/v1/parse_query` returns it. Written by hand: nodes are few and their order is fixed.

use model::matcher::MatchOp;

use crate::promql::ast::{
    Aggregate, At, Binary, Call, Cardinality, Edges, Expr, Length, Matching, NumberLiteral, Offset,
    Subquery, VectorSelector,
};
use crate::promql::duration::DurationExpr;
use crate::promql::number::decimal;

/// `expr` as one JSON object, `type` first.
#[must_use]
pub fn tree_json(expr: &Expr) -> String {
    let mut out = String::new();
    node(&mut out, expr);
    out
}

fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(","))
}

fn node(out: &mut String, expr: &Expr) {
    match expr {
        Expr::Number(literal) => out.push_str(&number(literal, false)),
        Expr::String(literal) => {
            out.push_str(&format!(
                "{{\"type\":\"stringLiteral\",\"val\":{}}}",
                text(&literal.value)
            ));
        }
        Expr::Vector(selector) => {
            out.push_str(&format!("{{\"type\":\"vectorSelector\",{}}}", selector_fields(selector)));
        }
        Expr::Matrix(matrix) => out.push_str(&format!(
            "{{\"type\":\"matrixSelector\",{},{}}}",
            selector_fields(&matrix.selector),
            length_fields("range", Some(&matrix.range))
        )),
        Expr::Subquery(subquery) => subquery_node(out, subquery),
        Expr::Call(call) => call_node(out, call),
        Expr::Aggregate(aggregate) => aggregate_node(out, aggregate),
        Expr::Binary(binary) => binary_node(out, binary),
        Expr::Unary(unary) => {
            let sign = if unary.negative { '-' } else { '+' };
            out.push_str(&format!("{{\"type\":\"unaryExpr\",\"op\":\"{sign}\",\"expr\":"));
            node(out, &unary.expr);
            out.push('}');
        }
        Expr::Paren(inner, _) => {
            out.push_str("{\"type\":\"parenExpr\",\"expr\":");
            node(out, inner);
            out.push('}');
        }
    }
}

fn number(literal: &NumberLiteral, in_duration: bool) -> String {
    let value = decimal(literal.value);
    if in_duration {
        let duration = literal.duration;
        return format!(
            "{{\"type\":\"numberLiteral\",\"val\":\"{value}\",\"duration\":{duration}}}"
        );
    }
    format!("{{\"type\":\"numberLiteral\",\"val\":\"{value}\"}}")
}

fn selector_fields(selector: &VectorSelector) -> String {
    let matchers = list(&selector.all_matchers_name_last(), |(name, op, value)| {
        format!("{{\"name\":{},\"value\":{},\"type\":\"{op}\"}}", text(name), text(value))
    });
    format!(
        "\"name\":{},\"matchers\":{matchers},{},{},\"anchored\":{},\"smoothed\":{}",
        text(selector.name.as_deref().unwrap_or_default()),
        offset_fields(&selector.offset),
        at_fields(selector.at),
        selector.edges == Edges::Anchored,
        selector.edges == Edges::Smoothed,
    )
}

impl VectorSelector {
    /// Name, operator and value of all conditions, that of the name last.
    fn all_matchers_name_last(&self) -> Vec<(&str, &'static str, &str)> {
        let inside = self.matchers.iter().map(|m| {
            let op = match m.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Regex => "=~",
                MatchOp::NotRegex => "!~",
            };
            (m.name.as_ref(), op, m.value.as_ref())
        });
        inside.chain(self.name.iter().map(|name| ("__name__", "=", name.as_ref()))).collect()
    }
}

fn offset_fields(offset: &Offset) -> String {
    let expr = offset.expr.as_ref().map_or_else(|| "null".to_owned(), duration);
    format!("\"offset\":{},\"offsetExpr\":{expr}", offset.ms)
}

fn length_fields(name: &str, length: Option<&Length>) -> String {
    let expr =
        length.and_then(|length| length.expr.as_ref()).map_or_else(|| "null".to_owned(), duration);
    format!("\"{name}\":{},\"{name}Expr\":{expr}", length.map_or(0, |length| length.ms))
}

fn at_fields(at: Option<At>) -> String {
    let (time, word) = match at {
        None => ("null".to_owned(), "null"),
        Some(At::Ms(ms)) => (ms.to_string(), "null"),
        Some(At::Start) => ("null".to_owned(), "\"start\""),
        Some(At::End) => ("null".to_owned(), "\"end\""),
    };
    format!("\"timestamp\":{time},\"startOrEnd\":{word}")
}

fn duration(expr: &DurationExpr) -> String {
    duration_in(expr, false)
}

fn duration_in(expr: &DurationExpr, wrapped: bool) -> String {
    let (op, left, right) = match expr {
        DurationExpr::Literal(literal) => return number(literal, true),
        DurationExpr::Paren(inner, _) => return duration_in(inner, true),
        DurationExpr::Step(_) => ("step", None, None),
        DurationExpr::Range(_) => ("range", None, None),
        DurationExpr::Unary { negative, operand, .. } => {
            (if *negative { "-" } else { "+" }, None, Some(operand))
        }
        DurationExpr::Binary { op, left, right, .. } => (op.word(), Some(left), Some(right)),
        DurationExpr::Choice { least, left, right, .. } => {
            (if *least { "min_of" } else { "max_of" }, Some(left), Some(right))
        }
    };
    let side =
        |side: Option<&Box<DurationExpr>>| side.map_or_else(|| "null".to_owned(), |e| duration(e));
    let (left, right) = (side(left), side(right));
    format!(
        "{{\"type\":\"durationExpr\",\"op\":\"{op}\",\"lhs\":{left},\"rhs\":{right},\"wrapped\":{wrapped}}}"
    )
}

fn subquery_node(out: &mut String, subquery: &Subquery) {
    out.push_str("{\"type\":\"subquery\",\"expr\":");
    node(out, &subquery.expr);
    out.push_str(&format!(
        ",{},{},{},{}}}",
        length_fields("range", Some(&subquery.range)),
        offset_fields(&subquery.offset),
        length_fields("step", subquery.step.as_ref()),
        at_fields(subquery.at)
    ));
}

fn call_node(out: &mut String, call: &Call) {
    let function = call.function;
    out.push_str(&format!(
        "{{\"type\":\"call\",\"func\":{{\"name\":\"{}\",\"argTypes\":{},\"variadic\":{},\"returnType\":\"{}\"}},\"args\":",
        function.name,
        list(function.args, |kind| format!("\"{}\"", kind.word())),
        function.variadic,
        function.returns.word()
    ));
    nodes(out, &call.args);
    out.push('}');
}

fn nodes(out: &mut String, exprs: &[Expr]) {
    out.push('[');
    for (i, expr) in exprs.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        node(out, expr);
    }
    out.push(']');
}

fn aggregate_node(out: &mut String, aggregate: &Aggregate) {
    out.push_str(&format!(
        "{{\"type\":\"aggregation\",\"op\":\"{}\",\"expr\":",
        aggregate.op.word()
    ));
    node(out, &aggregate.expr);
    out.push_str(",\"param\":");
    match &aggregate.param {
        Some(param) => node(out, param),
        None => out.push_str("null"),
    }
    let grouping = list(&aggregate.grouping, |label| text(label));
    out.push_str(&format!(",\"grouping\":{grouping},\"without\":{}}}", aggregate.without));
}

fn binary_node(out: &mut String, binary: &Binary) {
    out.push_str(&format!("{{\"type\":\"binaryExpr\",\"op\":\"{}\",\"lhs\":", binary.op.word()));
    node(out, &binary.left);
    out.push_str(",\"rhs\":");
    node(out, &binary.right);
    let matching = binary.matching.as_ref().map_or_else(|| "null".to_owned(), matching);
    out.push_str(&format!(",\"bool\":{},\"matching\":{matching}}}", binary.bool_result));
}

fn matching(matching: &Matching) -> String {
    let card = match matching.card {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let fill = |value: Option<f64>| match value {
        Some(value) if value.is_finite() => value.to_string(),
        Some(value) => format!("\"{}\"", decimal(value)),
        None => "null".to_owned(),
    };
    format!(
        "{{\"card\":\"{card}\",\"labels\":{},\"on\":{},\"include\":{},\"fillValues\":{{\"lhs\":{},\"rhs\":{}}}}}",
        list(&matching.labels, |label| text(label)),
        matching.on,
        list(&matching.include, |label| text(label)),
        fill(matching.fill_left),
        fill(matching.fill_right)
    )
}

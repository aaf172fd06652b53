//! The split form: nodes longer than a line are broken over several, two spaces a level.

use super::{aggregate_head, operator};
use crate::promql::ast::Expr;

/// Longest node that stays on one line, characters.
const LINE_CHARS_MAX: usize = 100;

/// Prints `expr` over as many lines as it needs.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    at_level(expr, 0)
}

fn at_level(expr: &Expr, level: usize) -> String {
    let indent = "  ".repeat(level);
    let line = expr.to_string();
    if line.chars().count() <= LINE_CHARS_MAX {
        return format!("{indent}{line}");
    }
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => {
            format!("{indent}{line}")
        }
        Expr::Aggregate(node) => {
            let args: Vec<&Expr> = node.param.iter().chain([&node.expr]).collect();
            split(&format!("{indent}{}(", aggregate_head(node)), &args, level)
        }
        Expr::Call(node) => {
            let args: Vec<&Expr> = node.args.iter().collect();
            split(&format!("{indent}{}(", node.function.name), &args, level)
        }
        Expr::Binary(node) => format!(
            "{}\n{indent}{}\n{}",
            at_level(&node.left, level + 1),
            operator(node),
            at_level(&node.right, level + 1)
        ),
        Expr::Paren(inner, _) => format!("{indent}(\n{}\n{indent})", at_level(inner, level + 1)),
        Expr::Unary(node) => {
            let sign = if node.negative { '-' } else { '+' };
            format!("{indent}{sign}{}", at_level(&node.expr, level).trim_start())
        }
        Expr::Subquery(node) => {
            let whole = line;
            // The brackets and modifiers are what the line has behind the inner expression.
            let tail = whole.get(node.expr.to_string().len()..).unwrap_or_default().to_owned();
            format!("{}{tail}", at_level(&node.expr, level))
        }
    }
}

fn split(head: &str, args: &[&Expr], level: usize) -> String {
    let args: Vec<String> = args.iter().map(|arg| at_level(arg, level + 1)).collect();
    format!("{head}\n{}\n{})", args.join(",\n"), "  ".repeat(level))
}

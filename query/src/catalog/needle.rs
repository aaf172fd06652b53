//! What the store's indexes can look for, taken from conditions over stored columns. The conditions themselves stay: what
//! is found here only says which rows need not be read.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use store::Needle;
use store::schema::columns;

/// What every row has for which all `conditions` hold; `None` when nothing an index knows of.
pub(super) fn needle(conditions: &[Expr]) -> Option<Needle> {
    let mut found: Vec<Needle> = conditions.iter().filter_map(of).collect();
    match found.len() {
        0 | 1 => found.pop(),
        _ => Some(Needle::All(found)),
    }
}

fn of(condition: &Expr) -> Option<Needle> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            match (of(left), of(right)) {
                (Some(left), Some(right)) => Some(Needle::All(vec![left, right])),
                (left, right) => left.or(right),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(Needle::Any(vec![of(left)?, of(right)?]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            match (&**left, &**right) {
                (field, Expr::Literal(value, _)) | (Expr::Literal(value, _), field) => {
                    equal(field, value)
                }
                _ => None,
            }
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let each = list.iter().map(|item| match item {
                Expr::Literal(value, _) => equal(expr, value),
                _ => None,
            });
            Some(Needle::Any(each.collect::<Option<_>>()?))
        }
        Expr::Like(like) if !like.negated && is_column(&like.expr, columns::BODY) => {
            let is_plain = like.escape_char.is_none_or(|sign| sign == '\\');
            let parts = like_parts(text(&like.pattern).filter(|_| is_plain)?);
            let mut needles: Vec<Needle> = parts.into_iter().map(Needle::Text).collect();
            if needles.len() > 1 { Some(Needle::All(needles)) } else { needles.pop() }
        }
        Expr::ScalarFunction(call) if is_part_test(call) => {
            let (Some(field), Some(part)) = (call.args.first(), call.args.get(1)) else {
                return None;
            };
            let part = text(part).filter(|_| is_column(field, columns::BODY))?;
            Some(Needle::Text(part.to_owned()))
        }
        _ => None,
    }
}

fn is_part_test(call: &ScalarFunction) -> bool {
    matches!(call.func.name(), "contains" | "starts_with" | "ends_with")
}

fn equal(field: &Expr, value: &ScalarValue) -> Option<Needle> {
    match (field, value) {
        (field, ScalarValue::FixedSizeBinary(16, Some(id)))
            if is_column(field, columns::TRACE_ID) =>
        {
            Some(Needle::Trace(id.as_slice().try_into().ok()?))
        }
        (Expr::ScalarFunction(call), value) if call.func.name() == "attr" => {
            let name = text(call.args.last()?)?.to_owned();
            let value = value.try_as_str().flatten()?.to_owned();
            let are_maps = call.args.iter().rev().skip(1).all(is_attribute_map);
            are_maps.then_some(Needle::Attribute { name, value })
        }
        (field, value) if is_column(field, columns::BODY) => {
            Some(Needle::Text(value.try_as_str().flatten()?.to_owned()))
        }
        _ => None,
    }
}

fn is_attribute_map(expr: &Expr) -> bool {
    columns::ATTRIBUTE_MAPS.iter().any(|name| is_column(expr, name))
}

fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name() == name)
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten(),
        _ => None,
    }
}

/// The texts that whatever is LIKE `pattern` contains.
fn like_parts(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '%' | '_' => parts.push(String::new()),
            // What stands behind the sign counts as it is; at the end the sign itself does.
            '\\' => {
                let part = parts.last_mut();
                part.into_iter().for_each(|part| part.push(signs.clone().next().unwrap_or(sign)));
                signs.next();
            }
            sign => parts.iter_mut().last().into_iter().for_each(|part| part.push(sign)),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{ident, lit};

    use super::*;
    use crate::catalog::column::maps;
    use crate::function;

    #[test]
    fn patterns_fall_into_their_parts() {
        assert_eq!(like_parts("%a%bc_d\\%e%"), ["a", "bc", "d%e"]);
        assert_eq!(like_parts("abc"), ["abc"]);
        assert_eq!(like_parts("%_%"), [""; 0]);
        assert_eq!(like_parts("a\\"), ["a\\"]);
    }

    #[test]
    fn conditions_say_what_to_look_for() {
        let attribute = || function::attr(maps(), lit("k"));
        let text = |text: &str| Needle::Text(text.to_owned());
        let is_v = Needle::Attribute { name: "k".to_owned(), value: "v".to_owned() };
        let body = || ident("body");
        assert_eq!(needle(&[body().ilike(lit("%x%"))]), Some(text("x")));
        assert_eq!(needle(&[body().not_like(lit("%x%"))]), None);
        assert_eq!(needle(&[attribute().eq(lit("v"))]), Some(is_v.clone()));
        assert_eq!(needle(&[attribute().not_eq(lit("v"))]), None);
        let either = attribute().eq(lit("v")).or(body().eq(lit("b")));
        assert_eq!(needle(&[either]), Some(Needle::Any(vec![is_v.clone(), text("b")])));
        assert_eq!(needle(&[attribute().eq(lit("v")).or(ident("name").eq(lit("b")))]), None);
        let both = attribute().eq(lit("v")).and(ident("name").eq(lit("b")));
        assert_eq!(needle(&[both, lit(true)]), Some(is_v));
    }
}

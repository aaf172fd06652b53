//! `eq ne lt le gt ge`. As in Go, an integer and a float do not compare: `gt $value 1.0`, not `gt $value 1`.

use std::cmp::Ordering;

use crate::value::Value;

/// Whether the first argument equals any of the others.
pub(crate) fn equal_any(args: &[Value]) -> Result<bool, String> {
    let [first, others @ ..] = args else {
        return Err("missing argument for comparison".to_owned());
    };
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two basic values of one kind are equal.
pub(crate) fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a) | Value::Html(a), Value::Text(b) | Value::Html(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        _ => return Err(mismatch(a, b)),
    })
}

/// Whether `a` stands before `b`, or with `or_equal` in the same place.
pub(crate) fn ordered(a: &Value, b: &Value, wanted: &[Ordering]) -> Result<bool, String> {
    let ordering = match (a, b) {
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b), // NaN stands nowhere.
        (Value::Text(a) | Value::Html(a), Value::Text(b) | Value::Html(b)) => Some(a.cmp(b)),
        (Value::Bool(_), Value::Bool(_)) => return Err("invalid type for comparison".to_owned()),
        _ => return Err(mismatch(a, b)),
    };
    Ok(ordering.is_some_and(|ordering| wanted.contains(&ordering)))
}

fn mismatch(a: &Value, b: &Value) -> String {
    let comparable = |v: &Value| !matches!(v, Value::List(_) | Value::Map(_));
    if comparable(a) && comparable(b) {
        let (a, b) = (a.type_name(), b.type_name());
        return format!("incompatible types for comparison: {a} and {b}");
    }
    "non-comparable type in comparison".to_owned()
}

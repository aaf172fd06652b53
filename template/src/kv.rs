//! Methods of a notification's data: of its labels, of pairs, and of the list of its alerts.

use crate::value::{Map, Value};

/// A method of `host`; `None` when it has none of this name.
pub(crate) fn member(host: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let value = match (host, name, args) {
        (Value::Map(map), "SortedPairs", []) if map.has_methods() => Value::list(sorted(map)),
        (Value::Map(map), "Names", []) if map.has_methods() => column(&sorted(map), "Name"),
        (Value::Map(map), "Values", []) if map.has_methods() => column(&sorted(map), "Value"),
        (Value::Map(map), "Remove", [Value::List(names)]) if map.has_methods() => {
            let kept = map.entries().iter().filter(|(key, _)| {
                !names.iter().any(|name| matches!(name, Value::Text(text) if **text == ***key))
            });
            let kept = kept.filter_map(|(key, value)| match value {
                Value::Text(text) => Some((key.clone(), text.clone())),
                _ => None,
            });
            Value::pairs(kept)
        }
        (Value::Map(map), "Remove", _) if map.has_methods() => {
            return Some(Err("Remove takes a list of names".to_owned()));
        }
        (Value::List(items), "Names", []) => column(items, "Name"),
        (Value::List(items), "Values", []) => column(items, "Value"),
        (Value::List(items), "Firing", []) => with_status(items, "firing"),
        (Value::List(items), "Resolved", []) => with_status(items, "resolved"),
        _ => return None,
    };
    Some(Ok(value))
}

/// Records of name and value: the name of the alert first, then in name order.
fn sorted(map: &Map) -> Vec<Value> {
    let mut entries: Vec<_> = map.entries().iter().collect();
    entries.sort_by_key(|(name, _)| (*name != "alertname", *name));
    let record = |(name, value): (&String, &Value)| {
        let name = Value::text(name.as_str());
        Value::record("template.Pair", [("Name", name), ("Value", value.clone())])
    };
    entries.into_iter().map(record).collect()
}

fn column(items: &[Value], field: &str) -> Value {
    Value::list(items.iter().filter_map(|item| entry(item, field)).cloned().collect())
}

fn with_status(items: &[Value], status: &str) -> Value {
    let fits = |item: &&Value| matches!(entry(item, "Status"), Some(Value::Text(text)) if **text == *status);
    Value::list(items.iter().filter(fits).cloned().collect())
}

fn entry<'a>(item: &'a Value, field: &str) -> Option<&'a Value> {
    let Value::Map(map) = item else { return None };
    map.entries().get(field)
}

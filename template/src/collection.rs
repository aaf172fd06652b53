//! Functions on lists, maps and times that only notifications have.

use std::fmt::Write;

use crate::calendar;
use crate::function::{Refusal, expected, text};
use crate::sink::Sink;
use crate::value::{NESTING_MAX, Value};

/// One of these functions; their number of arguments was checked.
pub(crate) fn call(name: &str, args: &[Value]) -> Result<Value, Refusal> {
    match name {
        "join" => join(text(&args[0])?, &args[1]),
        "append" => append(args),
        "dict" => dict(args),
        "date" => match &args[1] {
            Value::Time(ns) => Ok(Value::text(calendar::format(*ns, text(&args[0])?))),
            other => Err(expected("time", other).into()),
        },
        "toJson" => {
            let mut out = Sink::default();
            json(&args[0], &mut out)?;
            Ok(Value::text(out.into_text()))
        }
        _ => Err(format!("{name:?} is not a defined function").into()),
    }
}

fn join(separator: &str, list: &Value) -> Result<Value, Refusal> {
    let Value::List(items) = list else { return Err(expected("list", list).into()) };
    let mut out = Sink::default();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.write_str(separator)?;
        }
        item.print(&mut out)?;
    }
    Ok(Value::text(out.into_text()))
}

fn append(args: &[Value]) -> Result<Value, Refusal> {
    let Value::List(items) = &args[0] else { return Err(expected("list", &args[0]).into()) };
    let all: Vec<Value> = items.iter().chain(&args[1..]).cloned().collect();
    shallow(&all)?;
    Ok(Value::list(all))
}

fn dict(args: &[Value]) -> Result<Value, Refusal> {
    if !args.len().is_multiple_of(2) {
        return Err("dict takes pairs of name and value".into());
    }
    shallow(args)?;
    let pairs = args.chunks_exact(2).map(|pair| Ok((text(&pair[0])?.to_owned(), pair[1].clone())));
    Ok(Value::map(pairs.collect::<Result<Vec<_>, String>>()?))
}

/// Each nesting is one level deeper: unbounded, dropping the value would overflow the stack.
fn shallow(values: &[Value]) -> Result<(), Refusal> {
    if values.iter().any(|value| value.nesting() >= NESTING_MAX) {
        return Err(format!("values nest deeper than {NESTING_MAX}").into());
    }
    Ok(())
}

fn json(value: &Value, out: &mut Sink) -> std::fmt::Result {
    match value {
        Value::Nil => out.write_str("null"),
        Value::Bool(_) | Value::Int(_) => value.print(out),
        Value::Float(number) if number.is_finite() => write!(out, "{number}"),
        Value::Float(_) => out.write_str("null"),
        Value::Duration(ns) => write!(out, "{ns}"),
        Value::Time(ns) => {
            quoted(&calendar::format(*ns, "2006-01-02T15:04:05.999999999Z07:00"), out)
        }
        Value::Text(text) | Value::Html(text) => quoted(text, out),
        Value::List(items) => {
            out.write_char('[')?;
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.write_char(',')?;
                }
                json(item, out)?;
            }
            out.write_char(']')
        }
        Value::Map(map) => {
            out.write_char('{')?;
            for (i, (name, value)) in map.entries().iter().enumerate() {
                if i > 0 {
                    out.write_char(',')?;
                }
                quoted(name, out)?;
                out.write_char(':')?;
                json(value, out)?;
            }
            out.write_char('}')
        }
    }
}

fn quoted(text: &str, out: &mut Sink) -> std::fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            // As Go writes them: so that the text may stand in HTML.
            '<' | '>' | '&' => write!(out, "\\u{:04x}", u32::from(c))?,
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

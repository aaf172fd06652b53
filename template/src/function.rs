//! The functions a template may call: their names, how many arguments each takes, and where each one lives.

use std::fmt;

use crate::value::Value;
use crate::{Context, builtin, humanize};

/// Why a function gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its arguments do not fit it.
    Wrong(String),
    /// A text outgrew its bound.
    Full,
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Wrong(text)
    }
}

impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        Self::Wrong(text.to_owned())
    }
}

impl From<fmt::Error> for Refusal {
    fn from(_: fmt::Error) -> Self {
        Self::Full
    }
}

const ANY: usize = usize::MAX;

/// Name, fewest and most arguments; sorted by name in byte order.
const FUNCTIONS: [(&str, usize, usize); 59] = [
    ("and", 1, ANY),
    ("append", 1, ANY),
    ("args", 0, ANY),
    ("call", 1, ANY),
    ("date", 2, 2),
    ("dict", 0, ANY),
    ("eq", 1, ANY),
    ("externalURL", 0, 0),
    ("first", 1, 1),
    ("ge", 2, 2),
    ("graphLink", 1, 1),
    ("gt", 2, 2),
    ("html", 0, ANY),
    ("humanize", 1, 1),
    ("humanize1024", 1, 1),
    ("humanizeDuration", 1, 1),
    ("humanizePercentage", 1, 1),
    ("humanizeTimestamp", 1, 1),
    ("index", 1, ANY),
    ("join", 2, 2),
    ("js", 0, ANY),
    ("label", 2, 2),
    ("le", 2, 2),
    ("len", 1, 1),
    ("list", 0, ANY),
    ("lt", 2, 2),
    ("match", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("now", 0, 0),
    ("or", 1, ANY),
    ("parseDuration", 1, 1),
    ("parseDurationTime", 1, 1),
    ("pathPrefix", 0, 0),
    ("print", 0, ANY),
    ("printf", 1, ANY),
    ("println", 0, ANY),
    ("query", 1, 1),
    ("reReplaceAll", 3, 3),
    ("safeHtml", 1, 1),
    ("since", 1, 1),
    ("slice", 1, 4),
    ("sortByLabel", 2, 2),
    ("stringSlice", 0, ANY),
    ("stripDomain", 1, 1),
    ("stripPort", 1, 1),
    ("strvalue", 1, 1),
    ("tableLink", 1, 1),
    ("title", 1, 1),
    ("toDuration", 1, 1),
    ("toJson", 1, 1),
    ("toLower", 1, 1),
    ("toTime", 1, 1),
    ("toUpper", 1, 1),
    ("trimSpace", 1, 1),
    ("urlQueryEscape", 1, 1),
    ("urlUnescape", 1, 1),
    ("urlquery", 0, ANY),
    ("value", 1, 1),
];

/// Whether there is a function of this name.
pub(crate) fn is_function(name: &str) -> bool {
    FUNCTIONS.binary_search_by(|(known, ..)| (*known).cmp(name)).is_ok()
}

/// Refuses a number of arguments `name` does not take.
pub(crate) fn check_count(name: &str, got: usize) -> Result<(), String> {
    let Ok(i) = FUNCTIONS.binary_search_by(|(known, ..)| (*known).cmp(name)) else {
        return Err(format!("{name:?} is not a defined function"));
    };
    let (_, least, most) = FUNCTIONS[i];
    if (least..=most).contains(&got) {
        return Ok(());
    }
    let least = if most > least { format!("at least {least}") } else { least.to_string() };
    Err(format!("wrong number of args for {name}: want {least} got {got}"))
}

/// What `name` makes of `args`; their number was checked.
pub(crate) fn call(name: &str, args: &[Value], context: &Context<'_>) -> Result<Value, Refusal> {
    if let Some(result) = builtin::call(name, args) {
        return result;
    }
    match name {
        "query" => query(args, context),
        "externalURL" => Ok(Value::text(context.external_url)),
        "pathPrefix" => Ok(Value::text(path_of(context.external_url))),
        "since" => match &args[0] {
            Value::Time(ns) => Ok(Value::Duration(context.now_ns.saturating_sub(*ns))),
            other => Err(expected("time", other).into()),
        },
        "now" => Ok(Value::Float(seconds_of(context.now_ns))),
        "first" | "label" | "value" | "strvalue" | "sortByLabel" => samples(name, args),
        "toTime" => Ok(Value::Time(humanize::nanoseconds(number(&args[0])?)?)),
        "toDuration" => Ok(Value::Duration(humanize::nanoseconds(number(&args[0])?)?)),
        "humanize" => Ok(Value::text(humanize::humanize(number(&args[0])?))),
        "humanize1024" => Ok(Value::text(humanize::humanize_1024(number(&args[0])?))),
        "humanizeDuration" => Ok(Value::text(humanize::humanize_duration(number(&args[0])?))),
        "humanizePercentage" => Ok(Value::text(humanize::humanize_percentage(number(&args[0])?))),
        "humanizeTimestamp" => Ok(Value::text(humanize::humanize_timestamp(number(&args[0])?)?)),
        _ => builtin::text_call(name, args),
    }
}

fn query(args: &[Value], context: &Context<'_>) -> Result<Value, Refusal> {
    let samples = (context.query)(text(&args[0])?)?;
    Ok(Value::list(samples.into_iter().map(Value::sample).collect::<Vec<_>>()))
}

/// Seconds since the epoch, milliseconds kept.
fn seconds_of(ns: i64) -> f64 {
    let ms = (ns / 1_000_000) as f64;
    ms / 1000.0
}

fn path_of(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let path = after.find('/').map_or("", |i| &after[i..]);
    path.trim_end_matches('/')
}

fn samples(name: &str, args: &[Value]) -> Result<Value, Refusal> {
    let last = &args[args.len() - 1];
    if let ("first" | "sortByLabel", Value::List(list)) = (name, last) {
        if name == "first" {
            return list
                .first()
                .cloned()
                .ok_or_else(|| "first() called on vector with no elements".into());
        }
        let label = text(&args[0])?;
        let mut sorted: Vec<(String, Value)> = Vec::with_capacity(list.len());
        for value in list.iter() {
            let (labels, _) = value.as_sample().ok_or_else(|| expected("sample", value))?;
            sorted.push((label_text(labels.field(label)), value.clone()));
        }
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        return Ok(Value::list(sorted.into_iter().map(|(_, value)| value).collect()));
    }
    let wanted =
        if matches!(name, "first" | "sortByLabel") { "samples of a query" } else { "sample" };
    let (labels, value) = last.as_sample().ok_or_else(|| expected(wanted, last))?;
    match name {
        "label" => Ok(Value::text(label_text(labels.field(text(&args[0])?)))),
        "strvalue" => Ok(Value::text(label_text(labels.field("__value__")))),
        "value" => Ok(Value::Float(value)),
        _ => Err(expected(wanted, last).into()),
    }
}

fn label_text(value: Option<Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.to_string(),
        _ => String::new(),
    }
}

/// A text argument.
pub(crate) fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) | Value::Html(text) => Ok(text),
        other => Err(expected("string", other)),
    }
}

/// A number argument: a number, a length of time in seconds, or a text that reads as a number.
pub(crate) fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => {
            parse_float(text).ok_or_else(|| format!("can't convert {text:?} to a number"))
        }
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Numbers as Go's `ParseFloat` reads them, `+Inf` and `NaN` of any case included.
fn parse_float(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// The sentence for an argument of the wrong type.
pub(crate) fn expected(wanted: &str, got: &Value) -> String {
    format!("wrong type for value; expected {wanted}; got {}", got.type_name())
}

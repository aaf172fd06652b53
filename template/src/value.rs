//! Values of a template: what data, variables and results are made of. Cloning one is cheap.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::calendar;
use crate::number::general;

/// Deepest nesting of lists and maps: printing and dropping a value recurse.
pub(crate) const NESTING_MAX: usize = 64;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value; prints as `<no value>`.
    Nil,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// Text that stands for itself in HTML (`safeHtml`).
    Html(Arc<str>),
    /// Values in order.
    List(Arc<Vec<Self>>),
    /// Values by name.
    Map(Arc<Map>),
    /// An instant: nanoseconds since the epoch, UTC.
    Time(i64),
    /// A length of time in nanoseconds.
    Duration(i64),
}

/// What a map answers for a name it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// The empty text, as a map of texts does.
    EmptyText,
    /// Nil, as a map of anything does.
    Nil,
    /// An error, as a record with fixed fields does.
    Refused,
}

/// Values by name: a map of labels, a map of anything, or a record with fixed fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    entries: BTreeMap<String, Value>,
    absent: Absent,
    /// Type name of a record, for messages.
    kind: &'static str,
    /// Levels of lists and maps inside, itself included; kept, because values may share parts many times over.
    nesting: usize,
}

/// One sample of a query's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Labels, `__name__` included when there is one.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A sample with these labels.
    #[must_use]
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: f64) -> Self {
        let labels = labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Self { labels, value }
    }
}

impl Map {
    /// Entries in name order.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<String, Value> {
        &self.entries
    }

    /// Whether it is a notification's labels.
    pub(crate) fn has_methods(&self) -> bool {
        self.kind == PAIRS
    }

    /// The value of `name`; for a name that is absent what this kind of map answers, `None` meaning an error.
    pub(crate) fn field(&self, name: &str) -> Option<Value> {
        match (self.entries.get(name), self.absent) {
            (Some(value), _) => Some(value.clone()),
            (None, Absent::EmptyText) => Some(Value::text("")),
            (None, Absent::Nil) => Some(Value::Nil),
            (None, Absent::Refused) => None,
        }
    }
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list.
    #[must_use]
    pub fn list(values: Vec<Self>) -> Self {
        Self::List(Arc::new(values))
    }

    /// A map of texts, as labels are: an absent name is the empty text.
    #[must_use]
    pub fn labels<K: Into<String>, V: Into<Arc<str>>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let entries = pairs.into_iter().map(|(k, v)| (k.into(), Self::Text(v.into()))).collect();
        Map::value(entries, Absent::EmptyText, "map[string]string")
    }

    /// A map of texts with the methods of a notification's labels: `SortedPairs`, `Names`, `Values`, `Remove`.
    #[must_use]
    pub fn pairs<K: Into<String>, V: Into<Arc<str>>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let entries = pairs.into_iter().map(|(k, v)| (k.into(), Self::Text(v.into()))).collect();
        Map::value(entries, Absent::EmptyText, PAIRS)
    }

    /// A map of anything: an absent name is nil.
    #[must_use]
    pub fn map(pairs: impl IntoIterator<Item = (String, Self)>) -> Self {
        Map::value(pairs.into_iter().collect(), Absent::Nil, "map[string]interface {}")
    }

    /// A record: an absent name is an error that tells `kind`.
    #[must_use]
    pub fn record(
        kind: &'static str,
        pairs: impl IntoIterator<Item = (&'static str, Self)>,
    ) -> Self {
        let entries = pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        Map::value(entries, Absent::Refused, kind)
    }

    /// A sample: a record with the fields `Labels` and `Value`.
    #[must_use]
    pub fn sample(sample: Sample) -> Self {
        let labels = Self::labels(sample.labels);
        Self::record(SAMPLE, [("Labels", labels), ("Value", Self::Float(sample.value))])
    }

    /// Go's name of its type, for messages and `%T`.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Html(_) => "template.HTML",
            Self::List(_) => "[]interface {}",
            Self::Map(map) => map.kind,
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
        }
    }

    /// Whether `if` takes it for true.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Html(text) => !text.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Map(map) => map.absent == Absent::Refused || !map.entries.is_empty(),
            Self::Time(_) => true,
        }
    }

    /// The sample's labels and value, when it is one.
    pub(crate) fn as_sample(&self) -> Option<(&Map, f64)> {
        let Self::Map(record) = self else { return None };
        match (record.entries.get("Labels"), record.entries.get("Value")) {
            (Some(Self::Map(labels)), Some(Self::Float(value))) if record.kind == SAMPLE => {
                Some((labels, *value))
            }
            _ => None,
        }
    }

    /// Levels of lists and maps inside, itself included.
    pub(crate) fn nesting(&self) -> usize {
        match self {
            Self::List(values) => 1 + values.iter().map(Self::nesting).max().unwrap_or(0),
            Self::Map(map) => map.nesting,
            _ => 0,
        }
    }

    /// Bytes a function that reads it whole has to look at.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Text(text) | Self::Html(text) => text.len(),
            Self::List(values) => values.len(),
            Self::Map(map) => map.entries.len(),
            _ => 0,
        }
    }

    /// Writes it as Go's `%v` does; stops with an error when `out` is full.
    pub(crate) fn print(&self, out: &mut impl Write) -> std::fmt::Result {
        match self {
            Self::Nil => out.write_str("<no value>"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Float(value) => out.write_str(&general(*value, None)),
            Self::Text(text) | Self::Html(text) => out.write_str(text),
            Self::List(values) => {
                out.write_char('[')?;
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        out.write_char(' ')?;
                    }
                    value.print(out)?;
                }
                out.write_char(']')
            }
            Self::Map(map) => map.print(out),
            Self::Time(ns) => out.write_str(&calendar::text(*ns)),
            Self::Duration(ns) => out.write_str(&calendar::duration_text(*ns)),
        }
    }
}

/// Type name of labels of a notification.
pub(crate) const PAIRS: &str = "template.KV";
const SAMPLE: &str = "template.sample";

impl Map {
    fn value(entries: BTreeMap<String, Value>, absent: Absent, kind: &'static str) -> Value {
        let nesting = 1 + entries.values().map(Value::nesting).max().unwrap_or(0);
        Value::Map(Arc::new(Self { entries, absent, kind, nesting }))
    }

    fn print(&self, out: &mut impl Write) -> std::fmt::Result {
        let record = self.absent == Absent::Refused;
        out.write_str(if record { "{" } else { "map[" })?;
        for (i, (name, value)) in self.entries.iter().enumerate() {
            if i > 0 {
                out.write_char(' ')?;
            }
            if !record {
                write!(out, "{name}:")?;
            }
            value.print(out)?;
        }
        out.write_char(if record { '}' } else { ']' })
    }
}

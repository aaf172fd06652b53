//! Searches that are not written in a query language of their own: logs, traces, hosts.
//!
//! Logs and traces are put into SQL and run by the same engine, under the same limits; hosts are read from the newest
//! samples. Every answer is complete, or says that and where it was cut.

use arrow::array::{
    Array as _, AsArray as _, Float64Array, Int64Array, MapArray, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, UInt64Type};
use model::time::TimeRange;

use crate::error::Error;
use crate::result::SqlAnswer;
use crate::sql;

mod count;
mod filter;
mod hosts;
mod logs;
mod rank;
mod spans;
mod traces;

pub use count::{CountQuery, Counted, VectorRow, check_search, check_sql};
pub use hosts::{Host, HostState};
pub use logs::{LogBucket, LogCursor, LogHistogram, LogPage, LogQuery, LogRow};
pub use rank::{Order, Ranking, Resemblance, Wish, rank};
pub use spans::{Span, SpanEvent, SpanLink, Trace};
pub use traces::{TracePage, TraceQuery, TraceSummary};

/// Pairs of key and value in text form, sorted by key.
pub type Attributes = Vec<(String, String)>;

/// Runs SQL of our own making, complete whatever its size.
async fn ask(
    session: datafusion::execution::session_state::SessionState,
    text: &str,
) -> Result<SqlAnswer, Error> {
    sql::answer(session, text, None, sql::ROWS_UNLIMITED).await.map_err(|error| match error {
        // Nobody wrote this text but us, so a position in it helps nobody and a fault in it is ours.
        Error::Invalid { message, .. } => Error::Internal(format!("{message} in {text}")),
        other => other,
    })
}

/// `text` as a SQL literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The condition that `time` lies in `range`.
pub(crate) fn within(range: TimeRange) -> String {
    let bound = |op: &str, ns: i64| format!("time {op} to_timestamp_nanos({ns})");
    format!("{} AND {}", bound(">=", range.start.0), bound("<", range.end.0))
}

/// Columns of a batch by name, brought to the type asked for.
pub(crate) struct Rows<'a>(pub(crate) &'a RecordBatch);

impl Rows<'_> {
    fn as_type(&self, name: &str, data_type: &DataType) -> Result<arrow::array::ArrayRef, Error> {
        let missing = || Error::Internal(format!("an answer has no column {name}"));
        let column = self.0.column_by_name(name).ok_or_else(missing)?;
        cast(column, data_type).map_err(|error| Error::Internal(format!("column {name}: {error}")))
    }

    pub(crate) fn texts(&self, name: &str) -> Result<StringArray, Error> {
        Ok(self.as_type(name, &DataType::Utf8)?.as_string::<i32>().clone())
    }

    /// Integers; times as ns since the epoch.
    pub(crate) fn integers(&self, name: &str) -> Result<Int64Array, Error> {
        let is_time = self
            .0
            .column_by_name(name)
            .is_some_and(|column| matches!(column.data_type(), DataType::Timestamp(_, _)));
        let numbers = if is_time {
            let times = self.as_type(name, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
            cast(&times, &DataType::Int64).map_err(|e| Error::Internal(e.to_string()))?
        } else {
            self.as_type(name, &DataType::Int64)?
        };
        Ok(numbers.as_primitive().clone())
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Float64Array, Error> {
        Ok(self.as_type(name, &DataType::Float64)?.as_primitive().clone())
    }

    /// Ids, whose 64 bits do not fit a signed integer.
    pub(crate) fn ids(&self, name: &str) -> Result<Vec<u64>, Error> {
        let ids = self.as_type(name, &DataType::UInt64)?;
        Ok(ids.as_primitive::<UInt64Type>().values().to_vec())
    }

    pub(crate) fn maps(&self, name: &str) -> Result<MapArray, Error> {
        let column = self.0.column_by_name(name).and_then(|column| column.as_map_opt());
        column.cloned().ok_or_else(|| Error::Internal(format!("column {name} is no map")))
    }
}

/// The text of `row`, empty where there is none.
fn text_at(texts: &StringArray, row: usize) -> String {
    if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
}

/// The entries of `row` of a map with text values.
pub(crate) fn entries_at(maps: &MapArray, row: usize) -> Attributes {
    if maps.is_null(row) {
        return Vec::new();
    }
    let entries = maps.value(row);
    let (Some(keys), Some(values)) =
        (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>())
    else {
        return Vec::new();
    };
    (0..keys.len())
        .filter(|entry| values.is_valid(*entry))
        .map(|entry| (keys.value(entry).to_owned(), values.value(entry).to_owned()))
        .collect()
}

/// A count that is never negative.
fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

//! Answers in the form of an instant vector, for rules: rows of SQL, and counts of log records or spans by field.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use futures::future::BoxFuture;
use model::time::{TimeRange, Timestamp};

use super::filter::{condition, log_column, span_column, span_condition};
use super::logs::resources_of;
use super::{Attributes, ask, literal, within};
use crate::engine::{Engine, SqlQuery};
use crate::error::Error;
use crate::sql;

/// Fields one can count by.
const BY_MAX: usize = 20;

/// One row of a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorRow {
    /// Name and text of each label, in the order of the columns; empty ones are left out.
    pub labels: Attributes,
    /// The number.
    pub value: f64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Log records.
    Logs,
    /// Spans of traces.
    Spans,
}

/// How many log records or spans satisfy a search.
#[derive(Clone, Debug)]
pub struct CountQuery {
    /// What is counted.
    pub counted: Counted,
    /// The search, in the language of log searches; for spans words are sought in the name, and `duration:>500ms`,
    /// `error:true`, `service:`, `name:` and attributes are fields.
    pub text: String,
    /// Fields to count by; none for one number, which may be 0.
    pub by: Vec<String>,
    /// Where in time.
    pub range: TimeRange,
    /// Groups at which the answer is refused.
    pub rows_max: usize,
    /// Time it may take.
    pub timeout: std::time::Duration,
}

/// Whether a search can be read, without a store.
///
/// # Errors
/// `Invalid` with a position.
pub fn check_search(counted: Counted, text: &str) -> Result<(), Error> {
    let none = |_: &str, _: &dyn Fn(&str) -> bool| Vec::new();
    match counted {
        Counted::Logs => condition(text, &none).map(drop),
        Counted::Spans => span_condition(text, &none).map(drop),
    }
}

/// Whether SQL can be read as one query that changes nothing, without a store: tables and columns are not looked up.
///
/// # Errors
/// `Invalid`, with a position where known.
pub fn check_sql(text: &str) -> Result<(), Error> {
    sql::prepare(text, Some(TimeRange::new(Timestamp(0), Timestamp(1)))).map(drop)
}

impl Engine {
    /// The rows of a SQL query as a vector: the column `value`, or else the only column of numbers, is the number, the
    /// other columns but `time` are labels. Rows without a number are left out.
    ///
    /// # Errors
    /// As [`Self::sql`]; `Invalid` when no column holds the number, `Exhausted` when the answer was cut.
    pub fn vector(&self, query: SqlQuery) -> BoxFuture<'_, Result<Vec<VectorRow>, Error>> {
        let answer = self.sql(query);
        Box::pin(async move {
            let answer = answer.await?;
            if answer.truncated {
                let rows = answer.stats.rows;
                return Err(Error::Exhausted(format!("the answer has more than {rows} rows")));
            }
            let mut rows = Vec::new();
            answer.batches.iter().try_for_each(|batch| read(batch, &mut rows))?;
            Ok(rows)
        })
    }

    /// How many log records or spans satisfy a search, by field.
    ///
    /// # Errors
    /// `Invalid` with a position for a search that cannot be read, `Exhausted`.
    pub fn counts(&self, query: CountQuery) -> BoxFuture<'_, Result<Vec<VectorRow>, Error>> {
        let time = query.timeout.min(self.config.timeout);
        Box::pin(self.sound(move |view| {
            let (query, session) = (query.clone(), self.session(view.clone()));
            let work = async move {
                let session = session?;
                let text = count_sql(&query, &|key, wanted| resources_of(&view, key, wanted))?;
                let answer = ask(session, &text).await?;
                let mut rows = Vec::new();
                answer.batches.iter().try_for_each(|batch| read(batch, &mut rows))?;
                if rows.len() > query.rows_max {
                    let (rows, limit) = (rows.len(), query.rows_max);
                    let text = format!("the answer has {rows} rows, limit is {limit}");
                    return Err(Error::Exhausted(text));
                }
                Ok(rows)
            };
            self.workers.run(time, work)
        }))
    }
}

fn count_sql(query: &CountQuery, resources: super::filter::Resources<'_>) -> Result<String, Error> {
    if query.by.len() > BY_MAX {
        return Err(Error::invalid(format!("one can count by {BY_MAX} fields, no more")));
    }
    let (table, condition) = match query.counted {
        Counted::Logs => ("logs", condition(&query.text, resources)?),
        Counted::Spans => ("spans", span_condition(&query.text, resources)?),
    };
    let mut columns = String::new();
    for field in &query.by {
        let column = match query.counted {
            Counted::Logs => log_column(field),
            Counted::Spans => span_column(field),
        };
        let expr = match column {
            Some(column) => column.to_owned(),
            None => format!("attr(attributes, {})", literal(field)),
        };
        columns += &format!("{expr} AS \"{}\", ", field.replace('"', "\"\""));
    }
    let places: Vec<String> = (1..=query.by.len()).map(|place| place.to_string()).collect();
    let group = match &places[..] {
        [] => String::new(),
        places => format!(" GROUP BY {}", places.join(", ")),
    };
    Ok(format!(
        "SELECT {columns}count(*) AS value FROM {table} WHERE {} AND {condition}{group} LIMIT {}",
        within(query.range),
        query.rows_max.saturating_add(1)
    ))
}

/// The rows of a batch.
fn read(batch: &RecordBatch, into: &mut Vec<VectorRow>) -> Result<(), Error> {
    let schema = batch.schema();
    let is_number = |data_type: &DataType| {
        data_type.is_numeric()
            || matches!(data_type, DataType::Dictionary(_, of) if of.is_numeric())
    };
    let value = match schema.index_of("value") {
        Ok(named) => named,
        Err(_) => {
            let fields = schema.fields().iter().enumerate();
            let numbers: Vec<usize> =
                fields.filter(|(_, field)| is_number(field.data_type())).map(|(i, _)| i).collect();
            match numbers[..] {
                [only] => only,
                _ => {
                    return Err(Error::invalid(format!(
                        "which of {} columns of numbers is the value? name one AS value",
                        numbers.len()
                    )));
                }
            }
        }
    };
    let wrong = |error: arrow::error::ArrowError| Error::invalid(format!("column value: {error}"));
    let values = cast(batch.column(value), &DataType::Float64).map_err(wrong)?;
    let values = values.as_primitive::<Float64Type>();
    let mut labels = Vec::new();
    for (i, field) in schema.fields().iter().enumerate() {
        if i == value || field.name() == "time" {
            continue;
        }
        let texts = cast(batch.column(i), &DataType::Utf8).map_err(|error| {
            Error::invalid(format!("column {} cannot be a label: {error}", field.name()))
        })?;
        labels.push((field.name().clone(), texts.as_string::<i32>().clone()));
    }
    for row in (0..batch.num_rows()).filter(|row| values.is_valid(*row)) {
        let texts = labels.iter().filter(|(_, texts)| texts.is_valid(row));
        let pairs = texts.map(|(name, texts)| (name.clone(), texts.value(row).to_owned()));
        let labels = pairs.filter(|(_, text)| !text.is_empty()).collect();
        into.push(VectorRow { labels, value: values.value(row) });
    }
    Ok(())
}

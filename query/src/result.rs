//! Answers, and how they leave: JSON cells, CSV, an Arrow stream. Called by `server`.

use std::fmt::Write as _;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, RecordBatch, StructArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, Int64Type, SchemaRef, TimeUnit, TimestampNanosecondType, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::time::Timestamp;

use crate::error::Error;
use crate::function::push_hex;

/// What a SQL query read and took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqlStats {
    /// Time from reading the text to the last row.
    pub elapsed: Duration,
    /// Rows in the answer.
    pub rows: usize,
    /// Rows the scans gave, after the conditions that were pushed into them.
    pub rows_scanned: usize,
    /// Bytes the scans read from segments.
    pub bytes_scanned: usize,
}

/// The answer to a SQL query.
#[derive(Clone, Debug)]
pub struct SqlAnswer {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows, in order.
    pub batches: Vec<RecordBatch>,
    /// What it took.
    pub stats: SqlStats,
    /// Whether rows were cut off at the limit.
    pub truncated: bool,
    /// Which rows the answer lacks because they cannot be read, a sentence each.
    pub warnings: Vec<String>,
}

/// Integers beyond this do not survive JavaScript's numbers and are written as text.
const JSON_INTEGER_MAX: u64 = 1 << 53;

impl SqlAnswer {
    /// Names of the columns with their types as SQL calls them.
    pub fn columns(&self) -> impl Iterator<Item = (&str, String)> {
        self.schema
            .fields()
            .iter()
            .map(|field| (field.name().as_str(), type_name(field.data_type())))
    }

    /// The rows as the text of a JSON array of arrays.
    ///
    /// Times are RFC 3339 text in UTC with nanoseconds; integers beyond 2^53 and decimals are text; NaN and infinities
    /// are the text `NaN`, `+Inf`, `-Inf`; bytes are hexadecimal text; maps are objects; lists are arrays.
    ///
    /// # Errors
    /// `Internal` when a column has a type that cannot be shown.
    pub fn rows_json(&self) -> Result<String, Error> {
        let mut out = String::from("[");
        for batch in &self.batches {
            let columns = prepared(batch)?;
            for row in 0..batch.num_rows() {
                if out.len() > 1 {
                    out.push(',');
                }
                out.push('[');
                for (i, column) in columns.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_cell(&mut out, column, row)?;
                }
                out.push(']');
            }
        }
        out.push(']');
        Ok(out)
    }

    /// The rows as CSV with a header line. Times as in [`Self::rows_json`]; maps and lists are their JSON.
    ///
    /// # Errors
    /// `Internal` when a column has a type that cannot be shown.
    pub fn csv(&self) -> Result<String, Error> {
        let names: Vec<String> = self.schema.fields().iter().map(|f| quoted(f.name())).collect();
        let mut out = names.join(",");
        out.push('\n');
        let mut cell = String::new();
        for batch in &self.batches {
            let columns = prepared(batch)?;
            for row in 0..batch.num_rows() {
                for (i, column) in columns.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    cell.clear();
                    write_plain(&mut cell, column, row)?;
                    out.push_str(&quoted(&cell));
                }
                out.push('\n');
            }
        }
        Ok(out)
    }

    /// The rows as an Arrow IPC stream.
    ///
    /// # Errors
    /// `Internal` when Arrow cannot encode a column.
    pub fn arrow_stream(&self) -> Result<Vec<u8>, Error> {
        let encode = || -> Result<Vec<u8>, ArrowError> {
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &self.schema)?;
            for batch in &self.batches {
                writer.write(batch)?;
            }
            writer.finish()?;
            writer.into_inner()
        };
        encode().map_err(internal)
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("answer cannot be written: {error}"))
}

/// The name of a type in answers.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Timestamp(_, _) => "timestamp".to_owned(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double".to_owned(),
        DataType::Map(_, _) => "map".to_owned(),
        DataType::List(item) | DataType::LargeList(item) => {
            format!("list of {}", type_name(item.data_type()))
        }
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        integer if integer.is_signed_integer() => "bigint".to_owned(),
        integer if integer.is_unsigned_integer() => "unsigned bigint".to_owned(),
        DataType::Binary | DataType::FixedSizeBinary(_) | DataType::LargeBinary => {
            "bytes".to_owned()
        }
        other => other.to_string().to_lowercase(),
    }
}

/// A column brought to one of the few types that [`write_cell`] knows.
enum Cells {
    Text(ArrayRef),
    Int(ArrayRef),
    Unsigned(UInt64Array),
    Float(ArrayRef),
    Truth(BooleanArray),
    Time(ArrayRef),
    Bytes(ArrayRef),
    List(ArrayRef, Box<Self>),
    Map(ArrayRef, Box<Self>, Box<Self>),
    Struct(StructArray, Vec<Self>),
    Shown(Vec<Option<String>>),
}

fn prepared(batch: &RecordBatch) -> Result<Vec<Cells>, Error> {
    batch.columns().iter().map(|column| cells(column).map_err(internal)).collect()
}

fn cells(array: &ArrayRef) -> Result<Cells, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8 => Cells::Text(array.clone()),
        DataType::LargeUtf8 | DataType::Utf8View => Cells::Text(cast(array, &DataType::Utf8)?),
        DataType::Dictionary(_, value) => cells(&cast(array, value)?)?,
        integer if integer.is_signed_integer() => Cells::Int(cast(array, &DataType::Int64)?),
        integer if integer.is_unsigned_integer() => {
            Cells::Unsigned(cast(array, &DataType::UInt64)?.as_primitive::<UInt64Type>().clone())
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            Cells::Float(cast(array, &DataType::Float64)?)
        }
        DataType::Boolean => Cells::Truth(array.as_boolean().clone()),
        DataType::Timestamp(_, zone) => {
            Cells::Time(cast(array, &DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?)
        }
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            Cells::Bytes(cast(array, &DataType::Binary)?)
        }
        DataType::List(_) => {
            let items = Box::new(cells(array.as_list::<i32>().values())?);
            Cells::List(array.clone(), items)
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let keys = cells(map.keys())?;
            Cells::Map(array.clone(), Box::new(keys), Box::new(cells(map.values())?))
        }
        DataType::Struct(_) => {
            let fields = array.as_struct().clone();
            let columns = fields.columns().iter().map(cells).collect::<Result<_, _>>()?;
            Cells::Struct(fields, columns)
        }
        _ => {
            let format = ArrayFormatter::try_new(array, &FormatOptions::default())?;
            let shown = |row| array.is_valid(row).then(|| format.value(row).to_string());
            Cells::Shown((0..array.len()).map(shown).collect())
        }
    })
}

impl Cells {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(array)
            | Self::Int(array)
            | Self::Float(array)
            | Self::Time(array)
            | Self::Bytes(array)
            | Self::List(array, _)
            | Self::Map(array, _, _) => array.is_null(row),
            Self::Unsigned(array) => array.is_null(row),
            Self::Truth(array) => array.is_null(row),
            Self::Struct(array, _) => array.is_null(row),
            Self::Shown(texts) => texts[row].is_none(),
        }
    }
}

/// Appends one cell as JSON.
fn write_cell(out: &mut String, cells: &Cells, row: usize) -> Result<(), Error> {
    if cells.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match cells {
        Cells::Int(array) => {
            let value = array.as_primitive::<Int64Type>().value(row);
            write_integer(out, value, value.unsigned_abs());
        }
        Cells::Unsigned(array) => write_integer(out, array.value(row), array.value(row)),
        Cells::Float(array) => write_float(out, array.as_primitive::<Float64Type>().value(row)),
        Cells::Truth(array) => out.push_str(if array.value(row) { "true" } else { "false" }),
        Cells::List(array, items) => {
            let offsets = array.as_list::<i32>().value_offsets();
            out.push('[');
            for (i, item) in range(offsets, row).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_cell(out, items, item)?;
            }
            out.push(']');
        }
        Cells::Map(array, keys, values) => {
            let offsets = array.as_map().value_offsets();
            out.push('{');
            for (i, entry) in range(offsets, row).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                let mut key = String::new();
                write_plain(&mut key, keys, entry)?;
                out.push_str(&json_text(&key));
                out.push(':');
                write_cell(out, values, entry)?;
            }
            out.push('}');
        }
        Cells::Struct(array, columns) => {
            out.push('{');
            for (i, (name, column)) in array.column_names().iter().zip(columns).enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&json_text(name));
                out.push(':');
                write_cell(out, column, row)?;
            }
            out.push('}');
        }
        Cells::Text(_) | Cells::Time(_) | Cells::Bytes(_) | Cells::Shown(_) => {
            let mut text = String::new();
            write_plain(&mut text, cells, row)?;
            out.push_str(&json_text(&text));
        }
    }
    Ok(())
}

/// Appends one cell without quotes; null is empty.
fn write_plain(out: &mut String, cells: &Cells, row: usize) -> Result<(), Error> {
    if cells.is_null(row) {
        return Ok(());
    }
    match cells {
        Cells::Text(array) => out.push_str(array.as_string::<i32>().value(row)),
        Cells::Time(array) => {
            let ns = array.as_primitive::<TimestampNanosecondType>().value(row);
            write!(out, "{}", Timestamp(ns)).map_err(internal)?;
        }
        Cells::Bytes(array) => push_hex(out, array.as_binary::<i32>().value(row)),
        Cells::Shown(texts) => out.push_str(texts[row].as_deref().unwrap_or_default()),
        Cells::Int(array) => {
            write!(out, "{}", array.as_primitive::<Int64Type>().value(row)).map_err(internal)?;
        }
        Cells::Unsigned(array) => write!(out, "{}", array.value(row)).map_err(internal)?,
        Cells::Float(array) => {
            let mut text = String::new();
            write_float(&mut text, array.as_primitive::<Float64Type>().value(row));
            out.push_str(text.trim_matches('"'));
        }
        Cells::Truth(_) | Cells::List(..) | Cells::Map(..) | Cells::Struct(..) => {
            write_cell(out, cells, row)?;
        }
    }
    Ok(())
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |i: usize| usize::try_from(offsets[i]).unwrap_or(0);
    at(row)..at(row + 1)
}

fn write_integer(out: &mut String, value: impl std::fmt::Display, size: u64) {
    // Writing to a string cannot fail.
    let quote = if size > JSON_INTEGER_MAX { "\"" } else { "" };
    out.push_str(&format!("{quote}{value}{quote}"));
}

fn write_float(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "\"+Inf\"" } else { "\"-Inf\"" });
    } else {
        // The debug form is the shortest that reads back to the same bits, with an exponent where that is shorter.
        out.push_str(&format!("{value:?}"));
    }
}

/// `text` as a JSON string, quotes included.
pub(crate) fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A CSV field, quoted where it must be.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

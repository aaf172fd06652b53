//! Columns by name, put into the order and types the store asks for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, RecordBatch, TimestampMillisecondArray,
    TimestampNanosecondArray, new_null_array,
};
use model::id::{SpanId, TraceId};
use store::schema::{self, Table};

use crate::error::Error;

const UTC: &str = "UTC";

/// A column under its name.
pub(crate) type Column = (&'static str, ArrayRef);

/// The batch of `table`; columns that are not given are null where the schema allows it.
pub(crate) fn batch(table: Table, mut columns: Vec<Column>) -> Result<(Table, RecordBatch), Error> {
    let schema = schema::ingest_schema(table);
    let rows = columns.first().map_or(0, |(_, array)| array.len());
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let given = columns.iter().position(|(name, _)| name == field.name());
        arrays.push(match given {
            Some(at) => columns.swap_remove(at).1,
            None => new_null_array(field.data_type(), rows),
        });
    }
    if let Some((name, _)) = columns.first() {
        return Err(Error::Internal(format!("table {table} has no column {name}")));
    }
    RecordBatch::try_new(schema, arrays)
        .map(|batch| (table, batch))
        .map_err(|cause| Error::Internal(format!("a batch for table {table} is uneven: {cause}")))
}

/// A column of instants in ms.
pub(crate) fn times_ms<T>(times: Vec<T>) -> ArrayRef
where
    TimestampMillisecondArray: From<Vec<T>>,
{
    Arc::new(TimestampMillisecondArray::from(times).with_timezone(UTC))
}

/// A column of instants in ns.
pub(crate) fn times_ns<T>(times: Vec<T>) -> ArrayRef
where
    TimestampNanosecondArray: From<Vec<T>>,
{
    Arc::new(TimestampNanosecondArray::from(times).with_timezone(UTC))
}

/// A column of trace ids.
pub(crate) fn trace_ids(ids: &[Option<TraceId>]) -> Result<ArrayRef, Error> {
    fixed(16, ids.iter().map(|id| id.as_ref().map(|id| &id.0[..])))
}

/// A column of span ids.
pub(crate) fn span_ids(ids: &[Option<SpanId>]) -> Result<ArrayRef, Error> {
    fixed(8, ids.iter().map(|id| id.as_ref().map(|id| &id.0[..])))
}

fn fixed<'a>(
    width: i32,
    values: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
) -> Result<ArrayRef, Error> {
    let mut out = FixedSizeBinaryBuilder::with_capacity(values.len(), width);
    for value in values {
        match value {
            Some(bytes) => out
                .append_value(bytes)
                .map_err(|cause| Error::Internal(format!("an id has a wrong length: {cause}")))?,
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

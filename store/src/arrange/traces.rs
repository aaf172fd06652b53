//! The trace index: one row for each trace and window, from its spans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    Int64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray,
    UInt32Array,
};
use arrow::datatypes::{Int64Type, TimestampNanosecondType, UInt32Type};

use crate::definition::column;
use crate::error::Error;
use crate::schema::{Table, columns, segment_schema};
use crate::segment::write::Window;

/// Service, name and status of a root span.
type Root = (Option<String>, Option<String>, Option<String>);

/// What is known of a trace in one window.
#[derive(Debug)]
struct Summary {
    start: i64,
    end: i64,
    root: Option<Root>,
    span_count: u32,
    error_count: u32,
    services: BTreeSet<String>,
    /// Start and duration of entry spans.
    entries: Vec<(i64, i64)>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            start: i64::MAX,
            end: i64::MIN,
            root: None,
            span_count: 0,
            error_count: 0,
            services: BTreeSet::new(),
            entries: Vec::new(),
        }
    }
}

/// Index rows of those spans in `batches` that began in `window`, sorted by trace id.
pub(crate) fn index<'a>(
    window: Window,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
) -> Result<RecordBatch, Error> {
    let mut traces: BTreeMap<[u8; 16], Summary> = BTreeMap::new();
    for batch in batches {
        let spans = Spans::new(batch);
        for row in 0..batch.num_rows() {
            let is_within = (window.start..window.end()).contains(&spans.time[row]);
            if is_within && let Ok(id) = <[u8; 16]>::try_from(spans.trace_id.value(row)) {
                spans.add_to(traces.entry(id).or_default(), row);
            }
        }
    }
    build(window, &traces)
}

/// Index rows folded from rows of the same `window`: one for each trace.
pub(crate) fn fold<'a>(
    window: Window,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
) -> Result<RecordBatch, Error> {
    let mut traces: BTreeMap<[u8; 16], Summary> = BTreeMap::new();
    for batch in batches {
        let ids = column(batch, columns::TRACE_ID).as_fixed_size_binary();
        for row in 0..batch.num_rows() {
            if let Ok(id) = <[u8; 16]>::try_from(ids.value(row)) {
                add_row(traces.entry(id).or_default(), batch, row);
            }
        }
    }
    build(window, &traces)
}

struct Spans<'a> {
    trace_id: &'a FixedSizeBinaryArray,
    time: &'a [i64],
    duration: &'a [i64],
    service: &'a StringArray,
    name: &'a StringArray,
    status: &'a StringArray,
    is_root: &'a BooleanArray,
    is_entry: &'a BooleanArray,
    is_error: &'a BooleanArray,
}

impl<'a> Spans<'a> {
    fn new(batch: &'a RecordBatch) -> Self {
        Self {
            trace_id: column(batch, columns::TRACE_ID).as_fixed_size_binary(),
            time: column(batch, columns::TIME).as_primitive::<TimestampNanosecondType>().values(),
            duration: column(batch, columns::DURATION).as_primitive::<Int64Type>().values(),
            service: column(batch, columns::SERVICE_NAME).as_string(),
            name: column(batch, columns::NAME).as_string(),
            status: column(batch, columns::STATUS).as_string(),
            is_root: column(batch, columns::IS_ROOT).as_boolean(),
            is_entry: column(batch, columns::IS_ENTRY).as_boolean(),
            is_error: column(batch, columns::IS_ERROR).as_boolean(),
        }
    }

    fn add_to(&self, trace: &mut Summary, row: usize) {
        let (start, duration) = (self.time[row], self.duration[row]);
        trace.start = trace.start.min(start);
        trace.end = trace.end.max(start.saturating_add(duration));
        trace.span_count += 1;
        trace.error_count += u32::from(self.is_error.value(row));
        trace.services.extend(text(self.service, row));
        if self.is_root.value(row) {
            trace.root =
                Some((text(self.service, row), text(self.name, row), text(self.status, row)));
        }
        if self.is_entry.value(row) {
            trace.entries.push((start, duration));
        }
    }
}

fn text(array: &StringArray, row: usize) -> Option<String> {
    array.is_valid(row).then(|| array.value(row).to_owned())
}

fn add_row(trace: &mut Summary, batch: &RecordBatch, row: usize) {
    let time =
        |name: &str| column(batch, name).as_primitive::<TimestampNanosecondType>().value(row);
    let count = |name: &str| column(batch, name).as_primitive::<UInt32Type>().value(row);
    let word = |name: &str| text(column(batch, name).as_string(), row);
    let start = time(columns::START);
    trace.start = trace.start.min(start);
    trace.end = trace.end.max(time(columns::END));
    trace.span_count = trace.span_count.saturating_add(count(columns::SPAN_COUNT));
    trace.error_count = trace.error_count.saturating_add(count(columns::ERROR_COUNT));
    let root = (word(columns::ROOT_SERVICE), word(columns::ROOT_NAME), word(columns::ROOT_STATUS));
    if root.1.is_some() {
        trace.root = Some(root);
    }
    let services = column(batch, columns::SERVICES).as_list::<i32>().value(row);
    trace.services.extend(services.as_string::<i32>().iter().flatten().map(str::to_owned));
    let durations = column(batch, columns::ENTRY_DURATIONS).as_list::<i32>().value(row);
    trace.entries.extend(
        durations.as_primitive::<Int64Type>().iter().flatten().map(|duration| (start, duration)),
    );
}

fn build(window: Window, traces: &BTreeMap<[u8; 16], Summary>) -> Result<RecordBatch, Error> {
    let mut ids = FixedSizeBinaryBuilder::new(16);
    let mut services = ListBuilder::new(StringBuilder::new());
    let mut entries = ListBuilder::new(Int64Builder::new());
    for (id, trace) in traces {
        ids.append_value(id).map_err(Error::arrow("building the trace index"))?;
        trace.services.iter().for_each(|service| services.values().append_value(service));
        services.append(true);
        let mut sorted = trace.entries.clone();
        sorted.sort_by_key(|entry| entry.0);
        sorted.iter().for_each(|entry| entries.values().append_value(entry.1));
        entries.append(true);
    }
    let each = || traces.values();
    let time = |pick: fn(&Summary) -> i64| -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from_iter_values(each().map(pick)).with_timezone("UTC"))
    };
    let windows =
        TimestampNanosecondArray::from(vec![window.start; traces.len()]).with_timezone("UTC");
    let root = |pick: fn(&Root) -> Option<&str>| -> ArrayRef {
        Arc::new(each().map(|trace| trace.root.as_ref().and_then(pick)).collect::<StringArray>())
    };
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(windows),
        time(|trace| trace.start),
        time(|trace| trace.end),
        root(|root| root.0.as_deref()),
        root(|root| root.1.as_deref()),
        root(|root| root.2.as_deref()),
        Arc::new(UInt32Array::from_iter_values(each().map(|trace| trace.span_count))),
        Arc::new(UInt32Array::from_iter_values(each().map(|trace| trace.error_count))),
        Arc::new(services.finish()),
        Arc::new(entries.finish()),
    ];
    RecordBatch::try_new(segment_schema(Table::TraceIndex), arrays)
        .map_err(Error::arrow("building the trace index"))
}

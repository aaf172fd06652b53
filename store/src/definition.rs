//! Definitions of series, resources and bounds as rows, and back: in log records, segments and the head.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Builder, ListBuilder, MapArray, RecordBatch, StringArray,
    StringBuilder, TimestampMillisecondArray, UInt8Array, UInt64Array,
};
use arrow::datatypes::{Float64Type, TimestampMillisecondType, UInt8Type, UInt64Type};
use model::id::{ResourceId, SeriesId};
use model::metric::{Labels, MetricKind, SeriesDef, Temporality};

use crate::error::Error;
use crate::registry::{Bounds, Series};
use crate::schema::{Table, columns, map_builder, segment_schema};

pub(crate) mod resource;

/// A definition with the times it was seen between, in ms.
pub(crate) struct Sighting<T> {
    pub(crate) of: T,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

/// Rows of table `series`, in the order given.
pub(crate) fn series_rows(sightings: &[Sighting<Arc<Series>>]) -> Result<RecordBatch, Error> {
    let each = || sightings.iter().map(|sighting| &sighting.of.def);
    let mut labels = map_builder(StringBuilder::new());
    let mut prom_labels = map_builder(StringBuilder::new());
    let wrap = || Error::arrow("building series rows");
    for def in each() {
        put_labels(&mut labels, &def.labels);
        labels.append(true).map_err(wrap())?;
        let differs = def.prom_labels != def.labels;
        if differs {
            put_labels(&mut prom_labels, &def.prom_labels);
        }
        prom_labels.append(differs).map_err(wrap())?;
    }
    let text = |pick: fn(&SeriesDef) -> Option<&str>| -> ArrayRef {
        Arc::new(each().map(pick).collect::<StringArray>())
    };
    let time = |pick: fn(&Sighting<Arc<Series>>) -> i64| -> ArrayRef {
        Arc::new(
            TimestampMillisecondArray::from_iter_values(sightings.iter().map(pick))
                .with_timezone("UTC"),
        )
    };
    let columns: Vec<ArrayRef> = vec![
        text(|def| Some(&def.metric)),
        Arc::new(UInt64Array::from_iter_values(sightings.iter().map(|sighting| sighting.of.id.0))),
        Arc::new(labels.finish()),
        text(|def| (def.prom_name != def.metric).then_some(&def.prom_name)),
        Arc::new(prom_labels.finish()),
        Arc::new(UInt8Array::from_iter_values(each().map(|def| def.kind as u8))),
        Arc::new(UInt8Array::from_iter_values(each().map(|def| def.temporality as u8))),
        text(|def| (!def.unit.is_empty()).then_some(&def.unit)),
        text(|def| (!def.help.is_empty()).then_some(&def.help)),
        Arc::new(UInt64Array::from_iter_values(each().map(|def| def.resource_id.0))),
        time(|sighting| sighting.first_ms),
        time(|sighting| sighting.last_ms),
    ];
    RecordBatch::try_new(segment_schema(Table::Series), columns).map_err(wrap())
}

fn put_labels(map: &mut arrow::array::MapBuilder<StringBuilder, StringBuilder>, labels: &Labels) {
    for (name, value) in labels.iter() {
        map.keys().append_value(name);
        map.values().append_value(value);
    }
}

/// The series in a batch with the schema of table `series`.
pub(crate) fn read_series(batch: &RecordBatch) -> Vec<(SeriesId, Sighting<SeriesDef>)> {
    let text = |column: usize| batch.column(column).as_string::<i32>();
    let byte = |column: usize| batch.column(column).as_primitive::<UInt8Type>();
    let id = |column: usize| batch.column(column).as_primitive::<UInt64Type>();
    let time = |column: usize| batch.column(column).as_primitive::<TimestampMillisecondType>();
    let optional = |column: usize, row: usize| {
        text(column).is_valid(row).then(|| text(column).value(row).to_owned())
    };
    let read = |row: usize| {
        let metric = text(0).value(row).to_owned();
        let labels = read_labels(batch.column(2).as_map(), row).unwrap_or_default();
        let def = SeriesDef {
            prom_name: optional(3, row).unwrap_or_else(|| metric.clone()),
            prom_labels: read_labels(batch.column(4).as_map(), row)
                .unwrap_or_else(|| labels.clone()),
            metric,
            labels,
            kind: MetricKind::from_u8(byte(5).value(row)),
            temporality: Temporality::from_u8(byte(6).value(row)),
            unit: optional(7, row).unwrap_or_default(),
            help: optional(8, row).unwrap_or_default(),
            resource_id: ResourceId(id(9).value(row)),
        };
        let sighting =
            Sighting { of: def, first_ms: time(10).value(row), last_ms: time(11).value(row) };
        (SeriesId(id(1).value(row)), sighting)
    };
    (0..batch.num_rows()).map(read).collect()
}

fn read_labels(map: &MapArray, row: usize) -> Option<Labels> {
    if map.is_null(row) {
        return None;
    }
    let entries = map.value(row);
    let keys = entries.column(0).as_string::<i32>();
    let values = entries.column(1).as_string::<i32>();
    let pair = |i: usize| {
        (keys.value(i).to_owned(), if values.is_null(i) { "" } else { values.value(i) }.to_owned())
    };
    Some((0..entries.len()).map(pair).collect())
}

/// Rows of table `hist_bounds`.
pub(crate) fn bounds_rows(bounds: &[Arc<Bounds>]) -> Result<RecordBatch, Error> {
    let mut lists = ListBuilder::new(Float64Builder::new());
    for each in bounds {
        lists.values().append_slice(&each.values);
        lists.append(true);
    }
    let ids = UInt64Array::from_iter_values(bounds.iter().map(|each| each.id));
    RecordBatch::try_new(
        segment_schema(Table::HistBounds),
        vec![Arc::new(ids), Arc::new(lists.finish())],
    )
    .map_err(Error::arrow("building bounds rows"))
}

/// The bounds in a batch with the schema of table `hist_bounds`.
pub(crate) fn read_bounds(batch: &RecordBatch) -> Vec<(u64, Vec<f64>)> {
    let ids = batch.column(0).as_primitive::<UInt64Type>();
    let lists = batch.column(1).as_list::<i32>();
    let read = |row: usize| {
        let list = lists.value(row);
        let values = list.as_primitive::<Float64Type>();
        (ids.value(row), values.iter().map(|bound| bound.unwrap_or(f64::NAN)).collect())
    };
    (0..batch.num_rows()).map(read).collect()
}

/// The column named `name`, which the schema of `batch` has.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).expect("the batch was checked against its schema")
}

/// Series ids of a batch, as its `series_id` column.
pub(crate) fn series_ids(batch: &RecordBatch) -> &[u64] {
    column(batch, columns::SERIES_ID).as_primitive::<UInt64Type>().values()
}

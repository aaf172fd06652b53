//! The tables by name: which columns each shows and what they are made of.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ident, lit, when};
use model::metric::MetricKind;
use store::schema::{Table, columns, map_of, segment_schema, time_ms, time_ns};
use store::{Resource, Series};

use super::View;
use super::column::{ATTRIBUTE_MAPS, Column, Source};
use super::dimension::{self, Dimension};
use super::table::StoreTable;
use crate::function;

/// Names of the tables that are always there.
pub(super) const FIXED: [&str; 14] = [
    "metrics",
    "histograms",
    "logs",
    "spans",
    "samples",
    "series",
    "resources",
    "exemplars",
    "hist_points",
    "hist_buckets",
    "hist_bounds",
    "trace_index",
    "samples_5m",
    "samples_1h",
];

/// Flags of rows that say "nothing here": stale markers and points without a recorded value.
const NO_VALUE_FLAGS: u8 = 0b11;

/// The table of that fixed name; `None` for any other.
pub(super) fn fixed(name: &str, view: &Arc<View>) -> Option<Result<Arc<dyn TableProvider>>> {
    let table = match name {
        "metrics" => samples(view, None),
        "histograms" => histograms(view, None),
        "samples_5m" => rollup(view, Table::Samples5m),
        "samples_1h" => rollup(view, Table::Samples1h),
        "series" => return Some(series(view)),
        "resources" => return Some(resources(view)),
        _ => StoreTable::new(view.clone(), Table::parse(name)?, stored(Table::parse(name)?)),
    };
    Some(Ok(Arc::new(table)))
}

/// The table of one metric: its attributes are columns.
pub(super) fn metric(view: &Arc<View>, series: Vec<Arc<Series>>) -> Arc<dyn TableProvider> {
    let is_histogram = series.iter().all(|series| {
        matches!(series.def.kind, MetricKind::Histogram | MetricKind::ExponentialHistogram)
    });
    let table =
        if is_histogram { histograms(view, Some(series)) } else { samples(view, Some(series)) };
    Arc::new(table)
}

/// `metrics`, or the table of the metric that has `series`.
fn samples(view: &Arc<View>, series: Option<Vec<Arc<Series>>>) -> StoreTable {
    let mut shown = vec![column(Table::Samples, columns::TIME)];
    let metric = column(Table::Samples, columns::METRIC);
    let value = Column::new(columns::VALUE, DataType::Float64, value_source(""));
    match &series {
        None => shown.extend([metric, value]),
        Some(series) => {
            shown.push(value);
            let rest = [columns::METRIC, columns::START_TIME, columns::SERIES_ID];
            shown.extend(label_columns(series, &rest));
            shown.push(metric);
        }
    }
    shown.extend(series_columns());
    shown.push(column(Table::Samples, columns::START_TIME));
    shown.push(column(Table::Samples, columns::SERIES_ID));
    point_table(view, Table::Samples, shown, series)
}

/// `histograms`, or the table of the histogram that has `series`.
fn histograms(view: &Arc<View>, series: Option<Vec<Arc<Series>>>) -> StoreTable {
    let mut shown = vec![column(Table::HistPoints, columns::TIME)];
    let metric = column(Table::HistPoints, columns::METRIC);
    let values = [
        Column::new(columns::COUNT, DataType::Float64, value_source("count_")),
        Column::new(columns::SUM, DataType::Float64, value_source("sum_")),
        column(Table::HistPoints, columns::MIN),
        column(Table::HistPoints, columns::MAX),
    ];
    let rest = [
        columns::START_TIME,
        columns::SERIES_ID,
        columns::EXP_SCALE,
        columns::ZERO_COUNT,
        columns::ZERO_THRESHOLD,
        columns::BOUNDS_ID,
    ];
    match &series {
        None => {
            shown.push(metric);
            shown.extend(values);
        }
        Some(series) => {
            let mut taken = vec![columns::METRIC];
            taken.extend(rest);
            shown.extend(values);
            shown.extend(label_columns(series, &taken));
            shown.push(metric);
        }
    }
    shown.extend(series_columns());
    shown.extend(rest.map(|name| column(Table::HistPoints, name)));
    point_table(view, Table::HistPoints, shown, series)
}

/// Buckets of samples: `time` is where a bucket starts, its samples are later than that.
fn rollup(view: &Arc<View>, table: Table) -> StoreTable {
    let value = |prefix: &str| match value_source(prefix) {
        Source::Computed(value) => value,
        _ => lit(datafusion::scalar::ScalarValue::Float64(None)),
    };
    let or = |first: Expr, second: Expr| {
        let either = when(first.clone().is_not_null(), first).otherwise(second);
        either.expect("one condition and one alternative make a case")
    };
    let increase = value("last_") - value("first_") + or(ident(columns::RESETS), lit(0.0));
    let floats = [
        ("first", value("first_")),
        ("last", value("last_")),
        (columns::MIN, or(value("min_"), value("first_"))),
        (columns::MAX, or(value("max_"), value("last_"))),
        (columns::SUM, value("sum_")),
        ("increase", increase),
    ];
    let mut shown =
        [columns::TIME, columns::METRIC, columns::COUNT].map(|name| column(table, name)).to_vec();
    shown.extend(
        floats.map(|(name, value)| Column::new(name, DataType::Float64, Source::Computed(value))),
    );
    shown.extend(series_columns());
    let rest = [columns::FIRST_TIME, columns::LAST_TIME, columns::SERIES_ID];
    shown.extend(rest.map(|name| column(table, name)));
    StoreTable::new(view.clone(), table, shown)
}

/// Rows without a value are left out: an average over a stale marker would be NaN.
fn point_table(
    view: &Arc<View>,
    table: Table,
    shown: Vec<Column>,
    series: Option<Vec<Arc<Series>>>,
) -> StoreTable {
    let has_value = (ident(columns::FLAGS) & lit(NO_VALUE_FLAGS)).eq(lit(0_u8));
    let mut table = StoreTable::new(view.clone(), table, shown).keeping(has_value);
    if let Some(series) = series {
        table = table.of_series(series);
    }
    table
}

/// A column for each attribute of `series`, but for names that are taken.
fn label_columns(series: &[Arc<Series>], taken: &[&str]) -> Vec<Column> {
    let values = [columns::TIME, columns::VALUE, columns::COUNT, columns::SUM, columns::MIN];
    let others = series_columns();
    let is_taken = |name: &str| {
        taken.contains(&name)
            || values.contains(&name)
            || name == columns::MAX
            || others.iter().any(|column| column.field.name() == name)
    };
    let names: BTreeSet<&str> = series
        .iter()
        .flat_map(|series| series.def.labels.iter().map(|(name, _)| name))
        .filter(|name| !is_taken(name))
        .collect();
    names
        .into_iter()
        .map(|name| {
            Column::new(name, DataType::Utf8, Source::Series(Dimension::Label(name.to_owned())))
        })
        .collect()
}

/// The columns joined from the series and its resource.
fn series_columns() -> Vec<Column> {
    let of = |name: &str, dimension: Dimension| {
        Column::new(name, dimension.data_type(), Source::Series(dimension))
    };
    let mut shown = vec![
        of(columns::LABELS, Dimension::Labels),
        of(columns::KIND, Dimension::Kind),
        of(columns::UNIT, Dimension::Unit),
    ];
    shown.extend(
        dimension::resource_column_keys().map(|(name, keys)| of(name, Dimension::Resource(keys))),
    );
    shown.push(of("resource", Dimension::ResourceAttributes));
    shown
}

/// The value of the four columns with this prefix.
fn value_source(prefix: &str) -> Source {
    let names = [columns::SCALE, columns::V_CTR, columns::V_INT, columns::V_F64];
    let parts = names.map(|name| ident(format!("{prefix}{name}")));
    Source::Computed(function::sample_value(parts.to_vec()))
}

/// Every column of `table`, shown as SQL shows it.
fn stored(table: Table) -> Vec<Column> {
    let schema = segment_schema(table);
    let mut shown = Vec::with_capacity(schema.fields().len() + 1);
    for field in schema.fields() {
        if field.name() == ATTRIBUTE_MAPS[0] {
            shown.push(Column::new(
                columns::ATTRIBUTES,
                map_of(DataType::Utf8),
                Source::Attributes,
            ));
        }
        shown.extend(shown_as(table, field));
    }
    if table == Table::HistBuckets {
        shown.push(Column::new(
            columns::COUNT,
            DataType::Float64,
            Source::Computed(bucket_count()),
        ));
    }
    shown
}

/// Counts of buckets are stored unscaled.
fn bucket_count() -> Expr {
    let stored = [columns::V_CTR, columns::V_INT, columns::V_F64].map(ident);
    function::sample_value([lit(0_i8)].into_iter().chain(stored).collect())
}

fn column(table: Table, name: &'static str) -> Column {
    let schema = segment_schema(table);
    let field = schema.field_with_name(name).expect("the schema has the columns its module names");
    shown_as(table, field).expect("the column is one of the table's")
}

/// Times in ns, ids in hexadecimal, all else as it is.
fn shown_as(table: Table, field: &Field) -> Option<Column> {
    let name = static_name(table, field.name())?;
    let (data_type, source) = match field.data_type() {
        time if *time == time_ms() => (time_ns(), Source::Millis(name)),
        DataType::FixedSizeBinary(width) => {
            (DataType::Utf8, Source::Id(name, usize::try_from(*width).ok()?))
        }
        other => (other.clone(), Source::Stored(name)),
    };
    let is_nullable = field.is_nullable() || matches!(source, Source::Id(..));
    Some(Column { field: Field::new(name, data_type, is_nullable), source })
}

/// The schemas live as long as the process, so a name in them can be had without copying it.
fn static_name(table: Table, name: &str) -> Option<&'static str> {
    use std::collections::HashMap;
    use std::sync::LazyLock;
    static NAMES: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
        let all = Table::ALL.into_iter().flat_map(|table| {
            segment_schema(table).fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>()
        });
        let unique: BTreeSet<String> = all.collect();
        // Leaked once, about two hundred short names.
        unique.into_iter().map(|name| (name.clone(), &*name.leak())).collect()
    });
    debug_assert!(segment_schema(table).field_with_name(name).is_ok());
    NAMES.get(name).copied()
}

/// One row a series, as known now.
fn series(view: &Arc<View>) -> Result<Arc<dyn TableProvider>> {
    let all = view.select(&[])?;
    let shown = [
        (columns::SERIES_ID, Dimension::SeriesId),
        (columns::METRIC, Dimension::Metric),
        (columns::LABELS, Dimension::Labels),
        (columns::PROM_NAME, Dimension::PromName),
        (columns::PROM_LABELS, Dimension::PromLabels),
        (columns::KIND, Dimension::Kind),
        (columns::TEMPORALITY, Dimension::Temporality),
        (columns::UNIT, Dimension::Unit),
        (columns::HELP, Dimension::Help),
        (columns::RESOURCE_ID, Dimension::ResourceId),
        (columns::LAST_TIME, Dimension::LastTime),
    ];
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (name, dimension) in shown {
        fields.push(Field::new(name, dimension.data_type(), true));
        arrays.push(dimension.array(&all, view)?);
    }
    memory(fields, arrays)
}

/// One row a resource, as known now.
fn resources(view: &Arc<View>) -> Result<Arc<dyn TableProvider>> {
    let all: Vec<Arc<Resource>> = view.snapshot.resources(view.tenant);
    let mut fields = vec![Field::new(columns::RESOURCE_ID, DataType::UInt64, true)];
    let ids = UInt64Array::from_iter_values(all.iter().map(|resource| resource.id.0));
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(ids)];
    for (name, keys) in dimension::resource_column_keys() {
        fields.push(Field::new(name, DataType::Utf8, true));
        let texts = all.iter().map(|resource| dimension::first(resource, keys));
        arrays.push(Arc::new(texts.collect::<arrow::array::StringArray>()));
    }
    fields.push(Field::new(columns::ATTRIBUTES, map_of(DataType::Utf8), true));
    arrays.push(dimension::resource_maps(all.iter().cloned().map(Some))?);
    fields.push(Field::new(columns::LAST_TIME, time_ns(), true));
    let times: TimestampNanosecondArray =
        all.iter().map(|resource| resource.last_time().map(|time| time.0)).collect();
    arrays.push(Arc::new(times.with_timezone("UTC")));
    memory(fields, arrays)
}

fn memory(fields: Vec<Field>, arrays: Vec<ArrayRef>) -> Result<Arc<dyn TableProvider>> {
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

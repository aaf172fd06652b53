//! How each column of a segment is encoded: the writer recipe. Every column is named, nothing is left to defaults.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, Type as PhysicalType, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use crate::error::Error;
use crate::schema::{Table, columns};

/// Rows of a time column looked at to choose its encoding.
pub(crate) const PROBE_ROWS: usize = 262_144;

/// What the recipe must know of the rows.
pub(crate) struct Hints {
    pub(crate) table: Table,
    pub(crate) level: u8,
    /// Rows at most.
    pub(crate) rows: u64,
    /// Encoding of the time column of metric tables.
    pub(crate) time: Encoding,
    /// Whether start times repeat, so that a dictionary pays.
    pub(crate) starts_repeat: bool,
}

/// Rows a page of `table` at `level`: few where point reads are common, many where zstd should see neighbours.
pub(crate) fn page_rows(table: Table, level: u8) -> usize {
    match (table, level) {
        (Table::Logs | Table::Spans | Table::TraceIndex, _) => 8_192,
        (_, 0) => 20_480,
        (_, 1) => 65_536,
        (_, _) => 131_072,
    }
}

/// Whether rows of `table` are mostly text.
fn is_wide(table: Table) -> bool {
    matches!(table, Table::Logs | Table::Spans | Table::TraceIndex | Table::Resources)
}

/// Rows a row group: it is held whole by the writer.
pub(crate) fn group_rows(table: Table) -> usize {
    if is_wide(table) { 131_072 } else { 1_048_576 }
}

/// Columns rows are sorted by, as far as columns go.
pub(crate) fn sort_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Series => &[columns::METRIC, columns::SERIES_ID],
        Table::Resources => &[columns::SERVICE_NAME, columns::RESOURCE_ID],
        Table::Samples
        | Table::HistPoints
        | Table::Exemplars
        | Table::Samples5m
        | Table::Samples1h => &[columns::METRIC, columns::SERIES_ID, columns::TIME],
        Table::HistBuckets => &[
            columns::METRIC,
            columns::SERIES_ID,
            columns::EXP_SCALE,
            columns::SIDE,
            columns::BUCKET,
            columns::TIME,
        ],
        Table::HistBounds => &[columns::BOUNDS_ID],
        Table::Logs => &[columns::SERVICE_NAME, columns::TIME],
        // Spans are sorted by a time bucket first, which is no column.
        Table::Spans => &[],
        Table::TraceIndex => &[columns::TRACE_ID],
    }
}

/// The writer's settings for one segment.
pub(crate) fn properties(
    hints: &Hints,
    schema: &SchemaDescriptor,
    metadata: Vec<KeyValue>,
) -> Result<WriterProperties, Error> {
    let is_wide = is_wide(hints.table);
    let level = ZstdLevel::try_new(if hints.level == 0 { 1 } else { 3 })
        .map_err(Error::parquet("choosing zstd"))?;
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_data_page_row_count_limit(page_rows(hints.table, hints.level))
        .set_data_page_size_limit(if is_wide { 4 << 20 } else { 32 << 20 })
        .set_write_batch_size(1_024)
        .set_dictionary_page_size_limit(4 << 20)
        .set_max_row_group_row_count(Some(group_rows(hints.table)))
        .set_column_index_truncate_length(Some(64))
        .set_statistics_truncate_length(Some(64))
        .set_created_by(concat!("headrope ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(metadata));
    let mut sorting = Vec::new();
    for (i, leaf) in schema.columns().iter().enumerate() {
        builder = set_leaf(builder, hints, leaf.path(), leaf.physical_type());
        let name = leaf.path().string();
        if sort_columns(hints.table).contains(&name.as_str()) {
            sorting.push((name, i));
        }
    }
    sorting.sort_by_key(|(name, _)| {
        sort_columns(hints.table).iter().position(|column| column == name)
    });
    let sorting: Vec<_> = sorting
        .into_iter()
        .map(|(_, i)| SortingColumn {
            column_idx: i32::try_from(i).expect("a schema has few columns"),
            descending: false,
            nulls_first: true,
        })
        .collect();
    Ok(builder.set_sorting_columns((!sorting.is_empty()).then_some(sorting)).build())
}

fn set_leaf(
    builder: WriterPropertiesBuilder,
    hints: &Hints,
    path: &ColumnPath,
    physical: PhysicalType,
) -> WriterPropertiesBuilder {
    let (is_dictionary, encoding) = leaf(hints, path.parts(), physical);
    let path = path.clone();
    let mut builder = builder
        .set_column_encoding(path.clone(), encoding)
        .set_column_dictionary_enabled(path.clone(), is_dictionary);
    if path.parts() == [columns::SERIES_ID] {
        builder = builder.set_column_dictionary_page_size_limit(path.clone(), 16 << 20);
    }
    if path.parts() == [columns::TRACE_ID] && hints.table != Table::Exemplars {
        builder = builder
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_fpp(path.clone(), 0.01)
            // There is one a row group.
            .set_column_bloom_filter_max_ndv(path, hints.rows.min(group_rows(hints.table) as u64));
    }
    builder
}

/// Whether a leaf column has a dictionary, and its encoding without one (or once that overflows).
fn leaf(hints: &Hints, parts: &[String], physical: PhysicalType) -> (bool, Encoding) {
    let is_metric = !matches!(hints.table, Table::Logs | Table::Spans | Table::TraceIndex);
    let name = parts[0].as_str();
    // The last part of a struct's field tells more than the column it is nested in.
    let inner = parts.last().map_or(name, String::as_str);
    match (name, inner) {
        _ if name.starts_with(columns::PROMOTED) => dictionary(physical),
        (columns::TIME, _) if is_metric => (false, hints.time),
        (columns::START_TIME, _) => (hints.starts_repeat, Encoding::DELTA_BINARY_PACKED),
        (columns::SERIES_ID, _) if hints.table == Table::Series => (false, Encoding::PLAIN),
        (columns::BOUNDS, _) => (false, Encoding::BYTE_STREAM_SPLIT),
        (columns::BODY, _) => (false, Encoding::PLAIN),
        (_, columns::TRACE_ID | columns::SPAN_ID | columns::PARENT_SPAN_ID) => {
            (false, Encoding::PLAIN)
        }
        (
            columns::ZERO_COUNT
            | columns::DURATION
            | columns::INGEST_SEQ
            | columns::FIRST_TIME
            | columns::LAST_TIME
            | columns::OBSERVED_TIME
            | columns::WINDOW
            | columns::START
            | columns::END
            | columns::ENTRY_DURATIONS,
            _,
        )
        | (_, columns::TIME) => (false, Encoding::DELTA_BINARY_PACKED),
        (columns::MIN | columns::MAX | columns::VALUE, _) => (false, Encoding::BYTE_STREAM_SPLIT),
        (_, _) if name.ends_with(columns::V_CTR) => (false, Encoding::DELTA_BINARY_PACKED),
        (_, _) if name.ends_with(columns::V_INT) || name.ends_with(columns::V_F64) => {
            (false, Encoding::BYTE_STREAM_SPLIT)
        }
        (_, _) => dictionary(physical),
    }
}

/// A dictionary where the type has one, with the encoding it overflows to.
fn dictionary(physical: PhysicalType) -> (bool, Encoding) {
    match physical {
        PhysicalType::BOOLEAN => (false, Encoding::RLE),
        PhysicalType::INT32 | PhysicalType::INT64 => (true, Encoding::DELTA_BINARY_PACKED),
        PhysicalType::FLOAT | PhysicalType::DOUBLE => (true, Encoding::BYTE_STREAM_SPLIT),
        PhysicalType::INT96 | PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            (true, Encoding::PLAIN)
        }
    }
}

/// Whether the encodings of `table` are chosen by a look at its first rows.
pub(crate) fn is_probed(table: Table) -> bool {
    matches!(
        table,
        Table::Samples
            | Table::HistPoints
            | Table::HistBuckets
            | Table::Samples5m
            | Table::Samples1h
    )
}

/// The smaller of BYTE_STREAM_SPLIT and DELTA for these times; the former when in doubt, its worst case is small.
pub(crate) fn time_encoding(batches: &[RecordBatch], level: u8) -> Result<Encoding, Error> {
    let mut left = PROBE_ROWS;
    let mut probe = Vec::new();
    for batch in batches {
        let Ok(column) = batch.schema_ref().index_of(columns::TIME) else {
            return Ok(Encoding::DELTA_BINARY_PACKED);
        };
        let rows = left.min(batch.num_rows());
        let times = batch.slice(0, rows).project(&[column]);
        probe.push(times.map_err(Error::arrow("probing times"))?);
        left -= rows;
    }
    let zstd = ZstdLevel::try_new(if level == 0 { 1 } else { 3 })
        .map_err(Error::parquet("choosing zstd"))?;
    let size = |encoding| -> Result<usize, Error> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(zstd))
            .set_dictionary_enabled(false)
            .set_encoding(encoding)
            .set_data_page_row_count_limit(page_rows(Table::Samples, level))
            .set_data_page_size_limit(32 << 20)
            .build();
        encoded_len(&probe, properties)
    };
    let (split, delta) = (size(Encoding::BYTE_STREAM_SPLIT)?, size(Encoding::DELTA_BINARY_PACKED)?);
    Ok(if delta < split { Encoding::DELTA_BINARY_PACKED } else { Encoding::BYTE_STREAM_SPLIT })
}

fn encoded_len(batches: &[RecordBatch], properties: WriterProperties) -> Result<usize, Error> {
    let Some(first) = batches.first() else { return Ok(0) };
    let mut bytes = Vec::new();
    let wrap = || Error::parquet("probing times");
    let mut writer =
        ArrowWriter::try_new(&mut bytes, first.schema(), Some(properties)).map_err(wrap())?;
    for batch in batches {
        writer.write(batch).map_err(wrap())?;
    }
    writer.close().map_err(wrap())?;
    Ok(bytes.len())
}

/// Whether at most half of these rows have another start time than the row before.
pub(crate) fn starts_repeat(batches: &[RecordBatch]) -> bool {
    let (mut rows, mut changes) = (0, 0);
    for batch in batches {
        let Some(column) = batch.column_by_name(columns::START_TIME) else { return true };
        let Some(starts) = column.as_primitive_opt::<TimestampMillisecondType>() else {
            return true;
        };
        changes += starts.values().windows(2).filter(|pair| pair[0] != pair[1]).count();
        rows += starts.len();
    }
    2 * changes <= rows
}

//! Every table: the rows that went in come out of head and segments, before and after compaction.

use super::*;

/// A batch of `table` in its ingest schema: `n` rows whose columns hold something, every other optional one null.
pub(super) fn generic(table: Table, n: usize, series: SeriesId) -> RecordBatch {
    let schema = ingest_schema(table);
    let columns = schema.fields().iter().map(|field| column(field, n, series)).collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
}

fn column(field: &Field, n: usize, series: SeriesId) -> ArrayRef {
    let rows = 0..n as i64;
    let nullable = field.is_nullable();
    let keep = |i: &i64| !nullable || i % 2 == 0;
    match (field.name().as_str(), field.data_type()) {
        (columns::SERIES_ID, _) => Arc::new(UInt64Array::from(vec![series.0; n])),
        (columns::BOUNDS_ID, _) => {
            Arc::new(rows.map(|i| keep(&i).then_some(77)).collect::<UInt64Array>())
        }
        (columns::EXP_SCALE, _) => Arc::new(arrow::array::Int8Array::from(vec![-53; n])),
        (_, DataType::UInt8) => Arc::new(UInt8Array::from_iter_values(rows.map(|i| i as u8))),
        (_, DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, _)) => {
            let times = rows.map(|i| keep(&i).then_some(START_MS + i));
            Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
        }
        (_, DataType::Timestamp(..)) => {
            let times = rows.map(|i| keep(&i).then_some((START_MS + i) * 1_000_000));
            Arc::new(times.collect::<arrow::array::TimestampNanosecondArray>().with_timezone("UTC"))
        }
        (name, DataType::Utf8) => Arc::new(
            rows.map(|i| keep(&i).then(|| format!("{name}-{i}")))
                .collect::<arrow::array::StringArray>(),
        ),
        (_, DataType::FixedSizeBinary(width)) => {
            let mut builder = arrow::array::FixedSizeBinaryBuilder::new(*width);
            for i in rows {
                match keep(&i) {
                    true => builder.append_value(vec![i as u8; *width as usize]).unwrap(),
                    false => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        (_, DataType::Map(..)) => map(field.data_type(), n),
        (_, DataType::List(_) | DataType::Boolean) => {
            arrow::array::new_empty_array(field.data_type()).pad(n, field)
        }
        (_, data_type) => {
            let numbers: ArrayRef =
                Arc::new(rows.map(|i| keep(&i).then_some(i)).collect::<arrow::array::Int64Array>());
            arrow::compute::cast(&numbers, data_type).unwrap()
        }
    }
}

trait Pad {
    fn pad(&self, n: usize, field: &Field) -> ArrayRef;
}

impl Pad for ArrayRef {
    /// `n` rows: empty lists, or true and false in turn.
    fn pad(&self, n: usize, field: &Field) -> ArrayRef {
        match field.data_type() {
            DataType::List(item) => {
                let values = arrow::array::new_empty_array(item.data_type());
                let offsets = arrow::buffer::OffsetBuffer::from_lengths(std::iter::repeat_n(0, n));
                Arc::new(arrow::array::ListArray::new(Arc::clone(item), offsets, values, None))
            }
            _ => Arc::new(arrow::array::BooleanArray::from_iter((0..n).map(|i| Some(i % 2 == 0)))),
        }
    }
}

fn map(data_type: &DataType, n: usize) -> ArrayRef {
    let DataType::Map(entries, _) = data_type else { unreachable!() };
    let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
    let keys: ArrayRef =
        Arc::new(arrow::array::StringArray::from_iter_values((0..n).map(|i| format!("key{i}"))));
    let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..n as i64));
    let values = arrow::compute::cast(&numbers, fields[1].data_type()).unwrap();
    let entries_array = arrow::array::StructArray::new(fields.clone(), vec![keys, values], None);
    let offsets = arrow::buffer::OffsetBuffer::from_lengths(std::iter::repeat_n(1, n));
    Arc::new(arrow::array::MapArray::new(Arc::clone(entries), offsets, entries_array, None, false))
}

/// Rows of `table` as text, sorted, without the columns that depend on where they are stored.
fn shown(store: &Store, table: Table) -> Vec<String> {
    let volatile =
        [columns::SCALE, columns::V_CTR, columns::V_INT, columns::V_F64, columns::INGEST_SEQ];
    let mut rows = Vec::new();
    for batch in batches(store, table) {
        assert_eq!(batch.schema().fields(), segment_schema(table).fields(), "{table}");
        let fields = batch.schema();
        let stable: Vec<usize> = (0..batch.num_columns())
            .filter(|i| !volatile.iter().any(|name| fields.field(*i).name().ends_with(name)))
            .collect();
        let batch = batch.project(&stable).unwrap();
        for row in 0..batch.num_rows() {
            rows.push(
                arrow::util::pretty::pretty_format_batches(&[batch.slice(row, 1)])
                    .unwrap()
                    .to_string(),
            );
        }
    }
    rows.sort();
    rows
}

/// A batch for each table that is ingested.
pub(super) fn of_all_tables(
    series: SeriesId,
    resource_id: ResourceId,
) -> Vec<(Table, RecordBatch)> {
    let ingested =
        Table::ALL.into_iter().filter(|table| table.is_ingested() && *table != Table::Samples);
    let mut tables: Vec<_> = ingested.map(|table| (table, generic(table, 20, series))).collect();
    for (table, batch) in &mut tables {
        if matches!(table, Table::Logs | Table::Spans) {
            let mut columns = batch.columns().to_vec();
            let place = batch.schema().index_of(columns::RESOURCE_ID).unwrap();
            columns[place] = Arc::new(UInt64Array::from(vec![resource_id.0; 20]));
            *batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
        }
        if *table == Table::HistBounds {
            let values: Vec<f64> = vec![0.5, 1.0];
            let mut list = arrow::array::ListBuilder::new(arrow::array::Float64Builder::new());
            list.append_value(values.iter().map(|v| Some(*v)));
            let columns: Vec<ArrayRef> =
                vec![Arc::new(UInt64Array::from(vec![77])), Arc::new(list.finish())];
            *batch = RecordBatch::try_new(ingest_schema(*table), columns).unwrap();
        }
    }
    tables
}

#[tokio::test]
async fn every_table_gives_the_same_rows_from_head_log_and_segments() {
    let bench = Bench::new();
    let store = bench.open().await;
    let series = store.resolve(TENANT, &def("latency", "a")).unwrap();
    let resource = ResourceDef {
        attributes: vec![
            Attribute {
                key: "service.name".to_owned(),
                value: AttributeValue::Str("shop".to_owned()),
            },
            Attribute { key: "raw".to_owned(), value: AttributeValue::Bytes(vec![0, 255]) },
            Attribute { key: "process.pid".to_owned(), value: AttributeValue::Int(7) },
            Attribute {
                key: "list".to_owned(),
                value: AttributeValue::Array(vec![AttributeValue::Bool(true)]),
            },
        ],
    };
    let resource_id = store.put_resource(TENANT, &resource);
    let tables = of_all_tables(series.id, resource_id);
    let mut rows = samples(&[(series, START_MS, 1.0)].repeat(20));
    rows.times.iter_mut().zip(0..).for_each(|(time, i)| *time += i);
    rows.starts.iter_mut().step_by(2).for_each(|start| *start = START_MS);
    rows.flags.iter_mut().zip(0..).for_each(|(flag, i)| *flag = i);
    let whole = |samples: &Samples| Ingest {
        tenant: TENANT,
        samples: samples.clone(),
        tables: tables.clone(),
        delivery: None,
    };
    store.ingest(whole(&rows)).await.unwrap();
    let all = |store: &Store| Table::ALL.map(|table| shown(store, table));
    let expected = all(&store);
    for (table, rows) in Table::ALL.iter().zip(&expected) {
        let is_rollup = matches!(table, Table::Samples5m | Table::Samples1h);
        assert_eq!(rows.is_empty(), is_rollup, "{table}");
    }
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(all(&store), expected, "replayed");
    store.flush().await.unwrap();
    assert_eq!(all(&store), expected, "flushed");
    crash(store).await;
    let store = bench.open().await;
    assert_eq!(all(&store), expected, "reopened");
    let known = store.snapshot().resource(TENANT, resource_id).unwrap();
    let mut attributes = resource.attributes.clone();
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(known.def.attributes, attributes);
    assert!(known.last_time().is_some());
    rows.series = vec![store.resolve(TENANT, &def("latency", "a")).unwrap().at; 20];
    // The same rows again: metrics fold, the trace index counts its spans once more.
    for _ in 0..4 {
        store.ingest(whole(&rows)).await.unwrap();
        store.flush().await.unwrap();
    }
    store.compact().await.unwrap();
    let compacted = all(&store);
    for table in [
        Table::Series,
        Table::Resources,
        Table::Samples,
        Table::HistPoints,
        Table::HistBuckets,
        Table::HistBounds,
    ] {
        assert_eq!(compacted[table as usize], expected[table as usize], "{table}");
    }
    assert_eq!(compacted[Table::Logs as usize].len(), 5 * 20);
    assert_eq!(compacted[Table::TraceIndex as usize].len(), 20);
}

#[tokio::test]
async fn histograms_come_back_with_buckets_and_bounds() {
    let bench = Bench::new();
    let store = bench.open().await;
    let series = store.resolve(TENANT, &def("latency", "a")).unwrap();
    let points = generic(Table::HistPoints, 4, series.id);
    let mut buckets = generic(Table::HistBuckets, 4, series.id).columns().to_vec();
    buckets[3] = Arc::new(arrow::array::Int8Array::from(vec![1; 4]));
    buckets[4] = Arc::new(arrow::array::PrimitiveArray::<Int32Type>::from(vec![0, 1, 2, 0]));
    buckets[5] =
        Arc::new(arrow::array::PrimitiveArray::<Float64Type>::from(vec![1.0, 2.5, 0.0, 4.0]));
    let buckets = RecordBatch::try_new(ingest_schema(Table::HistBuckets), buckets).unwrap();
    let mut list = arrow::array::ListBuilder::new(arrow::array::Float64Builder::new());
    list.append_value([Some(0.5), Some(1.0)]);
    let bounds: Vec<ArrayRef> =
        vec![Arc::new(UInt64Array::from(vec![77])), Arc::new(list.finish())];
    let bounds = RecordBatch::try_new(ingest_schema(Table::HistBounds), bounds).unwrap();
    let tables = vec![
        (Table::HistPoints, points),
        (Table::HistBuckets, buckets),
        (Table::HistBounds, bounds),
    ];
    put_tables(&store, tables).await.unwrap();
    let read = |store: &Store| {
        let snapshot = store.snapshot();
        let series = snapshot.select(TENANT, &[]).unwrap();
        let range = (START_MS, START_MS + 2);
        let scan = snapshot.histograms(&series, range, &ScanLimit::default()).unwrap();
        scan.map(Result::unwrap).flat_map(|slice| slice.points).collect::<Vec<_>>()
    };
    let hot = read(&store);
    assert_eq!(hot.len(), 3);
    assert_eq!(hot[0].bounds.as_deref(), Some(&[0.5, 1.0][..]));
    assert_eq!((hot[1].buckets.len(), hot[1].buckets[0].count, hot[1].sum), (1, 2.5, None));
    assert_eq!(hot[2].sum, Some(2.0));
    store.flush().await.unwrap();
    assert_eq!(read(&store), hot);
    crash(store).await;
    assert_eq!(read(&*bench.open().await), hot);
}

#[tokio::test]
async fn logs_carry_the_sequence_they_came_with() {
    let bench = Bench::new();
    let store = bench.open().await;
    let batch = generic(Table::Logs, 3, SeriesId(0));
    let ack = put_tables(&store, vec![(Table::Logs, batch)]).await.unwrap();
    crash(store).await;
    let store = bench.open().await;
    let head = store.snapshot().head(Table::Logs).unwrap();
    let seq = head[0].column_by_name(columns::INGEST_SEQ).unwrap().as_primitive::<Int64Type>();
    assert_eq!(seq.values().to_vec(), vec![ack.seq as i64; 3]);
    assert_eq!(seq.null_count(), 0);
}

/// Log records whose bodies do not compress.
pub(super) fn noise(n: usize, bytes: usize) -> RecordBatch {
    let mut bits = 1_u64;
    let mut next = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (bits >> 57) as u8 % 95)
    };
    let bodies: Vec<String> = (0..n).map(|_| (0..bytes).map(|_| next()).collect()).collect();
    let batch = generic(Table::Logs, n, SeriesId(0));
    let mut columns = batch.columns().to_vec();
    let place = batch.schema().index_of(columns::BODY).unwrap();
    columns[place] = Arc::new(arrow::array::StringArray::from(bodies));
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[tokio::test]
async fn batches_above_the_record_limit_are_split_and_come_back_whole() {
    let bench = Bench::new();
    let store = bench.open().await;
    let batch = noise(20, 1 << 20);
    put_tables(&store, vec![(Table::Logs, batch.clone())]).await.unwrap();
    assert!(store.stats().wal_records_total > 1);
    crash(store).await;
    let store = bench.open().await;
    let body = |batch: &RecordBatch| {
        let bodies = batch.column_by_name(columns::BODY).unwrap().as_string::<i32>().clone();
        bodies.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    let found: Vec<String> =
        store.snapshot().head(Table::Logs).unwrap().iter().flat_map(body).collect();
    let sent = body(&batch);
    assert_eq!(found.len(), sent.len());
    assert!(found == sent);
    let huge = noise(1, 17 << 20);
    let error = put_tables(&store, vec![(Table::Logs, huge)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

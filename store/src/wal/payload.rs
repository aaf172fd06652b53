//! The payload of a data record: samples as columns of our own, one Arrow batch for each other table, as IPC messages
//! without their schemas.
//!
//! Entry: table u8 | schema version u8 | pad u16 | metadata length u32 | body length u32 | rows u32 | metadata | body,
//! metadata and body padded to 8 bytes. The schema follows from table and version.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Float64Type, SchemaRef, TimestampMillisecondType, UInt8Type, UInt64Type};
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::ipc::{CompressionType, root_as_message};

use crate::codec::Malformed;
use crate::error::Error;
use crate::sample::SampleRows;
use crate::schema::{SCHEMA_VERSION, Table, ingest_schema};
use crate::wal::record::Codec;
use crate::wal::samples::{self, Logged};

const ENTRY_HEADER: usize = 16;
/// Most bytes one decompressed buffer may claim: hostile lengths must not exhaust memory.
const BUFFER_MAX: i64 = 256 << 20;

/// What a payload holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundle {
    pub(crate) samples: Logged,
    /// Batches of the other tables, in `ingest_schema`.
    pub(crate) tables: Vec<(Table, RecordBatch)>,
}

/// Appends an entry with `samples`, whose series `id_of` names.
pub(crate) fn put_samples(
    out: &mut Vec<u8>,
    rows: &SampleRows,
    id_of: impl Fn(u32) -> u64,
) -> Result<(), Error> {
    let too_many = |_| Error::Batch {
        table: Table::Samples.name(),
        reason: "it has more than 2^32 rows".to_owned(),
    };
    let n_rows = u32::try_from(rows.len()).map_err(too_many)?;
    out.extend_from_slice(&[Table::Samples as u8, samples::VERSION, 0, 0]);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&n_rows.to_le_bytes());
    let body_at = out.len();
    samples::put(out, rows, id_of);
    let body_len = u32::try_from(out.len() - body_at).map_err(too_many)?;
    out[body_at - 8..body_at - 4].copy_from_slice(&body_len.to_le_bytes());
    out.resize(out.len().next_multiple_of(8), 0);
    Ok(())
}

/// The payload holding `tables`, whose batches have `ingest_schema`.
pub(crate) fn encode(tables: &[(Table, RecordBatch)], codec: Codec) -> Result<Vec<u8>, Error> {
    let compression = match codec {
        Codec::None => None,
        Codec::Lz4 => Some(CompressionType::LZ4_FRAME),
    };
    let wrap = Error::arrow("encoding a log record");
    let options = IpcWriteOptions::default().try_with_compression(compression).map_err(wrap)?;
    let mut ctx = IpcWriteContext::default();
    let mut out = Vec::new();
    for (table, batch) in tables {
        let mut tracker = DictionaryTracker::new(false);
        let (_, message) = IpcDataGenerator::default()
            .encode(batch, &mut tracker, &options, &mut ctx)
            .map_err(Error::arrow("encoding a log record"))?;
        let too_long =
            |_| Error::Batch { table: table.name(), reason: "it is larger than 4 GiB".to_owned() };
        let metadata_len = u32::try_from(message.ipc_message.len()).map_err(too_long)?;
        let body_len = u32::try_from(message.arrow_data.len()).map_err(too_long)?;
        let version = u8::try_from(SCHEMA_VERSION).expect("schema versions are small");
        out.extend_from_slice(&[*table as u8, version, 0, 0]);
        out.extend_from_slice(&metadata_len.to_le_bytes());
        out.extend_from_slice(&body_len.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&message.ipc_message);
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend_from_slice(&message.arrow_data);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    Ok(out)
}

/// The tables of a payload.
///
/// # Errors
///
/// Says what is wrong: bytes of any kind are refused without a panic.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<Bundle, String> {
    let mut bundle = Bundle::default();
    while !bytes.is_empty() {
        let head = bytes.first_chunk::<ENTRY_HEADER>().ok_or("entry is cut short")?;
        let length = |at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
        };
        let table =
            Table::from_u8(head[0]).ok_or_else(|| format!("table {} is unknown", head[0]))?;
        let is_columns = table == Table::Samples && head[1] == samples::VERSION;
        if !is_columns && u32::from(head[1]) != SCHEMA_VERSION {
            return Err(format!("schema version {} of table {table} is unknown", head[1]));
        }
        let body_start = ENTRY_HEADER + length(4).next_multiple_of(8);
        let end = body_start + length(8).next_multiple_of(8);
        let metadata =
            bytes.get(ENTRY_HEADER..ENTRY_HEADER + length(4)).ok_or("metadata is cut short")?;
        let body = bytes.get(body_start..body_start + length(8)).ok_or("body is cut short")?;
        if table == Table::Samples && !(bundle.samples.times.is_empty()) {
            return Err("it has samples twice".to_owned());
        }
        if is_columns {
            bundle.samples = samples::take(body, length(12))
                .map_err(|Malformed| "samples are not what the log writes".to_owned())?;
        } else if table == Table::Samples {
            bundle.samples = from_batch(&batch(metadata, body, ingest_schema(table))?);
        } else {
            bundle.tables.push((table, batch(metadata, body, ingest_schema(table))?));
        }
        bytes = bytes.get(end..).ok_or("padding is cut short")?;
    }
    Ok(bundle)
}

/// Samples as the releases before wrote them, in an Arrow batch.
fn from_batch(batch: &RecordBatch) -> Logged {
    let time = |i: usize| batch.column(i).as_primitive::<TimestampMillisecondType>();
    let ids = batch.column(0).as_primitive::<UInt64Type>().values();
    Logged {
        runs: ids.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect(),
        times: time(1).values().to_vec(),
        values: batch.column(2).as_primitive::<Float64Type>().values().to_vec(),
        starts: time(3).iter().map(|start| start.unwrap_or(i64::MIN)).collect(),
        flags: batch.column(4).as_primitive::<UInt8Type>().values().to_vec(),
    }
}

fn batch(metadata: &[u8], body: &[u8], schema: SchemaRef) -> Result<RecordBatch, String> {
    let message = root_as_message(metadata).map_err(|error| error.to_string())?;
    let batch = message.header_as_record_batch().ok_or("message is not a batch")?;
    check(&batch, body)?;
    let body = Buffer::from(body);
    let read =
        || read_record_batch(&body, batch, schema, &HashMap::new(), None, &message.version());
    // Arrow asserts on buffers of an odd length and on offsets that run backwards, deep inside its reader: what the
    // check above lets through still ends as an error here.
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(batch) => batch.map_err(|error| error.to_string()),
        Err(_) => Err("batch is not one that arrow wrote".to_owned()),
    }
}

/// Refuses what arrow's reader would assert on: places outside the body, absurd lengths.
fn check(batch: &arrow::ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), String> {
    let rows_max = i64::from(i32::MAX);
    if !(0..=rows_max).contains(&batch.length()) {
        return Err(format!("batch claims {} rows", batch.length()));
    }
    for node in batch.nodes().iter().flatten() {
        if !(0..=rows_max).contains(&node.length())
            || !(0..=node.length()).contains(&node.null_count())
        {
            return Err("column claims an impossible length".to_owned());
        }
    }
    if batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err("batch claims buffers that no column of ours has".to_owned());
    }
    let is_compressed = batch.compression().is_some();
    for buffer in batch.buffers().iter().flatten() {
        let place =
            usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let bytes = place
            .and_then(|(offset, length)| body.get(offset..offset.checked_add(length)?))
            .ok_or("buffer lies outside the body")?;
        if is_compressed && !bytes.is_empty() {
            let claimed = bytes
                .first_chunk()
                .map(|prefix| i64::from_le_bytes(*prefix))
                .ok_or("buffer is cut short")?;
            if !(-1..=BUFFER_MAX).contains(&claimed) {
                return Err(format!("buffer claims {claimed} bytes"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, TimestampMillisecondArray, UInt8Array, UInt64Array};
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn samples(values: &[f64]) -> (Table, RecordBatch) {
        let n = values.len();
        let times =
            || TimestampMillisecondArray::from_iter_values(0..n as i64).with_timezone("UTC");
        let batch = RecordBatch::try_new(
            ingest_schema(Table::Samples),
            vec![
                Arc::new(UInt64Array::from(vec![7; n])),
                Arc::new(times()),
                Arc::new(Float64Array::from(values.to_vec())),
                Arc::new(times()),
                Arc::new(UInt8Array::from(vec![1; n])),
            ],
        );
        (Table::Samples, batch.unwrap())
    }

    fn bounds() -> (Table, RecordBatch) {
        let known = crate::registry::Registry::new(1, u64::MAX).put_bounds(7, &[0.5, 1.0]);
        (Table::HistBounds, crate::definition::bounds_rows(&[known]).unwrap())
    }

    fn rows(values: &[f64], per_series: usize) -> SampleRows {
        let n = values.len();
        SampleRows {
            slots: (0..n).map(|i| u32::try_from(i / per_series).unwrap()).collect(),
            times: (0..n as i64).map(|i| 1_795_410_000_000 + i / 7 * 15_000).collect(),
            values: values.to_vec(),
            starts: (0..n as i64).map(|i| if i % 5 == 0 { i64::MIN } else { 9 }).collect(),
            flags: (0..n).map(|i| u8::from(i % 3 == 0)).collect(),
        }
    }

    fn id_of(slot: u32) -> u64 {
        u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn shown(logged: &Logged) -> String {
        let bits: Vec<u64> = logged.values.iter().map(|value| value.to_bits()).collect();
        format!("{:?}{:?}{bits:?}{:?}{:?}", logged.runs, logged.times, logged.starts, logged.flags)
    }

    #[test]
    fn samples_of_an_earlier_release_are_read() {
        let values = [1.0, f64::NAN, -0.0];
        let bundle = decode(&encode(&[samples(&values)], Codec::Lz4).unwrap()).unwrap();
        assert_eq!(bundle.samples.runs, [(7, 3)]);
        assert_eq!(bundle.samples.times, [0, 1, 2]);
        assert_eq!(bundle.samples.values.map_bits(), values.to_vec().map_bits());
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u64>;
    }

    impl Bits for Vec<f64> {
        fn map_bits(&self) -> Vec<u64> {
            self.iter().map(|value| value.to_bits()).collect()
        }
    }

    #[test]
    fn a_scrape_takes_at_most_12_bytes_a_sample() {
        // Half the series of a node exporter are small integers, a third large ones, the rest fractions.
        let value = |i: u32| match i % 6 {
            0..=2 => f64::from(i % 300),
            3 | 4 => f64::from(i) * 65_536.0,
            _ => f64::from(i) / 7.0,
        };
        let values: Vec<f64> = (0..10_000).map(value).collect();
        let rows = SampleRows {
            slots: (0..10_000).collect(),
            times: vec![1_795_410_000_000; 10_000],
            starts: vec![i64::MIN; 10_000],
            flags: vec![0; 10_000],
            values,
        };
        let mut out = Vec::new();
        put_samples(&mut out, &rows, id_of).unwrap();
        assert!(out.len() <= 120_000, "{} bytes", out.len());
    }

    proptest! {
        #[test]
        fn payloads_read_back(
            values in prop::collection::vec(any::<f64>(), 1..60), is_packed in any::<bool>(), per_series in 1_usize..5,
        ) {
            let codec = if is_packed { Codec::Lz4 } else { Codec::None };
            let tables = vec![bounds()];
            let rows = rows(&values, per_series);
            let mut bytes = encode(&tables, codec).unwrap();
            put_samples(&mut bytes, &rows, id_of).unwrap();
            let bundle = decode(&bytes).unwrap();
            prop_assert_eq!(format!("{:?}", bundle.tables), format!("{tables:?}"));
            let expected = Logged {
                runs: rows.slots.chunk_by(|a, b| a == b).map(|run| (id_of(run[0]), run.len())).collect(),
                times: rows.times, values: rows.values, starts: rows.starts, flags: rows.flags,
            };
            prop_assert_eq!(shown(&bundle.samples), shown(&expected));
        }

        #[test]
        fn hostile_payloads_are_refused_without_a_panic(
            at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<prop::sample::Index>(), is_packed in any::<bool>(),
        ) {
            let codec = if is_packed { Codec::Lz4 } else { Codec::None };
            let mut bytes = encode(&[bounds()], codec).unwrap();
            put_samples(&mut bytes, &rows(&[1.0, 2.0, f64::NAN, 0.5], 2), id_of).unwrap();
            let part = decode(&bytes[..cut.index(bytes.len())]);
            prop_assert!(part.is_err() || part.is_ok_and(|bundle| bundle.samples.times.is_empty()));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(bundle) = decode(&bytes) {
                let n = bundle.samples.times.len();
                prop_assert!(bundle.tables.len() <= 2);
                prop_assert_eq!(bundle.samples.values.len(), n);
                prop_assert_eq!(bundle.samples.runs.iter().map(|run| run.1).sum::<usize>(), n);
            }
        }

        #[test]
        fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}

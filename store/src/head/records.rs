//! Batches of the head, with what tells a reader of log records and spans which of them it needs: bounds of time, the
//! services, and where the rows of each trace stand.
//!
//! Made by the first reader that asks and kept with the batch: writers pay nothing, and a head that nobody searches costs
//! nothing.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::OnceLock;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{max, min, take_record_batch};
use arrow::datatypes::TimestampNanosecondType;
use model::id::TraceId;
use model::time::{TimeRange, Timestamp};

use crate::error::Error;
use crate::schema::columns;

/// Services of a batch that are told apart; a batch with more may hold any.
const SERVICES_MAX: usize = 64;

/// What a reader looks for. Rows that are given besides satisfy no such condition; all that do are given.
#[derive(Clone, Debug)]
pub struct Sought {
    /// When the rows happened.
    pub range: TimeRange,
    /// Services they may be of; `None` for all, those without a service included.
    pub services: Option<BTreeSet<String>>,
    /// Traces they may belong to; `None` for all, rows of no trace included.
    pub traces: Option<BTreeSet<TraceId>>,
}

impl Default for Sought {
    fn default() -> Self {
        Self { range: TimeRange::ALL, services: None, traces: None }
    }
}

/// Rows of one table as they came, or several such batches joined.
#[derive(Debug)]
pub(crate) struct Batch {
    rows: RecordBatch,
    facts: OnceLock<Facts>,
}

#[derive(Debug)]
struct Facts {
    first: Timestamp,
    last: Timestamp,
    services: Option<BTreeSet<String>>,
    /// The first eight bytes of each row's trace, with the row; sorted.
    traces: Vec<(u64, u32)>,
}

impl Deref for Batch {
    type Target = RecordBatch;

    fn deref(&self) -> &RecordBatch {
        &self.rows
    }
}

impl From<RecordBatch> for Batch {
    fn from(rows: RecordBatch) -> Self {
        Self { rows, facts: OnceLock::new() }
    }
}

impl Batch {
    /// The rows.
    pub(crate) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The rows that may be sought, of a batch of log records or spans; `None` when there are none.
    pub(crate) fn sought(&self, sought: &Sought) -> Result<Option<RecordBatch>, Error> {
        let facts = self.facts.get_or_init(|| Facts::of(&self.rows));
        if !facts.may_hold(sought) {
            return Ok(None);
        }
        let Some(traces) = &sought.traces else { return Ok(Some(self.rows.clone())) };
        let rows = facts.rows_of(traces);
        if rows.is_empty() {
            return Ok(None);
        }
        let found = take_record_batch(&self.rows, &UInt32Array::from(rows));
        found.map(Some).map_err(Error::arrow("picking the rows of a trace"))
    }
}

impl Facts {
    fn of(rows: &RecordBatch) -> Self {
        let column = |name: &str| rows.column_by_name(name).expect("the batch was checked");
        let times = column(columns::TIME).as_primitive::<TimestampNanosecondType>();
        Self {
            first: Timestamp(min(times).unwrap_or(i64::MAX)),
            last: Timestamp(max(times).unwrap_or(i64::MIN)),
            services: services(column(columns::SERVICE_NAME)),
            traces: traces(column(columns::TRACE_ID)),
        }
    }

    fn may_hold(&self, sought: &Sought) -> bool {
        let is_served = match (&self.services, &sought.services) {
            (Some(ours), Some(wanted)) => !ours.is_disjoint(wanted),
            _ => true,
        };
        is_served && sought.range.overlaps(self.first, self.last)
    }

    /// Rows of these traces, ascending; now and then one of another trace that begins with the same bytes.
    fn rows_of(&self, traces: &BTreeSet<TraceId>) -> Vec<u32> {
        let mut rows = Vec::new();
        for trace in traces {
            let head = head(&trace.0);
            let from = self.traces.partition_point(|(other, _)| *other < head);
            let of_trace = self.traces[from..].iter().take_while(|(other, _)| *other == head);
            rows.extend(of_trace.map(|(_, row)| *row));
        }
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}

/// The services of all rows; `None` when there are too many.
fn services(column: &ArrayRef) -> Option<BTreeSet<String>> {
    let column = column.as_string::<i32>();
    let mut found = BTreeSet::new();
    let mut last = None;
    for service in column.iter().flatten() {
        // Rows of a request are mostly of one service.
        if last != Some(service) {
            last = Some(service);
            if !found.contains(service) {
                found.insert(service.to_owned());
            }
            if found.len() > SERVICES_MAX {
                return None;
            }
        }
    }
    Some(found)
}

fn traces(column: &ArrayRef) -> Vec<(u64, u32)> {
    let ids = column.as_fixed_size_binary();
    let mut traces: Vec<(u64, u32)> = (0_u32..)
        .zip(ids.iter())
        .filter_map(|(row, id)| Some((head(id?.first_chunk::<16>()?), row)))
        .collect();
    traces.sort_unstable();
    traces
}

fn head(id: &[u8; 16]) -> u64 {
    u64::from_be_bytes(*id.first_chunk().expect("an id has 16 bytes"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeBinaryBuilder, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;
    use crate::schema::time_ns;

    type Row = (i64, Option<u8>, Option<u8>);

    fn id(number: u8) -> TraceId {
        TraceId([number; 16])
    }

    fn batch(rows: &[Row]) -> Batch {
        let mut ids = FixedSizeBinaryBuilder::new(16);
        for (_, _, trace) in rows {
            match trace {
                Some(trace) => ids.append_value(id(*trace).0).unwrap(),
                None => ids.append_null(),
            }
        }
        let times: Vec<i64> = rows.iter().map(|(time, _, _)| *time).collect();
        let services =
            rows.iter().map(|(_, service, _)| service.map(|service| service.to_string()));
        let schema = Schema::new(vec![
            Field::new(columns::TIME, time_ns(), false),
            Field::new(columns::SERVICE_NAME, DataType::Utf8, true),
            Field::new(columns::TRACE_ID, DataType::FixedSizeBinary(16), true),
        ]);
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
            Arc::new(services.collect::<StringArray>()),
            Arc::new(ids.finish()),
        ];
        RecordBatch::try_new(Arc::new(schema), arrays).unwrap().into()
    }

    proptest! {
        #[test]
        fn nothing_sought_is_left_out(
            rows in prop::collection::vec((0_i64..20, any::<Option<u8>>(), prop::option::of(0_u8..4)), 1..40),
            start in 0_i64..20, len in 0_i64..20, service in any::<Option<u8>>(), trace in prop::option::of(0_u8..4),
        ) {
            let range = TimeRange::new(Timestamp(start), Timestamp(start + len));
            let sought = Sought {
                range,
                services: service.map(|service| BTreeSet::from([service.to_string()])),
                traces: trace.map(|trace| BTreeSet::from([id(trace)])),
            };
            let found = batch(&rows).sought(&sought).unwrap();
            let is_of_trace = |row: &&Row| trace.is_none() || row.2 == trace;
            let is_wanted = |row: &&Row| {
                is_of_trace(row)
                    && range.contains(Timestamp(row.0))
                    && (service.is_none() || row.1 == service)
            };
            let n_wanted = rows.iter().filter(is_wanted).count();
            // A batch is given whole or not at all, but for the rows of other traces.
            let n_given = found.map_or(0, |found| found.num_rows());
            let n_of_trace = rows.iter().filter(is_of_trace).count();
            prop_assert_eq!(n_given, if n_given > 0 { n_of_trace } else { 0 });
            prop_assert_eq!(n_wanted > 0 && n_given == 0, false);
        }
    }

    #[test]
    fn batches_without_what_is_sought_are_left_out() {
        let batch = batch(&[(5, Some(1), Some(1)), (9, None, None)]);
        let is_given = |sought: &Sought| batch.sought(sought).unwrap().is_some();
        assert!(is_given(&Sought::default()));
        let at = |ns| TimeRange::new(Timestamp(ns), Timestamp(ns + 1));
        assert!(is_given(&Sought { range: at(5), ..Sought::default() }));
        assert!(!is_given(&Sought { range: at(10), ..Sought::default() }));
        let of = |service: &str| Some(BTreeSet::from([service.to_owned()]));
        assert!(is_given(&Sought { services: of("1"), ..Sought::default() }));
        assert!(!is_given(&Sought { services: of("2"), ..Sought::default() }));
        assert!(!is_given(&Sought { traces: Some(BTreeSet::from([id(2)])), ..Sought::default() }));
    }

    #[test]
    fn a_batch_of_many_services_may_hold_any() {
        let rows: Vec<Row> = (0..200).map(|i| (0, Some(i), None)).collect();
        let nowhere =
            Sought { services: Some(BTreeSet::from(["x".to_owned()])), ..Sought::default() };
        assert!(batch(&rows).sought(&nowhere).unwrap().is_some());
    }
}

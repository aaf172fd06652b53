//! What was sent and what was acknowledged, to compare with what is read.

use std::collections::BTreeMap;
use std::slice::from_ref;

use super::*;
use crate::delivery::Delivery;

/// A row with its identity: no two are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store::tests) enum Row {
    Sample { host: String, time: i64, value: u64 },
    Log(u64),
    Span(u64),
}

impl Batch {
    /// Rows nobody asks about later.
    pub(in crate::store::tests) fn loose(rows: Vec<Row>, time: i64) -> Self {
        Self { rows, time, delivery: None, fate: Fate::Open }
    }
}

/// Rows sent together.
#[derive(Clone, Debug)]
pub(in crate::store::tests) struct Batch {
    pub(super) rows: Vec<Row>,
    /// Time of its rows in ms.
    pub(super) time: i64,
    pub(super) delivery: Option<Delivery>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Sent, and no answer yet.
    Open,
    Acknowledged,
    /// Refused, or the answer was lost: it may be there or not.
    Unknown,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) batches: Vec<Batch>,
    /// Whether an operation of ours failed, so that a start may too.
    pub(super) is_faulted: bool,
    n_rows: u64,
    /// Latest time the clock has shown.
    latest: i64,
    epoch: u64,
    seq: u64,
}

impl Model {
    /// A batch to send: mostly a new one, sometimes one that names itself, again.
    pub(super) fn next_batch(&mut self, dice: &mut Dice, now: i64) -> usize {
        self.reached(now);
        // One agent sends one batch after the other, each until it is acknowledged.
        let last = self.batches.iter().rposition(|batch| batch.delivery.is_some());
        let is_agent = dice.percent(40);
        if let Some(last) = last.filter(|_| is_agent) {
            match self.batches[last].fate {
                Fate::Unknown => {
                    self.batches[last].fate = Fate::Open;
                    return last;
                }
                // A repeat although there was an answer: nothing may come of it.
                Fate::Acknowledged if dice.percent(20) => return last,
                Fate::Open | Fate::Acknowledged => {}
            }
        }
        let is_free = last.is_none_or(|last| self.batches[last].fate == Fate::Acknowledged);
        let delivery = (is_agent && is_free).then(|| {
            if dice.percent(10) {
                (self.epoch, self.seq) = (self.epoch + 1, 0);
            }
            self.seq += 1;
            Delivery { agent: 7, epoch: self.epoch, seq: self.seq }
        });
        let n_rows_max = if dice.percent(5) { 400 } else { 4 };
        let n_rows = 1 + dice.below(n_rows_max);
        let rows = (0..n_rows).map(|_| self.row(dice, now)).collect();
        self.batches.push(Batch { rows, time: now, delivery, fate: Fate::Open });
        self.batches.len() - 1
    }

    fn row(&mut self, dice: &mut Dice, now: i64) -> Row {
        self.n_rows += 1;
        let number = self.n_rows;
        match dice.below(10) {
            0..6 => {
                let host = format!("h{}", dice.below(5));
                Row::Sample { host, time: now + number.cast_signed(), value: number }
            }
            6..8 => Row::Log(number),
            _ => Row::Span(number),
        }
    }

    pub(super) fn acknowledge(&mut self, batch: usize) {
        self.batches[batch].fate = Fate::Acknowledged;
    }

    pub(super) fn refuse(&mut self, batch: usize) {
        // A repeat of what was acknowledged changes nothing about that.
        if self.batches[batch].fate == Fate::Open {
            self.batches[batch].fate = Fate::Unknown;
        }
    }

    /// The power went: nobody learns what became of what was under way.
    pub(super) fn give_up(&mut self) {
        for batch in 0..self.batches.len() {
            self.refuse(batch);
        }
    }

    pub(super) fn reached(&mut self, now: i64) {
        self.latest = self.latest.max(now);
    }

    /// Whether what was read is what may be there.
    pub(super) fn check(&self, found: &[Row]) -> Result<(), String> {
        let kept = i64::try_from(KEPT.as_millis()).unwrap();
        let mut counts: BTreeMap<&Row, usize> = BTreeMap::new();
        for row in found {
            *counts.entry(row).or_default() += 1;
        }
        if let Some((row, count)) = counts.iter().find(|(_, count)| **count > 1) {
            return Err(format!("{row:?} is there {count} times"));
        }
        for (i, batch) in self.batches.iter().enumerate() {
            let lost: Vec<&Row> =
                batch.rows.iter().filter(|row| counts.remove(row).is_none()).collect();
            let n_found = batch.rows.len() - lost.len();
            let is_old = batch.time + kept < self.latest;
            if batch.fate == Fate::Acknowledged && n_found < batch.rows.len() && !is_old {
                return Err(format!("acknowledged in batch {i} and lost: {lost:?} of {batch:?}"));
            }
            if n_found > 0 && n_found < batch.rows.len() && !is_old {
                return Err(format!("batch {i} is there without {lost:?}: {batch:?}"));
            }
        }
        match counts.keys().next() {
            Some(row) => Err(format!("{row:?} was never sent")),
            None => Ok(()),
        }
    }
}

/// All rows that `snapshot` shows, sorted. Samples as queries see them; there must be no more of them in files.
pub(in crate::store::tests) fn rows(snapshot: &Snapshot) -> Vec<Row> {
    try_rows(snapshot).unwrap()
}

/// The same, where files may be damaged.
pub(in crate::store::tests) fn try_rows(snapshot: &Snapshot) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let series = snapshot.select(TENANT, &[])?;
    let scan = snapshot.samples(&series, (i64::MIN, i64::MAX), &ScanLimit::default())?;
    for slice in scan {
        let slice = slice?;
        let host = slice.series.def.prom_labels.value("host").unwrap().to_owned();
        for (time, value) in slice.t.iter().zip(&slice.v) {
            rows.push(Row::Sample { host: host.clone(), time: *time, value: *value as u64 });
        }
    }
    let stored: usize = batches(snapshot, Table::Samples)?.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(stored, rows.len(), "samples in head and segments, and as queries see them");
    for (table, column) in [(Table::Logs, columns::BODY), (Table::Spans, columns::NAME)] {
        for batch in batches(snapshot, table)? {
            let texts =
                arrow::compute::cast(batch.column_by_name(column).unwrap(), &DataType::Utf8);
            for text in texts.unwrap().as_string::<i32>().iter().flatten() {
                let number = text.parse().unwrap();
                rows.push(match table {
                    Table::Logs => Row::Log(number),
                    _ => Row::Span(number),
                });
            }
        }
    }
    rows.sort();
    Ok(rows)
}

fn batches(snapshot: &Snapshot, table: Table) -> Result<Vec<RecordBatch>, Error> {
    let mut batches = snapshot.head(table)?;
    for segment in snapshot.segments(table, TimeRange::ALL) {
        let bytes = segment.read(from_ref(&(0..segment.bytes)))?.remove(0);
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1_024).unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    Ok(batches)
}

/// The logs and spans among `rows` as batches, at `time` in ms.
pub(super) fn tables(rows: &[Row], time: i64) -> Vec<(Table, RecordBatch)> {
    let number = |row: &Row, table| match (row, table) {
        (Row::Log(number), Table::Logs) | (Row::Span(number), Table::Spans) => Some(*number),
        _ => None,
    };
    let mut tables = Vec::new();
    for (table, name) in [(Table::Logs, columns::BODY), (Table::Spans, columns::NAME)] {
        let numbers: Vec<u64> = rows.iter().filter_map(|row| number(row, table)).collect();
        if numbers.is_empty() {
            continue;
        }
        let batch = tables::generic(table, numbers.len(), SeriesId(0));
        let mut columns = batch.columns().to_vec();
        let place = |name| batch.schema().index_of(name).unwrap();
        let texts = arrow::array::StringArray::from_iter_values(numbers.iter().map(u64::to_string));
        columns[place(name)] = Arc::new(texts);
        let times = vec![time * 1_000_000; numbers.len()];
        let times = arrow::array::TimestampNanosecondArray::from(times).with_timezone("UTC");
        columns[place(columns::TIME)] = Arc::new(times);
        if table == Table::Spans {
            // Spans of one id are one span.
            let id = |width: usize| {
                let ids = numbers.iter().map(|number| {
                    let mut id = vec![1; width];
                    id[..8].copy_from_slice(&number.to_le_bytes());
                    id
                });
                Arc::new(arrow::array::FixedSizeBinaryArray::try_from_iter(ids).unwrap())
            };
            columns[place(columns::TRACE_ID)] = id(16);
            columns[place(columns::SPAN_ID)] = id(8);
        }
        tables.push((table, RecordBatch::try_new(batch.schema(), columns).unwrap()));
    }
    tables
}

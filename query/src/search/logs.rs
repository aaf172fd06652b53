//! Logs: pages of records, newest first, and how many there are over time.

use std::fmt;
use std::sync::Arc;

use arrow::array::Array as _;
use futures::future::BoxFuture;
use model::id::{ResourceId, SpanId, TraceId};
use model::time::{TimeRange, Timestamp};

use super::filter::{Wanted, condition};
use super::{Attributes, Rows, ask, count, entries_at, text_at, within};
use crate::catalog::{View, attribute_text};
use crate::engine::Engine;
use crate::error::Error;

/// Records in one page at most.
const PAGE_MAX: usize = 10_000;
/// Most bars of a histogram.
const BARS_MAX: i64 = 1_000;

/// A search for log records.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// Words, `"phrases"`, `field:value`, `-` to negate; empty for all.
    pub text: String,
    /// Where in time.
    pub range: TimeRange,
    /// Records in the page, at most 10 000.
    pub limit: usize,
    /// The end of the page before; unset for the first.
    pub before: Option<LogCursor>,
}

/// Where a page ended. Prints as text that [`LogCursor::parse`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCursor {
    time_ns: i64,
    ingest_seq: i64,
    /// Records with this time and sequence that were given already: a batch may hold many at one instant.
    given: u32,
}

impl fmt::Display for LogCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.time_ns, self.ingest_seq, self.given)
    }
}

impl LogCursor {
    /// Reads what a cursor prints; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let cursor = Self {
            time_ns: parts.next()?.parse().ok()?,
            ingest_seq: parts.next()?.parse().ok()?,
            given: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(cursor)
    }
}

/// One log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogRow {
    /// When it happened.
    pub time: Timestamp,
    /// OTLP severity, 0 when unset.
    pub severity_number: u8,
    /// Severity as sent; empty when unset.
    pub severity_text: String,
    /// The service; empty when unknown.
    pub service: String,
    /// Text, or JSON of a structured body.
    pub body: String,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// The span it belongs to.
    pub span_id: Option<SpanId>,
    /// Attributes of the record, those in columns of their own included.
    pub attributes: Attributes,
    /// Attributes of the resource.
    pub resource: Attributes,
}

/// Part of the records found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogPage {
    /// Newest first.
    pub rows: Vec<LogRow>,
    /// Where the next page begins; `None` after the last.
    pub cursor: Option<LogCursor>,
    /// Which records the answer lacks because they cannot be read, a sentence each.
    pub warnings: Vec<String>,
}

/// How many records there are over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHistogram {
    /// One after the other, oldest first, empty ones included.
    pub buckets: Vec<LogBucket>,
    /// How long each is, in ns.
    pub width_ns: i64,
    /// Which records are not counted because they cannot be read, a sentence each.
    pub warnings: Vec<String>,
}

/// How many records there are in one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBucket {
    /// Start of the stretch.
    pub start: Timestamp,
    /// Records by level: unset, trace, debug, info, warn, error, fatal.
    pub levels: [u64; 7],
}

impl LogBucket {
    /// All records.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.levels.iter().sum()
    }

    /// Records of level error and fatal.
    #[must_use]
    pub const fn errors(&self) -> u64 {
        self.levels[5] + self.levels[6]
    }
}

/// Columns that hold an attribute of the record, and its name.
const ATTRIBUTE_COLUMNS: [(&str, &str); 2] =
    [("exception_type", "exception.type"), ("exception_message", "exception.message")];

impl Engine {
    /// A page of the records that satisfy a search, newest first.
    ///
    /// # Errors
    /// `Invalid` with a position for a search that cannot be read, `Exhausted`.
    pub fn logs(&self, query: LogQuery) -> BoxFuture<'_, Result<LogPage, Error>> {
        let time = self.config.timeout;
        Box::pin(self.sound(move |view| {
            let (query, session) = (query.clone(), self.session(view.clone()));
            let work = async move {
                let session = session?;
                let limit = query.limit.clamp(1, PAGE_MAX);
                let text = page_sql(&query, &view, limit)?;
                let answer = ask(session, &text).await?;
                let mut rows = Vec::new();
                for batch in &answer.batches {
                    read(&Rows(batch), &view, &mut rows)?;
                }
                Ok(LogPage { warnings: view.warnings(), ..page(rows, query.before, limit) })
            };
            self.workers.run(time, work)
        }))
    }

    /// How many records satisfy a search, by level, in at most `bars` equal stretches of its range; the search's limit
    /// and cursor do not count.
    ///
    /// # Errors
    /// As [`Self::logs`], and `Invalid` for an empty range.
    pub fn log_histogram(
        &self,
        query: LogQuery,
        bars: usize,
    ) -> BoxFuture<'_, Result<LogHistogram, Error>> {
        let time = self.config.timeout;
        Box::pin(self.sound(move |view| {
            let (query, session) = (query.clone(), self.session(view.clone()));
            let work = async move {
                let session = session?;
                let width = bar_width(query.range, bars)?;
                let condition = condition_over(&view, &query.text)?;
                let text = format!(
                    "SELECT CAST(time AS BIGINT) / {width} AS bar, \
                     CASE WHEN severity_number = 0 THEN 0 ELSE (severity_number + 3) / 4 END AS level, \
                     count(*) AS records FROM logs WHERE {} AND {condition} GROUP BY 1, 2",
                    within(query.range)
                );
                let answer = ask(session, &text).await?;
                let (first, last) = bars_of(query.range, width);
                let mut buckets: Vec<LogBucket> = (first..=last)
                    .map(|bar| bar.saturating_mul(width)) // The first may begin before time does.
                    .map(|start| LogBucket { start: Timestamp(start), levels: [0; 7] })
                    .collect();
                for batch in &answer.batches {
                    let rows = Rows(batch);
                    let (bars, levels) = (rows.integers("bar")?, rows.integers("level")?);
                    let records = rows.integers("records")?;
                    for row in 0..batch.num_rows() {
                        let bar = bars.value(row).saturating_sub(first);
                        let at = usize::try_from(bar).unwrap_or(usize::MAX);
                        let level = usize::try_from(levels.value(row)).unwrap_or(0).min(6);
                        if let Some(bucket) = buckets.get_mut(at) {
                            bucket.levels[level] += count(records.value(row));
                        }
                    }
                }
                Ok(LogHistogram { buckets, width_ns: width, warnings: view.warnings() })
            };
            self.workers.run(time, work)
        }))
    }
}

/// The narrowest round width that needs at most `bars` stretches.
fn bar_width(range: TimeRange, bars: usize) -> Result<i64, Error> {
    const WIDTHS_MS: [i64; 22] = [
        1,
        10,
        100,
        500,
        1_000,
        2_000,
        5_000,
        10_000,
        15_000,
        30_000,
        60_000,
        120_000,
        300_000,
        600_000,
        900_000,
        1_800_000,
        3_600_000,
        10_800_000,
        21_600_000,
        43_200_000,
        86_400_000,
        604_800_000,
    ];
    let bars = i64::try_from(bars).unwrap_or(BARS_MAX).clamp(1, BARS_MAX);
    let length = range.end.0.abs_diff(range.start.0);
    if range.end <= range.start {
        return Err(Error::invalid("the end of the range must be after its start"));
    }
    let fits = |ms: &&i64| {
        let width = **ms * model::time::NS_PER_MS;
        let (first, last) = bars_of(range, width);
        last.saturating_sub(first) < bars
    };
    // A range may begin within a bar, so that it touches one bar more than it is long.
    let widest = length / bars.saturating_sub(1).max(1).unsigned_abs();
    let widest = i64::try_from(widest).unwrap_or(i64::MAX).saturating_add(1);
    Ok(WIDTHS_MS.iter().find(fits).map_or(widest, |ms| ms * model::time::NS_PER_MS))
}

/// The first and the last bar of `width` that `range`, which is not empty, touches.
const fn bars_of(range: TimeRange, width: i64) -> (i64, i64) {
    (range.start.0.div_euclid(width), range.end.0.saturating_sub(1).div_euclid(width))
}

/// The SQL condition that `text` means over the records of `view`.
fn condition_over(view: &View, text: &str) -> Result<String, Error> {
    condition(text, &|key, wanted| resources_of(view, key, wanted))
}

/// Ids of the resources of `view` whose attribute `key` is wanted.
pub(super) fn resources_of(view: &View, key: &str, wanted: Wanted<'_>) -> Vec<u64> {
    let has = |resource: &Arc<store::Resource>| {
        let attributes = &resource.def.attributes;
        attributes.iter().any(|a| a.key == key && wanted(&attribute_text(&a.value)))
    };
    let all = view.snapshot.resources(view.tenant);
    all.iter().filter(|resource| has(resource)).map(|resource| resource.id.0).collect()
}

fn page_sql(query: &LogQuery, view: &View, limit: usize) -> Result<String, Error> {
    let condition = condition_over(view, &query.text)?;
    let (before, given) = match query.before {
        None => (String::new(), 0),
        Some(LogCursor { time_ns, ingest_seq, given }) => {
            let time = format!("to_timestamp_nanos({time_ns})");
            let ties = format!("time = {time} AND ingest_seq <= {ingest_seq}");
            (format!(" AND time <= {time} AND (time < {time} OR ({ties}))"), given as usize)
        }
    };
    Ok(format!(
        "SELECT time, ingest_seq, severity_number, severity_text, service_name, body, trace_id, span_id, \
         exception_type, exception_message, event_name, attributes, resource_id \
         FROM logs WHERE {}{before} AND {condition} \
         ORDER BY time DESC, ingest_seq DESC, body, resource_id, span_id, severity_number LIMIT {}",
        within(query.range),
        limit.saturating_add(given).saturating_add(1)
    ))
}

type Found = (i64, LogRow);

fn read(rows: &Rows<'_>, view: &View, into: &mut Vec<Found>) -> Result<(), Error> {
    let (times, sequences) = (rows.integers("time")?, rows.integers("ingest_seq")?);
    let (numbers, levels) = (rows.integers("severity_number")?, rows.texts("severity_text")?);
    let (services, bodies) = (rows.texts("service_name")?, rows.texts("body")?);
    let (traces, spans) = (rows.texts("trace_id")?, rows.texts("span_id")?);
    let (events, attributes) = (rows.texts("event_name")?, rows.maps("attributes")?);
    let resources = rows.ids("resource_id")?;
    let columns = ATTRIBUTE_COLUMNS
        .iter()
        .map(|(column, key)| Ok((rows.texts(column)?, *key)))
        .collect::<Result<Vec<_>, Error>>()?;
    for (row, resource) in resources.into_iter().enumerate() {
        let mut pairs = entries_at(&attributes, row);
        for (column, key) in columns.iter().filter(|(column, _)| column.is_valid(row)) {
            pairs.push(((*key).to_owned(), column.value(row).to_owned()));
        }
        if events.is_valid(row) && !events.value(row).is_empty() {
            pairs.push(("event.name".to_owned(), events.value(row).to_owned()));
        }
        pairs.sort();
        let log = LogRow {
            time: Timestamp(times.value(row)),
            severity_number: u8::try_from(numbers.value(row)).unwrap_or(0),
            severity_text: text_at(&levels, row),
            service: text_at(&services, row),
            body: text_at(&bodies, row),
            trace_id: TraceId::parse(&text_at(&traces, row)),
            span_id: SpanId::parse(&text_at(&spans, row)),
            attributes: pairs,
            resource: resource_attributes(view, resource),
        };
        into.push((sequences.value(row), log));
    }
    Ok(())
}

/// The attributes of a resource, sorted by key; none when it is not known.
pub(super) fn resource_attributes(view: &View, id: u64) -> Attributes {
    let resource = view.snapshot.resource(view.tenant, ResourceId(id));
    let attributes = resource.iter().flat_map(|resource| &resource.def.attributes);
    attributes.map(|a| (a.key.clone(), attribute_text(&a.value))).collect()
}

/// Leaves out what the page before gave, and cuts what the next one will give.
fn page(mut found: Vec<Found>, before: Option<LogCursor>, limit: usize) -> LogPage {
    if let Some(before) = before {
        let is_tie = |(seq, row): &Found| row.time.0 == before.time_ns && *seq == before.ingest_seq;
        let ties =
            found.iter().take(before.given as usize).take_while(|found| is_tie(found)).count();
        found.drain(..ties);
    }
    let is_cut = found.len() > limit;
    found.truncate(limit);
    let cursor = found.last().filter(|_| is_cut).map(|(seq, row)| {
        let key = (row.time.0, *seq);
        let ties = found.iter().rev().take_while(|(seq, row)| (row.time.0, *seq) == key).count();
        // When the whole page is one instant, the ties of the page before it belong to it too.
        let earlier = before.filter(|b| ties == found.len() && (b.time_ns, b.ingest_seq) == key);
        let given = u32::try_from(ties).unwrap_or(u32::MAX) + earlier.map_or(0, |b| b.given);
        LogCursor { time_ns: key.0, ingest_seq: key.1, given }
    });
    let rows = found.into_iter().map(|(_, row)| row).collect();
    LogPage { rows, cursor, warnings: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(time: i64, seq: i64, body: &str) -> Found {
        (seq, LogRow { time: Timestamp(time), body: body.to_owned(), ..LogRow::default() })
    }

    #[test]
    fn pages_neither_lose_nor_repeat_records_of_one_instant() {
        let all: Vec<Found> = ["a", "b", "c", "d", "e", "f", "g"].map(|b| found(9, 1, b)).to_vec();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            // What the database gives: everything not after the cursor, up to limit and ties.
            let given = cursor.map_or(0, |c: LogCursor| c.given as usize);
            let rows = all.iter().take(2 + given + 1).cloned().collect();
            let page = page(rows, cursor, 2);
            seen.extend(page.rows.into_iter().map(|row| row.body));
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.concat(), "abcdefg");
    }

    #[test]
    fn cursors_read_what_they_print() {
        let cursor = LogCursor { time_ns: -5, ingest_seq: 7, given: 2 };
        assert_eq!(LogCursor::parse(&cursor.to_string()), Some(cursor));
        for bad in ["", "1.2", "1.2.3.4", "a.b.c", "1.2.-3"] {
            assert_eq!(LogCursor::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn bars_are_round_and_few_enough() {
        let hour = TimeRange::new(Timestamp(0), Timestamp::from_s(3_600));
        assert_eq!(bar_width(hour, 60).unwrap(), 60 * model::time::NS_PER_S);
        assert_eq!(bar_width(hour, 1).unwrap(), 3_600 * model::time::NS_PER_S);
        assert!(bar_width(TimeRange::new(Timestamp(5), Timestamp(5)), 10).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_range_has_few_bars(
            start in proptest::prelude::any::<i64>(),
            end in proptest::prelude::any::<i64>(),
            any_bars in 0_usize..2_000,
        ) {
            let edges = [i64::MIN, i64::MIN + 1, start, end, -1, 0, 1, i64::MAX - 1, i64::MAX];
            for (start, end) in edges.iter().flat_map(|start| edges.map(|end| (*start, end))) {
                let range = TimeRange { start: Timestamp(start), end: Timestamp(end) };
                for bars in [1, any_bars] {
                    let Ok(width) = bar_width(range, bars) else { continue };
                    let (first, last) = bars_of(range, width);
                    proptest::prop_assert!(width > 0 && first <= last);
                    proptest::prop_assert!(last - first <= i64::try_from(bars.clamp(2, 1_000)).unwrap());
                }
            }
        }
    }
}

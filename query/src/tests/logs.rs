//! Log searches: filters, pages, histograms.

use std::ops::Range;

use futures::executor::block_on;
use model::time::{TimeRange, Timestamp};
use store::schema::Table;

use super::fixture::{Fixture, Log, NOW_S};
use crate::{LogBucket, LogHistogram, LogQuery};

fn fill(fixture: &Fixture, from: i64) {
    fill_some(fixture, from, 0..10);
}

fn fill_some(fixture: &Fixture, from: i64, some: Range<usize>) {
    let bodies: Vec<String> =
        (from..from + 10).map(|i| format!("Request {i} done in 5%")).collect();
    let logs: Vec<Log<'_>> = bodies
        .iter()
        .enumerate()
        .map(|(i, body)| Log {
            // Several records share an instant.
            s_ago: 100 - from - i64::try_from(i).unwrap() / 4,
            service: if i % 2 == 0 { "cart" } else { "checkout" },
            severity: if i == 3 { 17 } else { 9 },
            body,
            attributes: if i == 5 { &[("user.id", "42"), ("status", "503")] } else { &[] },
            trace: (i == 7).then_some(7),
        })
        .collect();
    fixture.logs(&logs[some]);
}

fn everywhere(check: impl Fn(&Fixture, &str)) {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    fill(&fixture, 10);
    check(&fixture, "in memory");
    fixture.flush();
    check(&fixture, "flushed");
    let half = Fixture::new();
    fill(&half, 0);
    half.flush();
    fill(&half, 10);
    check(&half, "half and half");
    let merged = Fixture::new();
    for (from, some) in [(0, 0..5), (0, 5..10), (10, 0..5), (10, 5..10)] {
        fill_some(&merged, from, some);
        merged.flush();
    }
    merged.compact();
    let segments = merged.store.snapshot().segments(Table::Logs, TimeRange::ALL);
    assert_eq!(segments.iter().map(|segment| segment.level).collect::<Vec<_>>(), [1]);
    assert!(segments[0].promoted().unwrap().iter().any(|field| field.name() == "attr.user.id"));
    check(&merged, "compacted");
    merged.lose_sidecars(Table::Logs);
    check(&merged, "compacted, without sidecars");
}

fn query(text: &str) -> LogQuery {
    let range = TimeRange::new(Timestamp::from_s(NOW_S - 3_600), Timestamp::from_s(NOW_S));
    LogQuery { text: text.to_owned(), range, limit: 100, before: None }
}

fn bodies(fixture: &Fixture, text: &str) -> Vec<String> {
    let page =
        block_on(fixture.engine.logs(query(text))).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    assert!(page.cursor.is_none());
    page.rows.into_iter().map(|row| row.body).collect()
}

#[test]
fn filters_find_what_they_say() {
    everywhere(|fixture, place| {
        let check = |text: &str, expected: usize| {
            assert_eq!(bodies(fixture, text).len(), expected, "{place}: {text}");
        };
        check("", 20);
        check("request", 20);
        check("\"request 1\"", 11);
        check("-\"request 1\"", 9);
        check("5%", 20);
        check("\"5_\"", 0);
        check("service:cart", 10);
        check("-service:cart", 10);
        check("service:ca*t", 10);
        check("service:ca*t level:error", 0);
        check("level:error", 2);
        check("level:>=info", 20);
        check("user.id:42", 2);
        check("-user.id:42", 18);
        check("status:>=500", 2);
        check("status:<500", 0);
        check("team:\"team of cart\"", 10);
        check("host:web-* host.arch:amd64", 20);
        check(&format!("trace_id:{}", "07".repeat(16)), 2);
        check("nothing:here", 0);
    });
}

#[test]
fn pages_hold_every_record_once_newest_first() {
    everywhere(|fixture, place| {
        let mut rows = Vec::new();
        let mut asked = LogQuery { limit: 3, ..query("") };
        loop {
            let page = block_on(fixture.engine.logs(asked.clone())).unwrap();
            assert!(page.rows.len() <= 3);
            rows.extend(page.rows);
            match page.cursor {
                Some(cursor) => asked.before = Some(cursor),
                None => break,
            }
        }
        assert!(rows.is_sorted_by(|a, b| a.time >= b.time), "{place}");
        let mut bodies: Vec<String> = rows.into_iter().map(|row| row.body).collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 20, "{place}");
    });
}

#[test]
fn records_carry_what_was_sent() {
    everywhere(|fixture, place| {
        let page = block_on(fixture.engine.logs(query("user.id:42 \"request 5 \""))).unwrap();
        let [row] = page.rows.as_slice() else { panic!("{place}: {page:?}") };
        assert_eq!((row.severity_number, row.service.as_str()), (9, "checkout"), "{place}");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(row.attributes, [pair("status", "503"), pair("user.id", "42")], "{place}");
        assert!(row.resource.contains(&pair("team", "team of checkout")), "{place}");
    });
}

#[test]
fn ranges_as_wide_as_time_itself_have_an_answer() {
    everywhere(|fixture, place| {
        for (start, end) in [(i64::MIN, i64::MAX), (0, i64::MAX), (i64::MIN, i64::MIN + 1)] {
            let range = TimeRange { start: Timestamp(start), end: Timestamp(end) };
            let asked = LogQuery { range, ..query("") };
            let found = if end == i64::MAX { 20 } else { 0 };
            let page = block_on(fixture.engine.logs(asked.clone())).unwrap();
            assert_eq!(page.rows.len(), found, "{place}: {range:?}");
            for bars in [0, 1, 60, usize::MAX] {
                let asked = asked.clone();
                let LogHistogram { buckets, .. } =
                    block_on(fixture.engine.log_histogram(asked, bars)).unwrap();
                let total: u64 = buckets.iter().map(|bucket| bucket.total()).sum();
                assert_eq!(total, found as u64, "{place}: {range:?} {bars}");
            }
            block_on(fixture.engine.hosts(range)).unwrap();
        }
    });
}

#[test]
fn histograms_count_what_the_search_finds() {
    everywhere(|fixture, place| {
        let LogHistogram { buckets, width_ns: width, .. } =
            block_on(fixture.engine.log_histogram(query(""), 60)).unwrap();
        assert_eq!(width, 60_000_000_000, "{place}");
        assert!(buckets.len() <= 61, "{place}");
        assert_eq!(buckets.iter().map(|bucket| bucket.total()).sum::<u64>(), 20, "{place}");
        assert_eq!(buckets.iter().map(|bucket| bucket.errors()).sum::<u64>(), 2, "{place}");
        let errors =
            block_on(fixture.engine.log_histogram(query("level:error"), 10)).unwrap().buckets;
        assert_eq!(errors.iter().map(|bucket| bucket.total()).sum::<u64>(), 2, "{place}");
    });
}

#[test]
fn pages_and_counts_say_which_records_cannot_be_read() {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    fixture.flush();
    let (engine, n_rows) = fixture.damage(Table::Logs);
    fill(&fixture, 10);
    let page = block_on(engine.logs(query(""))).unwrap();
    assert_eq!(page.rows.len(), 10);
    let [warning] = page.warnings.as_slice() else { panic!("{:?}", page.warnings) };
    let begin = format!("{n_rows} rows of logs from 2026-11-23T");
    assert!(warning.starts_with(&begin), "{warning}");
    let histogram = block_on(engine.log_histogram(query(""), 60)).unwrap();
    assert_eq!(histogram.buckets.iter().map(LogBucket::total).sum::<u64>(), 10);
    assert_eq!(histogram.warnings, page.warnings);
    let before = TimeRange::new(Timestamp::from_s(0), Timestamp::from_s(3_600));
    let elsewhere = block_on(engine.logs(LogQuery { range: before, ..query("") })).unwrap();
    assert!(elsewhere.warnings.is_empty(), "{:?}", elsewhere.warnings);
}

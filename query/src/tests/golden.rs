//! Data directories of every on-disk format there was, in `tests/golden/v<N>`: a copy is opened, migrated and asked.
//!
//! `data/` is the directory as its release left it after a clean stop; `answers.txt` holds what was asked of it then.
//! A block is a line `sql ...`, `promql ...`, `logs ...` or `trace ...`, then the answer in one line.
//!
//! A directory is made once, by the release that introduces its format, and never changed afterwards:
//! `GOLDEN=v<N> cargo nextest run -p query --run-ignored only make_a_golden_directory`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Float64Array, Int8Array, Int32Array, Int64Array, StringBuilder,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array, UInt64Array, new_null_array,
};
use arrow::datatypes::DataType;
use futures::executor::block_on;
use model::id::{SeriesId, TraceId};
use model::metric::MetricKind;
use model::time::{TimeRange, Timestamp};
use store::schema::{self, Table};

use super::fixture::{Fixture, Log, NOW_S, SpanRow, ago_ms};
use super::prometheus::instant;
use crate::{Config, LogQuery};

/// What is asked of a new golden directory: every table, in every language.
const QUESTIONS: [&str; 22] = [
    "promql http_requests_total",
    "promql http_requests_total offset 1m",
    "promql sum by (code) (increase(http_requests_total[10m]))",
    "promql mem_bytes",
    "promql req_duration_count",
    "promql histogram_quantile(0.9, rate(req_duration_bucket[10m]))",
    "promql exp_duration",
    "promql sum_over_time(mem_bytes[10m])",
    "sql SELECT metric, time, value, service_name FROM metrics ORDER BY 1, 2, 3, 4",
    "sql SELECT metric, time, flags FROM samples ORDER BY 1, 2, 3",
    "sql SELECT metric, time, exp_scale, zero_count, zero_threshold, reset_hint FROM hist_points ORDER BY 1, 2",
    "sql SELECT metric, time, exp_scale, side, bucket FROM hist_buckets ORDER BY 1, 2, 3, 4, 5",
    "sql SELECT * FROM histograms ORDER BY metric, time",
    "sql SELECT DISTINCT bounds_id, bounds FROM hist_bounds",
    "sql SELECT metric, time, value, trace_id, attributes FROM exemplars ORDER BY time",
    "sql SELECT time, service_name, host_name, severity_number, body, trace_id FROM logs ORDER BY time, body",
    "sql SELECT time, duration, trace_id, span_id, parent_span_id, service_name, name, is_error, http_route FROM spans ORDER BY time, span_id",
    "sql SELECT trace_id, root_service, root_name, span_count, error_count FROM trace_index ORDER BY trace_id, span_count",
    "sql SELECT DISTINCT metric, labels, prom_name, prom_labels, kind, unit, help FROM series ORDER BY metric, prom_name, kind",
    "sql SELECT DISTINCT service_name, host_name, attributes FROM resources ORDER BY 1, 2",
    "logs level:error timeout",
    "trace 2",
];

/// The part of a store numbered `part`; later parts are later in time.
fn fill(fixture: &Fixture, part: i64) {
    let shop = fixture.resource("shop", "a");
    let start = 420 - 60 * part;
    let at = |i: i64| ago_ms(start - 15 * i);
    let counter = fixture.series("http.requests", &[("code", "200")], shop, MetricKind::Counter);
    let whole: Vec<(i64, f64)> = (0..4).map(|i| (at(i), (4 * part + i) as f64)).collect();
    fixture.samples(counter, &whole);
    let gauge = fixture.series("mem.bytes", &[], fixture.resource("db", "b"), MetricKind::Gauge);
    let odd = [0.1 + part as f64, f64::NAN, -0.0, 1e300];
    let odd: Vec<(i64, f64)> = (0..4).zip(odd).map(|(i, value)| (at(i), value)).collect();
    fixture.samples(gauge, &odd);
    let explicit = fixture.series("req.duration", &[("route", "/x")], shop, MetricKind::Histogram);
    let n = part as f64 + 1.0;
    fixture.histogram(explicit, at(2), [n, 2.0 * n, 3.0 * n], 9.5 * n);
    let native = fixture.series("exp.duration", &[], shop, MetricKind::ExponentialHistogram);
    exponential(fixture, native.id, at(3), part);
    exemplar(fixture, counter.id, at(1), part);
    let body = format!("timeout {part} after 5 s");
    let attributes = [("user.id", "42")];
    let log = |service, severity, body| Log {
        s_ago: start,
        service,
        severity,
        body,
        attributes: &attributes,
        trace: Some(1),
    };
    fixture.logs(&[log("shop", 17, &body), log("db", 9, "all is well, 世界")]);
    let trace = u8::try_from(part).unwrap();
    let span = |id: u8, parent, service, name| SpanRow {
        trace,
        id,
        parent,
        s_ago: start,
        duration_ns: 1_000_000 * i64::from(id),
        service,
        name,
        is_error: id == 2,
    };
    fixture.spans(&[span(1, None, "shop", "checkout"), span(2, Some(1), "db", "query")]);
}

fn ms(t: i64) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(vec![t]).with_timezone("UTC"))
}

/// An exponential histogram with buckets on both sides and in the middle.
fn exponential(fixture: &Fixture, id: SeriesId, t: i64, part: i64) {
    let one = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    fixture.ingest(
        Table::HistPoints,
        vec![
            Arc::new(UInt64Array::from(vec![id.0])),
            ms(t),
            ms(ago_ms(3_600)),
            Arc::new(UInt8Array::from(vec![0])),
            one(6.0 + part as f64),
            one(2.5),
            one(-2.0),
            one(4.0),
            Arc::new(Int64Array::from(vec![1])),
            one(0.001),
            Arc::new(Int8Array::from(vec![2])),
            new_null_array(&DataType::UInt64, 1),
            Arc::new(UInt8Array::from(vec![0])),
        ],
    );
    let times = TimestampMillisecondArray::from(vec![t; 3]).with_timezone("UTC");
    fixture.ingest(
        Table::HistBuckets,
        vec![
            Arc::new(UInt64Array::from(vec![id.0; 3])),
            Arc::new(times),
            Arc::new(Int8Array::from(vec![2; 3])),
            Arc::new(Int8Array::from(vec![-1, 1, 1])),
            Arc::new(Int32Array::from(vec![-3, 0, 7])),
            Arc::new(Float64Array::from(vec![1.0, 2.0 + part as f64, 2.0])),
        ],
    );
}

fn exemplar(fixture: &Fixture, id: SeriesId, t: i64, part: i64) {
    let bytes = |n: usize| vec![u8::try_from(part).unwrap(); n];
    let binary = |n: usize| {
        Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes(n))).unwrap())
    };
    let mut attributes = schema::map_builder(StringBuilder::new());
    attributes.keys().append_value("user.id");
    attributes.values().append_value("42");
    attributes.append(true).unwrap();
    fixture.ingest(
        Table::Exemplars,
        vec![
            Arc::new(UInt64Array::from(vec![id.0])),
            Arc::new(TimestampNanosecondArray::from(vec![t * 1_000_000 + 1]).with_timezone("UTC")),
            Arc::new(Float64Array::from(vec![0.25])),
            binary(16),
            binary(8),
            Arc::new(attributes.finish()),
        ],
    );
}

/// The answer to a line of `answers.txt`, in one line.
fn answer(fixture: &Fixture, question: &str) -> String {
    let (language, text) = question.split_once(' ').unwrap();
    match language {
        "promql" => instant(fixture, text),
        "sql" => fixture.rows(text),
        "logs" => {
            let range = TimeRange::new(Timestamp::from_s(0), Timestamp::from_s(NOW_S));
            let query = LogQuery { text: text.to_owned(), range, limit: 100, before: None };
            let rows = block_on(fixture.engine.logs(query)).unwrap().rows;
            rows.iter().map(|row| format!("{:?} {}; ", row.time, row.body)).collect()
        }
        "trace" => {
            let id = TraceId([text.parse().unwrap(); 16]);
            let spans = block_on(fixture.engine.trace(id)).unwrap().unwrap().spans;
            spans.iter().map(|span| format!("{} {}; ", span.service, span.name)).collect()
        }
        other => panic!("{other}: no language"),
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn config() -> Config {
    Config { threads: 2, ..Config::default() }
}

/// Copies what is in `from`, but for locks, empty folders and reserved space.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if !["LOCK", "reserve"].iter().any(|name| path.ends_with(name)) {
            fs::create_dir_all(to).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "wal") {
                // What is reserved behind the last record is no part of the format.
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.truncate(end.next_multiple_of(8).min(bytes.len()));
            }
            fs::write(&target, bytes).unwrap();
        }
    }
}

/// A copy of a golden directory, opened by this release.
fn open(version: &Path) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    copy(&version.join("data"), &dir.path().join("data"));
    Fixture::over(dir, config(), NOW_S)
}

fn check(fixture: &Fixture, version: &Path, when: &str) {
    let text = fs::read_to_string(version.join("answers.txt")).unwrap();
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let mut n_questions = 0;
    while let (Some(question), Some(expected)) = (lines.next(), lines.next()) {
        n_questions += 1;
        assert_eq!(
            answer(fixture, question),
            expected,
            "{}, {when}: {question}",
            version.display()
        );
    }
    assert!(n_questions > 10, "{} asks too little", version.display());
}

#[test]
fn every_format_there_was_is_opened_and_answers_as_it_did() {
    let mut versions: Vec<PathBuf> =
        fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()).collect();
    versions.sort();
    assert!(!versions.is_empty());
    for version in versions {
        let fixture = open(&version);
        check(&fixture, &version, "as it was left");
        fixture.flush();
        check(&fixture, &version, "flushed");
        fixture.compact();
        check(&fixture, &version, "compacted");
        fill(&fixture, 40); // It takes rows like any other.
        let fixture = Fixture::over(fixture.close(), config(), NOW_S);
        let n = fixture.rows("SELECT count(*) AS n FROM logs WHERE body LIKE 'timeout 40%'");
        assert_eq!(n, "[[1]]", "{}", version.display());
    }
}

#[test]
#[ignore = "makes a golden directory; the one of a released format never changes"]
fn make_a_golden_directory() {
    let version = golden().join(std::env::var("GOLDEN").expect("GOLDEN names the version"));
    assert!(!version.exists(), "{} is there already", version.display());
    let mut fixture = Fixture::new();
    for part in 0..4 {
        fill(&fixture, part);
        fixture.flush();
    }
    // Once the hour is over they are merged, and some time later the files they were in go.
    for later_s in [20 * 60, 40 * 60, 0] {
        fixture = Fixture::over(fixture.close(), config(), NOW_S + later_s);
        fixture.compact();
    }
    fill(&fixture, 4);
    fixture.flush();
    fill(&fixture, 5); // Stays in the log.
    let mut text = String::new();
    for question in QUESTIONS {
        write!(text, "{question}\n{}\n\n", answer(&fixture, question)).unwrap();
    }
    let dir = fixture.close();
    // The database closes on a thread of its own, and takes its log in.
    while dir.path().join("data/catalogue.sqlite-wal").exists() {
        std::thread::yield_now();
    }
    copy(&dir.path().join("data"), &version.join("data"));
    fs::write(version.join("answers.txt"), text).unwrap();
}

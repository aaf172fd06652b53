//! SQL: tables, values, conditions pushed down, limits, refusals.

use std::time::Duration;

use futures::executor::block_on;
use model::metric::{MetricKind, STALE_NAN_BITS};
use model::time::{TimeRange, Timestamp};
use store::Resolved;
use store::schema::Table;

use super::fixture::{Fixture, Log, NOW_S, ago_ms};
use crate::{Config, Error, ErrorKind, InstantQuery, SqlQuery};

/// Values that exercise every value column: scaled, multiplied, floats, infinities, negative zero.
const VALUES: [f64; 8] =
    [1.5, 2.25, 1e300, f64::INFINITY, -0.0, 0.1 + 0.2, 9.0 * 0.001, 123_456_789.125];

fn counter(fixture: &Fixture, mode: &str, host: &str) -> Resolved {
    let resource = fixture.resource("agent", host);
    fixture.series("system.cpu.time", &[("cpu.mode", mode)], resource, MetricKind::Counter)
}

fn fill(fixture: &Fixture, part: usize) {
    let times = |values: &[f64]| -> Vec<(i64, f64)> {
        let start = ago_ms(600 - i64::try_from(part).unwrap() * 300);
        values.iter().zip((0_i64..).map(|i| start + i * 10_000)).map(|(v, t)| (t, *v)).collect()
    };
    for (mode, host) in [("user", "a"), ("idle", "a"), ("user", "b")] {
        fixture.samples(counter(fixture, mode, host), &times(&[1.0, 2.0, 3.5]));
    }
    let resource = fixture.resource("shop", "a");
    let odd =
        fixture.series("odd.values", &[("time", "x"), ("k", "v")], resource, MetricKind::Gauge);
    fixture.samples(odd, &times(&VALUES));
    let ended = fixture.series("ended", &[], resource, MetricKind::Gauge);
    fixture.samples(ended, &times(&[7.0, f64::from_bits(STALE_NAN_BITS)]));
}

/// The same rows: all in memory, all in segments, and half of each.
fn everywhere(check: impl Fn(&Fixture, &str)) {
    let hot = Fixture::new();
    fill(&hot, 0);
    fill(&hot, 1);
    check(&hot, "in memory");
    hot.flush();
    check(&hot, "flushed");
    let half = Fixture::new();
    fill(&half, 0);
    half.flush();
    fill(&half, 1);
    check(&half, "half and half");
}

#[test]
fn answers_are_the_same_in_memory_and_on_disk() {
    everywhere(|fixture, place| {
        let check = |text: &str, expected: &str| {
            assert_eq!(fixture.rows(text), expected, "{place}: {text}");
        };
        check("SELECT count(*) FROM samples", "[[38]]");
        check("SELECT count(*) FROM metrics", "[[36]]");
        check("SELECT count(*) FROM metrics WHERE metric = 'ended'", "[[2]]");
        check(
            "SELECT metric, count(*) FROM metrics GROUP BY 1 ORDER BY 1",
            r#"[["ended",2],["odd.values",16],["system.cpu.time",18]]"#,
        );
        check(
            "SELECT sum(value) FROM metrics WHERE metric = 'system.cpu.time' AND labels['cpu.mode'] = 'user' AND host_name = 'a'",
            "[[13.0]]",
        );
        check(
            "SELECT host_name, \"cpu.mode\", max(value) FROM \"system.cpu.time\" GROUP BY 1, 2 ORDER BY 1, 2",
            r#"[["a","idle",3.5],["a","user",3.5],["b","user",3.5]]"#,
        );
        check(
            "SELECT attr(labels, 'cpu.mode') AS mode, kind, unit, service_name FROM metrics WHERE metric LIKE 'system%' GROUP BY 1, 2, 3, 4 ORDER BY 1",
            r#"[["idle","counter","s","agent"],["user","counter","s","agent"]]"#,
        );
        check("SELECT count(*) FROM system_cpu_time_total WHERE \"cpu.mode\" = 'idle'", "[[6]]");
        check("SELECT count(*) FROM metrics WHERE service_name = 'nobody'", "[[0]]");
        check("SELECT count(*) FROM metrics WHERE service_name = 'shop' OR value > 3", "[[24]]");
        check("SELECT count(*) FROM series", "[[5]]");
        check(
            "SELECT count(*) FROM resources WHERE attr(attributes, 'team') = 'team of agent'",
            "[[2]]",
        );
    });
}

#[test]
fn a_sample_sent_again_counts_once_and_the_later_wins() {
    let place = |fixture: &Fixture| counter(fixture, "user", "a");
    let first = [(ago_ms(30), 1.0), (ago_ms(20), 2.0), (ago_ms(10), 3.0)];
    let again = [(ago_ms(20), 2.5), (ago_ms(10), 3.0), (ago_ms(5), 4.0)];
    let check = |fixture: &Fixture, when: &str| {
        let ask = |text: &str, expected: &str| {
            assert_eq!(fixture.rows(text), expected, "{when}: {text}");
        };
        ask("SELECT value FROM metrics ORDER BY time", "[[1.0],[2.5],[3.0],[4.0]]");
        ask("SELECT count(*) FROM samples", "[[4]]");
        ask("SELECT count(*) FROM metrics WHERE value = 2", "[[0]]");
        ask("SELECT count(*) FROM metrics WHERE host_name = 'a' AND value > 2", "[[3]]");
    };
    let hot = Fixture::new();
    hot.samples(place(&hot), &first);
    hot.samples(place(&hot), &again);
    check(&hot, "in memory");
    hot.flush();
    check(&hot, "flushed together");
    let half = Fixture::new();
    half.samples(place(&half), &first);
    half.flush();
    half.samples(place(&half), &again);
    check(&half, "half and half");
    assert!(half.rows("EXPLAIN SELECT value FROM metrics").contains("FoldExec"));
    half.flush();
    check(&half, "flushed apart");
}

#[test]
fn values_come_back_bit_for_bit() {
    everywhere(|fixture, place| {
        let answer = fixture.sql("SELECT value FROM \"odd.values\" ORDER BY time").unwrap();
        let bits: Vec<u64> = answer
            .batches
            .iter()
            .flat_map(|batch| {
                use arrow::array::AsArray as _;
                use arrow::datatypes::Float64Type;
                batch.column(0).as_primitive::<Float64Type>().values().to_vec()
            })
            .map(f64::to_bits)
            .collect();
        let expected: Vec<u64> = VALUES.iter().chain(&VALUES).map(|v| v.to_bits()).collect();
        assert_eq!(bits, expected, "{place}");
        // The form that other engines use over the files, as the format documents it.
        let documented = fixture.rows(
            "SELECT count(*) FROM samples WHERE metric = 'odd.values' AND coalesce(v_f64, CASE WHEN scale >= 0 \
             THEN CAST(coalesce(v_ctr, v_int) AS DOUBLE) / power(CAST(10 AS DOUBLE), scale) \
             ELSE CAST(coalesce(v_ctr, v_int) AS DOUBLE) * power(CAST(10 AS DOUBLE), scale) END) \
             = sample_value(scale, v_ctr, v_int, v_f64)",
        );
        assert_eq!(documented, "[[16]]", "{place}");
    });
}

#[test]
fn times_are_nanoseconds_and_conditions_on_them_exact() {
    everywhere(|fixture, place| {
        let check = |text: &str, expected: &str| {
            assert_eq!(fixture.rows(text), expected, "{place}: {text}");
        };
        check("SELECT min(time) FROM \"ended\"", r#"[["2026-11-23T11:50:00.000000000Z"]]"#);
        let at = "TIMESTAMP '2026-11-23T11:50:10Z'";
        let count = |op: &str| format!("SELECT count(*) FROM odd_values WHERE time {op} {at}");
        for (op, rows) in [("<", 1), ("<=", 2), (">", 14), (">=", 15), ("=", 1), ("<>", 15)] {
            check(&count(op), &format!("[[{rows}]]"));
        }
        check(
            &format!(
                "SELECT count(*) FROM odd_values WHERE time > {at} - INTERVAL '1 nanosecond' AND time < {at} + INTERVAL '1 nanosecond'"
            ),
            "[[1]]",
        );
        check(
            "SELECT time_bucket('5m', time) AS t, count(*) FROM odd_values GROUP BY t ORDER BY t",
            r#"[["2026-11-23T11:50:00.000000000Z",8],["2026-11-23T11:55:00.000000000Z",8]]"#,
        );
        let range = TimeRange::new(Timestamp::from_ms(ago_ms(300)), Timestamp::from_s(NOW_S));
        let text = "SELECT count(*) FROM odd_values WHERE $__range".to_owned();
        let query = SqlQuery { text, range: Some(range), ..SqlQuery::default() };
        let answer = block_on(fixture.engine.sql(query)).unwrap();
        assert_eq!(answer.rows_json().unwrap(), "[[8]]", "{place}");
    });
}

#[test]
fn conditions_reach_the_scan_and_prune_files() {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    fixture.flush();
    fill(&fixture, 1);
    fixture.flush();
    let plan = |text: &str| fixture.rows(&format!("EXPLAIN {text}"));
    let files = |plan: &str| plan.matches(".parquet").count();
    let all = plan("SELECT value FROM metrics");
    assert!(files(&all) >= 2, "{all}");
    let late = plan("SELECT value FROM metrics WHERE time >= TIMESTAMP '2026-11-23T11:55:00Z'");
    assert!(files(&late) < files(&all), "{late}");
    assert!(late.contains("predicate=") && late.contains("time@"), "{late}");
    assert!(!late.contains("FilterExec"), "the scan applies the condition itself: {late}");
    let other = plan("SELECT value FROM metrics WHERE metric = 'no.such'");
    assert_eq!(files(&other), 0, "{other}");
    let one = plan("SELECT value FROM metrics WHERE metric = 'ended' AND service_name = 'shop'");
    assert!(one.contains("series_id@") && one.contains("metric@"), "{one}");
    let narrow = plan("SELECT value FROM \"system.cpu.time\" WHERE \"cpu.mode\" = 'idle' LIMIT 3");
    assert!(!narrow.contains("v_f64@") || narrow.contains("projection"), "{narrow}");
    assert!(narrow.contains("limit=3") || narrow.contains("fetch=3"), "{narrow}");
}

#[test]
fn histograms_are_tables_too() {
    let fixture = Fixture::new();
    let resource = fixture.resource("shop", "a");
    let id = fixture.series("req.duration", &[("route", "/x")], resource, MetricKind::Histogram);
    fixture.histogram(id, ago_ms(60), [1.0, 2.0, 3.0], 9.5);
    for place in ["in memory", "flushed"] {
        let check = |text: &str, expected: &str| {
            assert_eq!(fixture.rows(text), expected, "{place}: {text}");
        };
        check(
            "SELECT metric, count, sum, attr(labels, 'route') FROM histograms",
            r#"[["req.duration",6.0,9.5,"/x"]]"#,
        );
        check("SELECT count, route, service_name FROM \"req.duration\"", r#"[[6.0,"/x","shop"]]"#);
        check(
            "SELECT bucket, count FROM hist_buckets ORDER BY bucket",
            "[[0,1.0],[1,2.0],[2,3.0]]",
        );
        check("SELECT bounds FROM hist_bounds", "[[[0.1,1.0]]]");
        fixture.flush();
    }
}

#[test]
fn unknown_names_come_with_a_place_and_near_ones() {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    let fault = |text: &str| fixture.sql(text).expect_err(text);
    let error = fault("SELECT *\nFROM sample");
    assert_eq!(error.to_string(), "there is no table \"sample\"");
    assert_eq!(error.hint().unwrap(), "did you mean samples, samples_1h, samples_5m?");
    let position = error.position().unwrap();
    assert_eq!((position.line, position.column), (2, 6));
    let error = fault("SELECT * FROM \"system.cpu.tim\"");
    assert_eq!(error.hint().unwrap(), "did you mean \"system.cpu.time\"?");
    let error = fault("SELECT time, valeu FROM metrics");
    assert_eq!(error.hint().unwrap(), "did you mean value?", "{error:?}");
    assert_eq!(error.position().unwrap().column, 14);
    assert_eq!(fault("SELECT nofunction(1)").kind(), ErrorKind::Invalid);
    assert_eq!(fault("SELECT 1 / 0").kind(), ErrorKind::Invalid);
    assert_eq!(fault("SELECT attr('x')").kind(), ErrorKind::Invalid);
}

#[test]
fn the_catalog_describes_itself() {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    let tables = fixture.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
    );
    for name in ["metrics", "logs", "spans", "samples", "histograms", "system.cpu.time"] {
        assert!(tables.contains(&format!("\"{name}\"")), "{name}: {tables}");
    }
    assert!(fixture.rows("SHOW TABLES").contains("odd.values"));
    let columns = fixture.rows("DESCRIBE \"system.cpu.time\"");
    assert!(columns.contains("cpu.mode") && columns.contains("host_name"), "{columns}");
    // Every table can be read whole, however little is in it.
    for table in [
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
    ] {
        fixture.rows(&format!("SELECT * FROM {table}"));
    }
}

#[test]
fn logs_are_a_table_with_attributes_and_readable_ids() {
    let fixture = Fixture::new();
    fixture.logs(&[
        Log {
            s_ago: 20,
            service: "cart",
            severity: 9,
            body: "ok",
            attributes: &[("k", "1")],
            trace: None,
        },
        Log {
            s_ago: 10,
            service: "cart",
            severity: 17,
            body: "bad",
            attributes: &[("k", "2")],
            trace: Some(0xab),
        },
    ]);
    for place in ["in memory", "flushed"] {
        let id = "ab".repeat(16);
        let check = |text: &str, expected: &str| {
            assert_eq!(fixture.rows(text), expected, "{place}: {text}");
        };
        check(&format!("SELECT body FROM logs WHERE trace_id = '{id}'"), r#"[["bad"]]"#);
        check(&format!("SELECT body FROM logs WHERE trace_id IN ('{id}', 'x')"), r#"[["bad"]]"#);
        check("SELECT body FROM logs WHERE trace_id = 'no id'", "[]");
        check("SELECT body FROM logs WHERE attr(attributes, 'k') = '1'", r#"[["ok"]]"#);
        check("SELECT body FROM logs WHERE attributes['k'] = '2'", r#"[["bad"]]"#);
        check("SELECT attributes FROM logs ORDER BY time LIMIT 1", r#"[[{"k":"1"}]]"#);
        check("SELECT trace_id FROM logs WHERE trace_id IS NOT NULL", &format!("[[\"{id}\"]]"));
        fixture.flush();
    }
}

#[test]
fn a_damaged_segment_is_left_out_and_the_answer_says_so() {
    let mut damaged = 0;
    for part in 0..12 {
        let fixture = Fixture::new();
        fill(&fixture, 0);
        fixture.flush();
        let segments = fixture.store.snapshot().segments(Table::Samples, TimeRange::ALL);
        let path = &segments[0].path;
        let text = "SELECT count(value), sum(value) FROM metrics";
        let answer = fixture.rows(text);
        let mut bytes = std::fs::read(path).unwrap();
        let at = (bytes.len() - 1) * part / 11;
        bytes[at] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
        // An engine and a store that remember nothing: these keep the footers they have read.
        store::set_cache_limit(0);
        let engine = crate::Engine::new(fixture.store.clone(), Config::default()).unwrap();
        let query = SqlQuery { text: text.to_owned(), ..SqlQuery::default() };
        let found = block_on(engine.sql(query)).unwrap();
        if found.warnings.is_empty() {
            // Whether a bit is found depends on what reads it, but never is the answer another one.
            assert_eq!(found.rows_json().unwrap(), answer, "byte {at}");
            continue;
        }
        damaged += 1;
        assert_ne!(found.rows_json().unwrap(), answer, "byte {at}");
        let warning = &found.warnings[0];
        assert!(warning.contains(path.to_str().unwrap()), "{warning}");
        assert!(
            warning.starts_with(&format!("{} rows of samples from 2026-11-23T", segments[0].rows))
        );
        assert_eq!(fixture.store.stats().quarantined_segments, 1);
        let query = InstantQuery {
            expr: "count_over_time({__name__=~\".+\"}[1d])".to_owned(),
            at_ms: NOW_S * 1_000,
            ..InstantQuery::default()
        };
        let warnings = block_on(engine.instant(query)).unwrap().warnings;
        assert!(warnings.contains(warning), "{warnings:?}");
    }
    assert!(damaged > 3, "{damaged}");
}

#[test]
fn rows_are_cut_at_the_limit_and_the_answer_says_so() {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    let ask = |rows_max| {
        let text = "SELECT value FROM samples_view ORDER BY 1".replace("samples_view", "metrics");
        block_on(fixture.engine.sql(SqlQuery { text, rows_max, ..SqlQuery::default() })).unwrap()
    };
    let cut = ask(Some(5));
    assert_eq!((cut.stats.rows, cut.truncated), (5, true));
    let whole = ask(Some(18));
    assert_eq!((whole.stats.rows, whole.truncated), (18, false));
    assert!(!ask(None).truncated);
    let explained =
        SqlQuery { text: "EXPLAIN SELECT 1".to_owned(), rows_max: Some(1), ..SqlQuery::default() };
    assert!(block_on(fixture.engine.sql(explained)).unwrap().stats.rows == 1);
}

#[test]
fn hostile_queries_end() {
    let config = Config { threads: 2, memory_bytes_max: 8 << 20, ..Config::default() };
    let fixture = Fixture::with(config);
    let time = Some(Duration::from_millis(300));
    let slow = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a.value % 7 = b.value";
    let query = SqlQuery { text: slow.to_owned(), timeout: time, ..SqlQuery::default() };
    let error = block_on(fixture.engine.sql(query)).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. } | Error::Exhausted(_)), "{error:?}");
    let big = "SELECT a.value, count(*) FROM generate_series(1, 500000) a GROUP BY 1 ORDER BY 2";
    let error = fixture.sql(big).map(|answer| answer.stats);
    assert!(matches!(error, Ok(_) | Err(Error::Exhausted(_) | Error::Timeout { .. })), "{error:?}");
    for text in [
        "SELECT repeat('x', 1000000000)",
        "SELECT lpad('x', 2000000000)",
        "SELECT range(1, 100000000000)",
        "SELECT sum(length(repeat('x', value))) FROM generate_series(1, 2000000)",
    ] {
        let error = fixture.sql(text).map(|answer| answer.stats).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{text}: {error:?}");
    }
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    assert_eq!(fixture.sql(&long).unwrap_err().kind(), ErrorKind::Invalid);
    let chain = |n: usize| format!("SELECT 1{}", " + 1".repeat(n));
    assert_eq!(fixture.rows(&chain(300)), "[[301]]");
    assert_eq!(fixture.sql(&chain(1_500)).unwrap_err().kind(), ErrorKind::Invalid);
    let either = vec!["true"; 1_500].join(" OR ");
    assert_eq!(fixture.rows(&format!("SELECT 1 WHERE {either}")), "[[1]]");
    let list = vec!["1"; 50_000].join(",");
    assert_eq!(fixture.rows(&format!("SELECT 1 WHERE 1 IN ({list})")), "[[1]]");
}

#[test]
fn queries_just_within_the_limits_are_planned() {
    let fixture = Fixture::new();
    let all = format!("SELECT count(*) FROM (SELECT 1{})", " UNION ALL SELECT 1".repeat(200));
    assert_eq!(fixture.rows(&all), "[[201]]");
    let columns: Vec<String> = (0..2_001).map(|i| i.to_string()).collect();
    let answer = fixture.sql(&format!("SELECT {}", columns.join(","))).unwrap();
    assert_eq!(answer.schema.fields().len(), 2_001);
    let columns = columns.join(",");
    assert!(fixture.rows(&format!("SELECT 7 WHERE 2000 IN ({columns})")).contains('7'));
}

/// Recursion without an end, and joins that give a thread back to nobody for hours: without a condition, with one that
/// is never true, and with one key for all rows.
const ENDLESS: [&str; 6] = [
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n % 7 FROM r) SELECT count(*) FROM r",
    "SELECT count(*) FROM generate_series(1, 1000000) a LEFT JOIN generate_series(1, 300000) b ON a.value > b.value",
    "SELECT count(DISTINCT a.value % 2) FROM generate_series(1, 1000000) a JOIN generate_series(1, 300000) b \
     ON a.value % 1 = b.value % 1",
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 300000) b",
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 300000) b WHERE a.value + b.value < 0",
    "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 300000) b \
     ON a.value % 1 = b.value % 1 AND a.value + b.value < 0",
];

#[test]
fn queries_that_never_end_delay_nobody_and_give_their_threads_back() {
    let config = Config {
        threads: 2,
        queries_max: ENDLESS.len(),
        timeout: Duration::from_secs(60),
        ..Config::default()
    };
    let fixture = Fixture::with(config);
    let timeout = Some(Duration::from_millis(500));
    let ask = |text: &str, timeout| {
        fixture.engine.sql(SqlQuery { text: text.to_owned(), timeout, ..SqlQuery::default() })
    };
    let endless = futures::future::join_all(ENDLESS.map(|text| ask(text, timeout)));
    // Every slot is taken, so this waits for one.
    let after = ask("SELECT 1", None);
    let rule = fixture
        .engine
        .instant(InstantQuery { expr: "vector(1)".to_owned(), ..InstantQuery::default() });
    let (endless, after, rule) = block_on(async { futures::join!(endless, after, rule) });
    for (text, answer) in ENDLESS.iter().zip(endless) {
        let error = answer.map(|answer| answer.rows_json()).expect_err(text);
        assert!(matches!(error, Error::Timeout { .. }), "{text}: {error:?}");
    }
    assert_eq!(after.unwrap().stats.rows, 1);
    rule.unwrap();
    // A slot is only given back by work that really ended.
    let n = u32::try_from(ENDLESS.len()).unwrap();
    let is_idle = fixture.engine.workers.is_idle_within(Duration::from_secs(20), n);
    assert!(block_on(is_idle), "some work goes on");
}

#[test]
fn a_dropped_question_frees_its_slot() {
    let fixture = Fixture::with(Config { threads: 2, queries_max: 1, ..Config::default() });
    let slow = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b WHERE a.value % 7 = b.value % 3";
    let query = SqlQuery { text: slow.to_owned(), ..SqlQuery::default() };
    let mut asked = fixture.engine.sql(query);
    // Polled once, so that the work has begun, then dropped.
    let waker = futures::task::noop_waker();
    assert!(asked.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    drop(asked);
    assert_eq!(fixture.rows("SELECT 1"), "[[1]]");
}

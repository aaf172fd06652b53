//! Samples of every bit pattern a value can have, at every level.

use std::collections::BTreeMap;

use load::fleet::Rng;
use model::id::{ResourceId, TenantId};
use model::metric::{Labels, MetricKind, STALE_NAN_BITS, SeriesDef, Temporality};
use store::schema::Table;
use store::{Ingest, Samples};

use super::{Bench, HOUR_MS, START_MS, value};

const TENANT: TenantId = TenantId(0);
/// Samples of a series.
const N: i64 = 240;

/// Series by name: how they are said to move, and their values as bits.
fn patterns() -> Vec<(String, MetricKind, Vec<u64>)> {
    let edge = 9_007_199_254_740_992.0_f64; // 2^53, where integers end to be exact.
    let odd = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        edge - 1.0,
        edge,
        edge + 2.0,
        1.0 - edge,
        -edge,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        f64::EPSILON,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.1 + 0.2,
    ]
    .map(f64::to_bits);
    let nans = [
        f64::NAN.to_bits(),
        STALE_NAN_BITS,
        0x7ff0_0000_0000_0001,
        0xfff8_dead_beef_0001,
        u64::MAX,
    ];
    let all: Vec<u64> = odd.into_iter().chain(nans).collect();
    let mut rng = Rng(11);
    let mut series = Vec::new();
    let mut put = |name: String, kind, make: &mut dyn FnMut(i64) -> u64| {
        series.push((name, kind, (0..N).map(make).collect::<Vec<u64>>()));
    };
    put("odd".to_owned(), MetricKind::Gauge, &mut |i| all[usize::try_from(i).unwrap() % all.len()]);
    put("random".to_owned(), MetricKind::Gauge, &mut |_| rng.bits());
    for power in 0..=15 {
        let ten = 10_f64.powi(power);
        // A division and a product are different numbers: both are seen in the wild.
        put(format!("divided_{power}"), MetricKind::Gauge, &mut |i| {
            ((i * i - 1_000) as f64 / ten).to_bits()
        });
        put(format!("multiplied_{power}"), MetricKind::Gauge, &mut |i| {
            ((i * 7 - 300) as f64 * 10_f64.powi(-power)).to_bits()
        });
        put(format!("large_{power}"), MetricKind::Gauge, &mut |i| (i as f64 * ten).to_bits());
    }
    put("constant".to_owned(), MetricKind::Gauge, &mut |_| 42.5_f64.to_bits());
    put("minus_zero".to_owned(), MetricKind::Gauge, &mut |i| {
        if i % 3 == 0 { (-0.0_f64).to_bits() } else { 0.0_f64.to_bits() }
    });
    for (name, kind) in [("resets", MetricKind::Counter), ("unknown", MetricKind::Unknown)] {
        put(name.to_owned(), kind, &mut |i| ((i % 90) as f64 * 1e9 + 0.25).to_bits());
    }
    put("stops".to_owned(), MetricKind::Counter, &mut |i| match i % 20 {
        19 => STALE_NAN_BITS,
        _ => (i as f64).to_bits(),
    });
    series
}

fn definition(metric: &str, kind: MetricKind) -> SeriesDef {
    SeriesDef {
        metric: metric.to_owned(),
        prom_name: metric.to_owned(),
        labels: Labels::default(),
        prom_labels: Labels::default(),
        resource_id: ResourceId(0),
        kind,
        temporality: Temporality::Cumulative,
        unit: String::new(),
        help: String::new(),
    }
}

/// When sample `i` was taken: two hours are touched, and no two steps are alike.
fn time_ms(i: i64) -> i64 {
    START_MS - HOUR_MS / 2 + i * 15_000 + i % 7
}

type Rows = BTreeMap<(String, i64), (String, Option<i64>, i64)>;

async fn put(bench: &Bench, rows: std::ops::Range<i64>, expected: &mut Rows) {
    let mut samples = Samples::default();
    for (name, kind, values) in patterns() {
        let at = bench.store.resolve(TENANT, &definition(&name, kind)).unwrap().at;
        for i in rows.clone() {
            let bits = values[usize::try_from(i).unwrap()];
            let is_stale = bits == STALE_NAN_BITS;
            let start = (kind == MetricKind::Counter).then_some(START_MS - HOUR_MS + i / 90);
            samples.series.push(at);
            samples.times.push(time_ms(i));
            samples.values.push(f64::from_bits(bits));
            samples.starts.push(start.unwrap_or(i64::MIN));
            samples.flags.push(is_stale.into());
            let row = (format!("{bits:016x}"), start, i64::from(is_stale));
            expected.insert((name.clone(), time_ms(i)), row);
        }
    }
    bench.store.ingest(Ingest { tenant: TENANT, samples, ..Ingest::default() }).await.unwrap();
    bench.store.flush().await.unwrap();
}

async fn check(bench: &Bench, expected: &Rows, when: &str) {
    let statement = format!(
        "SELECT metric, epoch_ms(time), {}, epoch_ms(start_time), flags FROM {{samples}}",
        value("")
    );
    let mut found = Rows::new();
    for row in bench.duckdb(&statement).await {
        let text = |i: usize| row[i].as_str().unwrap().to_owned();
        let facts = (text(2), row[3].as_i64(), row[4].as_i64().unwrap());
        let before = found.insert((text(0), row[1].as_i64().unwrap()), facts);
        assert_eq!(before, None, "{when}: {row:?} twice");
    }
    for (key, row) in expected {
        assert_eq!(found.get(key), Some(row), "{when}: {key:?}");
    }
    assert_eq!(found.len(), expected.len(), "{when}");
}

#[tokio::test]
async fn duckdb_reads_the_bits_of_every_sample() {
    let bench = Bench::new().await;
    let mut expected = Rows::new();
    for part in 0..4 {
        put(&bench, part * N / 4..(part + 1) * N / 4, &mut expected).await;
    }
    assert_eq!(bench.levels(Table::Samples), (0, 0));
    check(&bench, &expected, "after flushes").await;
    bench.settle(2).await;
    assert!(bench.levels(Table::Samples).0 >= 1, "hours are merged");
    check(&bench, &expected, "hours merged").await;
    bench.settle(48).await;
    check(&bench, &expected, "days merged").await;
    bench.store.shutdown().await.unwrap();
}

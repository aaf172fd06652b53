//! The series every target has, whatever it exposes: `up` and its kin.

use std::sync::{Arc, LazyLock};

use model::metric::{Labels, STALE_NAN_BITS};

use crate::remote_write::{Kind, Meta, Point, Value};

/// How a scrape went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub up: bool,
    pub duration_s: f64,
    pub scraped: usize,
    pub kept: usize,
    pub added: usize,
    /// Only with `extra_scrape_metrics`.
    pub extra: Option<Extra>,
}

/// What `extra_scrape_metrics` adds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extra {
    pub timeout_s: f64,
    pub sample_limit: u64,
    /// Bytes of the body, uncompressed; `None` when it was over its limit.
    pub body_bytes: Option<usize>,
}

const SERIES: [(&str, &str); 5] = [
    ("up", "Health of the scrape target. 1 means the target is healthy, 0 if the scrape failed."),
    ("scrape_duration_seconds", "Duration of the last scrape in seconds."),
    ("scrape_samples_scraped", "Number of samples last scraped from the target."),
    (
        "scrape_samples_post_metric_relabeling",
        "Number of samples remaining after metric relabeling was applied.",
    ),
    ("scrape_series_added", "Number of series in the last scrape that were not in the one before."),
];
const EXTRA: [(&str, &str); 3] = [
    ("scrape_timeout_seconds", "The configured scrape timeout for a target."),
    (
        "scrape_sample_limit",
        "The configured sample limit for a target. Zero means there is no limit.",
    ),
    (
        "scrape_body_size_bytes",
        "The uncompressed size of the last scrape response. -1 means that body_size_limit was exceeded.",
    ),
];

static METAS: LazyLock<Vec<Arc<Meta>>> = LazyLock::new(|| {
    let meta = |(family, help): &(&str, &str)| {
        let unit = if family.ends_with("_seconds") { "seconds" } else { "" };
        Arc::new(Meta {
            family: (*family).to_owned(),
            kind: Kind::Gauge,
            help: (*help).to_owned(),
            unit: unit.to_owned(),
        })
    };
    SERIES.iter().chain(&EXTRA).map(meta).collect()
});

/// Labels of the report series of one target, made once.
#[derive(Debug)]
pub(crate) struct ReportSeries(Vec<Labels>);

impl ReportSeries {
    /// Those of a target with `labels`.
    pub(crate) fn new(labels: &Labels) -> Self {
        let named = |meta: &Arc<Meta>| {
            let own = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            own.chain([("__name__".to_owned(), meta.family.clone())]).collect()
        };
        Self(METAS.iter().map(named).collect())
    }

    /// The samples of a scrape at `at_ms`.
    #[expect(clippy::cast_precision_loss, reason = "no scrape has 2^53 samples")]
    pub(crate) fn points(&self, report: &Report, at_ms: i64) -> Vec<Point> {
        let mut values = vec![
            f64::from(u8::from(report.up)),
            report.duration_s,
            report.scraped as f64,
            report.kept as f64,
            report.added as f64,
        ];
        if let Some(extra) = report.extra {
            let body = extra.body_bytes.map_or(-1.0, |bytes| bytes as f64);
            values.extend([extra.timeout_s, extra.sample_limit as f64, body]);
        }
        self.with(&values, at_ms)
    }

    /// Their ends.
    pub(crate) fn ends(&self, has_extra: bool, at_ms: i64) -> Vec<Point> {
        let n = SERIES.len() + if has_extra { EXTRA.len() } else { 0 };
        self.with(&vec![f64::from_bits(STALE_NAN_BITS); n], at_ms)
    }

    fn with(&self, values: &[f64], at_ms: i64) -> Vec<Point> {
        let parts = self.0.iter().zip(METAS.iter()).zip(values);
        let point = |((labels, meta), value): ((&Labels, &Arc<Meta>), &f64)| Point {
            labels: labels.clone(),
            meta: Some(Arc::clone(meta)),
            at_ms,
            start_ms: 0,
            value: Value::Float(*value),
            exemplars: Vec::new(),
        };
        parts.map(point).collect()
    }
}

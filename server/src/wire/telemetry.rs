//! What we know of ourselves: the rate of ingest for the dashboard, and our own numbers as series in the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use model::metric::{Labels, MetricKind};
use model::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::record::{Point, record};
use crate::http::App;
use crate::own;

/// Between two looks at the counters.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two recordings of our own series.
const RECORD_EVERY: u64 = 10;
/// How far back the rate looks, in ticks.
const WINDOW: usize = 60;

/// Samples a second over the last minute, kept from a counter.
#[derive(Debug, Default)]
pub struct Rate {
    /// (instant, samples accepted so far), oldest first.
    seen: Mutex<VecDeque<(Timestamp, u64)>>,
}

impl Rate {
    fn push(&self, now: Timestamp, total: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push_back((now, total));
        while seen.len() > WINDOW {
            seen.pop_front();
        }
    }

    /// Samples a second; 0 until two looks were taken.
    pub fn per_second(&self) -> f64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((t0, n0)), Some((t1, n1))) = (seen.front(), seen.back()) else { return 0.0 };
        let ns = t1.0 - t0.0;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = n1.saturating_sub(*n0) as f64 * 1e9 / ns as f64;
        if ns > 0 { rate } else { 0.0 }
    }
}

/// Looks every second, records every tenth, until stopped.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) -> Result<()> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for n_ticks in 0_u64.. {
        tokio::select! {
            biased; // Stop wins.
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let now = app.clock.now();
        app.rate.push(now, app.collector.stats().metrics.accepted);
        if n_ticks % RECORD_EVERY == 0 {
            let points: Vec<Point> =
                own::samples(&app).into_iter().map(|s| point(&app, s, now)).collect();
            if let Err(error) = record(&app.store, &points).await {
                tracing::warn!(%error, "our own metrics were not stored");
            }
        }
    }
    Ok(())
}

fn point(app: &App, sample: own::Sample, now: Timestamp) -> Point {
    let identity = [("job", "headrope".to_owned()), ("instance", app.addresses.http.to_string())];
    let labels: Labels = identity
        .into_iter()
        .chain(sample.labels.iter().cloned())
        .map(|(k, v)| (k.to_owned(), v))
        .collect();
    let kind = if sample.is_counter() { MetricKind::Counter } else { MetricKind::Gauge };
    let start = sample.is_counter().then_some(app.started);
    Point { name: sample.name.to_owned(), labels, kind, at: now, start, value: sample.value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_over_the_window() {
        let rate = Rate::default();
        assert!(rate.per_second().abs() < f64::EPSILON);
        for s in 0..100_i64 {
            rate.push(Timestamp::from_s(s), u64::try_from(s * 50).unwrap());
        }
        assert!((rate.per_second() - 50.0).abs() < 1e-9);
    }
}

//! Our own telemetry: the numbers behind `/metrics`, which also go back in by the one door, as series.

use std::fmt::Write;

use crate::http::App;

/// One number about ourselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name; ends in `_total` for counters.
    pub name: &'static str,
    /// Labels; names and values come from bounded sets.
    pub labels: Vec<(&'static str, String)>,
    /// Present value.
    pub value: f64,
}

impl Sample {
    fn new(name: &'static str, value: u64) -> Self {
        Self { name, labels: Vec::new(), value: float(value) }
    }

    fn with(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((label, value.into()));
        self
    }

    /// Whether it only grows.
    #[must_use]
    pub fn is_counter(&self) -> bool {
        self.name.ends_with("_total")
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts past 2^53 are beyond any process's life")]
const fn float(value: u64) -> f64 {
    value as f64
}

/// Every number, grouped by name.
#[must_use]
pub fn samples(app: &App) -> Vec<Sample> {
    let mut out = vec![
        Sample::new("headrope_build_info", 1).with("version", env!("CARGO_PKG_VERSION")),
        Sample { value: process_start(app), ..Sample::new("process_start_time_seconds", 0) },
        Sample::new("process_resident_memory_bytes", resident_bytes()),
        Sample { value: cpu_seconds(), ..Sample::new("process_cpu_seconds_total", 0) },
    ];
    let reloader = &app.reloader;
    out.push(Sample::new(
        "headrope_config_last_reload_successful",
        u64::from(reloader.is_successful()),
    ));
    let at = reloader.succeeded_at().s();
    out.push(Sample::new(
        "headrope_config_last_reload_success_timestamp_seconds",
        u64::try_from(at).unwrap_or(0),
    ));
    store(&mut out, &app.store.stats());
    out.push(Sample::new("headrope_query_running", app.engine.running().len() as u64));
    out.push(Sample::new("headrope_query_log_dropped_total", app.log_dropped.total()));
    for counter in app.collector.stats().counters() {
        let mut sample = Sample::new(counter.name, counter.value);
        for (label, value) in counter.attributes {
            sample = sample.with(label, value);
        }
        out.push(sample);
    }
    for counter in app.scrape.counters() {
        let sample = Sample::new(counter.name, counter.value);
        out.push(match counter.label {
            Some((label, value)) => sample.with(label, value),
            None => sample,
        });
    }
    notifications(&mut out, app);
    actions(&mut out, app);
    out.sort_by(|a, b| (a.name, &a.labels).cmp(&(b.name, &b.labels)));
    out
}

/// What is held for notification, and what became of it.
fn notifications(out: &mut Vec<Sample>, app: &App) {
    let (counts, sizes) =
        app.notify.dispatcher.look(|router, _| (router.counts().clone(), router.sizes()));
    for (what, count) in sizes {
        out.push(Sample::new("headrope_notify_held", count as u64).with("what", what));
    }
    out.push(Sample::new("headrope_notify_alerts_received_total", counts.received));
    out.push(Sample::new("headrope_notify_flushes_total", counts.flushes));
    for (reason, count) in counts.refused {
        out.push(Sample::new("headrope_notify_alerts_refused_total", count).with("reason", reason));
    }
    for (reason, count) in counts.suppressed {
        out.push(Sample::new("headrope_notify_suppressed_total", count).with("reason", reason));
    }
    for (kind, counts) in app.notify.channels.counts() {
        for (name, value) in [
            ("headrope_notify_messages_total", counts.messages),
            ("headrope_notify_delivered_total", counts.delivered),
            ("headrope_notify_failed_total", counts.failed),
            ("headrope_notify_retries_total", counts.retries),
            ("headrope_notify_refused_addresses_total", counts.refused_addresses),
        ] {
            out.push(Sample::new(name, value).with("integration", kind.as_str()));
        }
    }
}

/// What was decided about incidents, and what is held.
fn actions(out: &mut Vec<Sample>, app: &App) {
    let (decisions, overflow) = app.actions.decisions();
    for (decision, reason, count) in decisions {
        let sample = Sample::new("headrope_action_decisions_total", count);
        out.push(sample.with("decision", decision).with("reason", reason));
    }
    let (held, illegal) = app.actions.counts();
    out.push(Sample::new("headrope_action_overrides", held as u64));
    out.push(Sample::new("headrope_action_illegal_arrows_total", illegal));
    out.push(Sample::new("headrope_action_incidents_dropped_total", overflow));
}

fn store(out: &mut Vec<Sample>, stats: &store::Stats) {
    for (name, value) in [
        ("headrope_store_wal_syncs_total", stats.wal_syncs_total),
        ("headrope_store_wal_records_total", stats.wal_records_total),
        ("headrope_store_wal_written_bytes_total", stats.wal_bytes_total),
        ("headrope_store_wal_queue_bytes", stats.wal_queue_bytes),
        ("headrope_store_wal_behind_bytes", stats.wal_behind_bytes),
        ("headrope_store_wal_poisoned", u64::from(stats.wal_poisoned)),
        ("headrope_store_repeated_batches_total", stats.repeated_batches_total),
        ("headrope_store_disk_full", u64::from(stats.disk_full)),
        ("headrope_store_head_bytes", stats.head_bytes),
        ("headrope_store_head_rows", stats.head_rows),
        ("headrope_store_series", stats.series),
        ("headrope_store_flushes_total", stats.flushes_total),
        ("headrope_store_flush_failures_total", stats.flush_failures_total),
        ("headrope_store_compactions_total", stats.compactions_total),
        ("headrope_store_compact_lag_seconds", stats.compact_lag_s),
        ("headrope_store_quarantined_segments", stats.quarantined_segments),
    ] {
        out.push(Sample::new(name, value));
    }
    for retained in &stats.retained {
        for (name, value) in [
            ("headrope_store_retained_segments_total", retained.segments_total),
            ("headrope_store_retained_bytes_total", retained.bytes_total),
        ] {
            let sample = Sample::new(name, value).with("table", retained.table);
            out.push(sample.with("reason", retained.reason));
        }
    }
    for (limit, count) in &stats.refused_total {
        out.push(Sample::new("headrope_store_refused_total", *count).with("limit", *limit));
    }
    for (name, value) in [
        ("headrope_memory_limit_bytes", stats.memory.limit),
        ("headrope_memory_resident_bytes", stats.memory.resident),
        ("headrope_memory_resident_max_bytes", stats.memory.resident_max),
    ] {
        out.push(Sample::new(name, value));
    }
    for share in &stats.memory.shares {
        for (name, value) in [
            ("headrope_memory_share_bytes", share.size),
            ("headrope_memory_held_bytes", share.held),
            ("headrope_memory_refused_total", share.refused_total),
        ] {
            out.push(Sample::new(name, value).with("share", share.share));
        }
    }
    for table in &stats.tables {
        for (name, value) in [
            ("headrope_store_segments", table.segments),
            ("headrope_store_segment_rows", table.segment_rows),
            ("headrope_store_segment_bytes", table.segment_bytes),
            ("headrope_store_ingested_rows_total", table.ingested_rows_total),
        ] {
            out.push(Sample::new(name, value).with("table", table.table));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time to the millisecond needs 41 bits")]
fn process_start(app: &App) -> f64 {
    app.started.ms() as f64 / 1000.0
}

/// Resident memory of this process, from the second field of `/proc/self/statm`; 0 where there is none.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// User and system time of this process, from fields 14 and 15 of `/proc/self/stat`; 0 where there is none.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split(' ').skip(12).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    float(ticks) / float(rustix::param::clock_ticks_per_second())
}

/// Prometheus text format 0.0.4.
#[must_use]
pub fn exposition(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut family = "";
    for sample in samples {
        if sample.name != family {
            family = sample.name;
            let kind = if sample.is_counter() { "counter" } else { "gauge" };
            let _infallible = writeln!(text, "# TYPE {family} {kind}");
        }
        text.push_str(sample.name);
        if !sample.labels.is_empty() {
            let pairs = sample.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
            let _infallible = write!(text, "{{{}}}", pairs.collect::<Vec<_>>().join(","));
        }
        let _infallible = writeln!(text, " {}", sample.value);
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn families_have_one_type_line() {
        let one = |signal| Sample::new("headrope_x_total", 3).with("signal", signal);
        let samples = [Sample::new("headrope_a", 1), one("logs"), one("traces")];
        expect![[r#"
            # TYPE headrope_a gauge
            headrope_a 1
            # TYPE headrope_x_total counter
            headrope_x_total{signal="logs"} 3
            headrope_x_total{signal="traces"} 3
        "#]]
        .assert_eq(&exposition(&samples));
    }

    #[test]
    fn this_process_has_memory_and_time() {
        assert!(resident_bytes() > 1 << 20);
        assert!(cpu_seconds() >= 0.0);
    }
}

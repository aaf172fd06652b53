//! What is too old to keep, or too much. Pure computation; whole windows end, never parts of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::id::TenantId;
use model::time::Timestamp;

use crate::config::Config;
use crate::schema::Table;
use crate::segment::read::Segment;
use crate::segment::write::Window;

/// Why segments end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// All of their window is older than its signal is kept.
    Age,
    /// Everything together takes more bytes than it may, and theirs is the oldest window.
    Bytes,
}

impl Reason {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Bytes => "bytes",
        }
    }
}

/// What is kept as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Signal {
    Metrics,
    Logs,
    Traces,
    /// Of metrics: kept for longer, small.
    Rollups,
}

/// `None` for definitions, which others refer to.
fn signal(table: Table) -> Option<Signal> {
    match table {
        Table::Logs => Some(Signal::Logs),
        Table::Spans | Table::TraceIndex => Some(Signal::Traces),
        Table::Samples | Table::HistPoints | Table::HistBuckets | Table::Exemplars => {
            Some(Signal::Metrics)
        }
        Table::Samples5m | Table::Samples1h => Some(Signal::Rollups),
        Table::Series | Table::Resources | Table::HistBounds => None,
    }
}

/// How long rows of `table` are kept.
fn keep(config: &Config, tenant: TenantId, table: Table) -> Duration {
    let own = config.retain_tenants.get(&tenant.0.to_string());
    let of = |pick: fn(&crate::config::TenantRetention) -> Option<Duration>, all: Duration| {
        own.and_then(pick).unwrap_or(all)
    };
    let samples = of(|own| own.samples, config.retain_samples);
    let logs = of(|own| own.logs, config.retain_logs);
    let spans = of(|own| own.spans, config.retain_spans);
    match signal(table) {
        Some(Signal::Metrics) => samples,
        Some(Signal::Logs) => logs,
        Some(Signal::Traces) => spans,
        Some(Signal::Rollups) if table == Table::Samples5m => config.retain_rollup_5m.max(samples),
        Some(Signal::Rollups) => config.retain_rollup_1h.max(samples),
        // Definitions outlive whatever refers to them.
        None => {
            let rollups = config.retain_rollup_5m.max(config.retain_rollup_1h);
            rollups.max(samples).max(logs).max(spans)
        }
    }
}

/// The segments that end at `now`, each with the reason.
pub(crate) fn over(
    segments: &[Arc<Segment>],
    config: &Config,
    now: Timestamp,
) -> Vec<(Arc<Segment>, Reason)> {
    let is_old = |segment: &Arc<Segment>| {
        let facts = segment.facts();
        let age = i64::try_from(keep(config, facts.tenant, facts.table).as_nanos());
        facts.window.end() < now.0.saturating_sub(age.unwrap_or(i64::MAX))
    };
    let (old, mut kept): (Vec<_>, Vec<_>) = segments.iter().cloned().partition(is_old);
    let mut ended: Vec<_> = old.into_iter().map(|segment| (segment, Reason::Age)).collect();
    for limit in limits(config) {
        for window in limit.over(&kept, now) {
            ended.extend(window.iter().map(|segment| (Arc::clone(segment), Reason::Bytes)));
            kept.retain(|segment| !window.iter().any(|gone| gone.id() == segment.id()));
        }
    }
    ended
}

/// Bytes that some segments may take together.
struct Limit {
    /// `None` for all.
    tenant: Option<TenantId>,
    signal: Option<Signal>,
    bytes_max: u64,
}

/// The limits of `config`, narrow ones first.
fn limits(config: &Config) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (tenant, own) in &config.retain_tenants {
        // The settings were checked: every key is a tenant's number. Without one this would be about all.
        if let Ok(id) = tenant.parse() {
            let tenant = Some(TenantId(id));
            limits.push(Limit { tenant, signal: None, bytes_max: own.bytes_max });
        }
    }
    for (signal, bytes_max) in [
        (Some(Signal::Metrics), config.retain_samples_bytes_max),
        (Some(Signal::Logs), config.retain_logs_bytes_max),
        (Some(Signal::Traces), config.retain_spans_bytes_max),
        (None, config.retain_bytes_max),
    ] {
        limits.push(Limit { tenant: None, signal, bytes_max });
    }
    limits.retain(|limit| limit.bytes_max > 0);
    limits
}

impl Limit {
    /// The oldest windows that must end; one that is still open stays.
    fn over(&self, segments: &[Arc<Segment>], now: Timestamp) -> Vec<Vec<Arc<Segment>>> {
        let mut bytes = 0;
        let mut windows: BTreeMap<(i64, TenantId, Signal, Window), Vec<Arc<Segment>>> =
            BTreeMap::new();
        for segment in segments {
            let facts = segment.facts();
            let signal = signal(facts.table);
            let is_meant = self.tenant.is_none_or(|tenant| tenant == facts.tenant)
                && (self.signal.is_none() || self.signal == signal);
            if !is_meant {
                continue;
            }
            bytes += facts.bytes + facts.sidecar_bytes;
            if let Some(signal) = signal.filter(|_| facts.window.end() <= now.0) {
                let key = (facts.window.end(), facts.tenant, signal, facts.window);
                windows.entry(key).or_default().push(Arc::clone(segment));
            }
        }
        let mut over = Vec::new();
        for window in windows.into_values() {
            if bytes <= self.bytes_max {
                break;
            }
            let size =
                |segment: &Arc<Segment>| segment.facts().bytes + segment.facts().sidecar_bytes;
            bytes -= window.iter().map(size).sum::<u64>();
            over.push(window);
        }
        over
    }
}

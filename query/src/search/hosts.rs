//! The hosts seen, and how each is doing by its newest samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use model::matcher::{MatchOp, Matcher};
use model::metric::is_stale;
use model::semconv;
use model::time::{TimeRange, Timestamp};
use store::scan::{ScanLimit, SeriesSamples};
use store::{Resource, Series};

use crate::catalog::View;
use crate::engine::Engine;
use crate::error::Error;

/// A host not heard of for this long is `unknown`.
const SILENT_NS: i64 = 60 * model::time::NS_PER_S;
/// How far back the newest samples are looked for.
const LOOKBACK_MS: i64 = 300_000;

/// The one figure that is no share.
const LOAD: &str = "load per CPU";

/// What is watched, and from which value on a host is in state warn and error.
///
/// CPU and memory alone never mean that work fails, a full file system does; load counts for each CPU.
const THRESHOLDS: [(&str, f64, f64); 4] = [
    ("CPU use", 0.90, 0.99),
    ("memory use", 0.90, 0.97),
    ("file system use", 0.85, 0.95),
    (LOAD, 2.0, 8.0),
];

/// How a host is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostState {
    /// Not heard of within the last minute of the range.
    #[default]
    Unknown,
    /// Nothing stands out.
    Ok,
    /// Something is high: CPU or memory from 90 %, a file system from 85 %, load from 2 a CPU.
    Warn,
    /// Something is nearly used up: CPU from 99 %, memory from 97 %, a file system from 95 %, load from 8 a CPU.
    Error,
}

impl HostState {
    /// The lower-case word used in APIs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A host and its newest figures; what its agent does not send is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// `host.name`.
    pub name: String,
    /// `host.id`; empty when unknown.
    pub host_id: String,
    /// `os.description`, else `os.type`; empty when unknown.
    pub os: String,
    /// `host.arch`; empty when unknown.
    pub arch: String,
    /// When anything of it was last heard of.
    pub last_seen: Option<Timestamp>,
    /// How it is doing.
    pub state: HostState,
    /// Why the state is not `ok`.
    pub reasons: Vec<String>,
    /// Share of CPU time not idle over the last seconds, 0 to 1.
    pub cpu_utilization: Option<f64>,
    /// Share of memory that programs cannot have, 0 to 1.
    pub memory_utilization: Option<f64>,
    /// Share in use of the fullest writable file system, 0 to 1.
    pub filesystem_utilization: Option<f64>,
    /// Runnable threads, average of a minute.
    pub load_1m: Option<f64>,
    /// Seconds since it was started.
    pub uptime_s: Option<f64>,
    /// Logical CPUs.
    pub cpus: Option<f64>,
}

impl Engine {
    /// The hosts heard of in `range`, by name. Their state is that at the end of the range.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`.
    pub fn hosts(&self, range: TimeRange) -> BoxFuture<'_, Result<Vec<Host>, Error>> {
        let window_ms = i64::try_from(self.config.host_window.as_millis()).unwrap_or(10_000);
        Box::pin(self.sound(move |view| {
            self.workers.run_blocking(self.config.timeout, move |_| hosts(&view, range, window_ms))
        }))
    }
}

fn hosts(view: &View, range: TimeRange, window_ms: i64) -> Result<Vec<Host>, Error> {
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    let mut host_of: BTreeMap<u64, String> = BTreeMap::new();
    for resource in view.snapshot.resources(view.tenant) {
        let is_heard = resource.last_time().is_some_and(|last| last >= range.start);
        let Some(name) = host_name(&resource).filter(|_| is_heard) else {
            continue;
        };
        host_of.insert(resource.id.0, name.to_owned());
        describe(hosts.entry(name.to_owned()).or_default(), name, &resource);
    }
    let to_ms = range.end.ms();
    let reader = Reader { view, host_of: &host_of, range_ms: (to_ms - LOOKBACK_MS, to_ms) };
    reader.cpu(&mut hosts, window_ms)?;
    reader.memory(&mut hosts)?;
    reader.filesystems(&mut hosts)?;
    reader.gauges(&mut hosts)?;
    Ok(hosts.into_values().map(|host| judged(host, range)).collect())
}

fn host_name(resource: &Resource) -> Option<&str> {
    resource.text(semconv::HOST_NAME).or_else(|| resource.text(semconv::HOST_ID))
}

/// Several resources may tell of one host: what one does not know another may.
fn describe(host: &mut Host, name: &str, resource: &Resource) {
    let fill = |slot: &mut String, keys: [&str; 2]| {
        if slot.is_empty() {
            let known = keys.iter().find_map(|key| resource.text(key));
            *slot = known.unwrap_or_default().to_owned();
        }
    };
    name.clone_into(&mut host.name);
    fill(&mut host.host_id, [semconv::HOST_ID, semconv::HOST_ID]);
    fill(&mut host.os, ["os.description", "os.type"]);
    fill(&mut host.arch, ["host.arch", "host.arch"]);
    host.last_seen = host.last_seen.max(resource.last_time());
}

/// A figure of a host.
type Slot = fn(&mut Host) -> &mut Option<f64>;

/// Reads the newest samples of a metric, by host.
struct Reader<'a> {
    view: &'a View,
    host_of: &'a BTreeMap<u64, String>,
    range_ms: (i64, i64),
}

impl Reader<'_> {
    /// Hands `take` the samples of every series of `metric` that belongs to a host, stale markers left out.
    fn each(
        &self,
        metric: &str,
        mut take: impl FnMut(&str, &Series, &[(i64, f64)]),
    ) -> Result<(), Error> {
        let matcher = Matcher::new("__name__", MatchOp::Equal, metric);
        let mut series = self.view.select_in(&[matcher], TimeRange::ALL)?;
        series.retain(|series| self.host_of.contains_key(&series.def.resource_id.0));
        self.scan(&series, |host, found| {
            let samples: Vec<(i64, f64)> =
                found.t.iter().copied().zip(found.v.iter().copied()).collect();
            // A series that ended has nothing to say about now.
            if samples.last().is_some_and(|(_, value)| !is_stale(*value)) {
                let valid: Vec<_> = samples.into_iter().filter(|(_, v)| !is_stale(*v)).collect();
                take(host, &found.series, &valid);
            }
        })
    }

    fn scan(
        &self,
        series: &[Arc<Series>],
        mut take: impl FnMut(&str, &SeriesSamples),
    ) -> Result<(), Error> {
        for found in self.view.snapshot.samples(series, self.range_ms, &ScanLimit::default())? {
            let found = found?;
            if let Some(host) = self.host_of.get(&found.series.def.resource_id.0) {
                take(host, &found);
            }
        }
        Ok(())
    }

    /// The newest value of each series of `metric`.
    fn newest(&self, metric: &str, mut take: impl FnMut(&str, &Series, f64)) -> Result<(), Error> {
        self.each(metric, |host, series, samples| {
            if let Some((_, value)) = samples.last() {
                take(host, series, *value);
            }
        })
    }

    /// CPU time not idle over CPU time, both over the last `window_ms` of each series.
    fn cpu(&self, hosts: &mut BTreeMap<String, Host>, window_ms: i64) -> Result<(), Error> {
        let mut times: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        self.each("system.cpu.time", |host, series, samples| {
            let grown = growth(samples, window_ms);
            let (idle, all) = times.entry(host.to_owned()).or_default();
            if matches!(series.def.labels.value("cpu.mode"), Some("idle" | "iowait")) {
                *idle += grown;
            }
            *all += grown;
        })?;
        for (name, (idle, all)) in times {
            if let Some(host) = hosts.get_mut(&name).filter(|_| all > 0.0) {
                host.cpu_utilization = Some((1.0 - idle / all).clamp(0.0, 1.0));
            }
        }
        Ok(())
    }

    /// What is not available of what there is; without the kernel's own estimate, what is in use.
    fn memory(&self, hosts: &mut BTreeMap<String, Host>) -> Result<(), Error> {
        let mut available = BTreeMap::new();
        self.newest("system.memory.linux.available", |host, _, value| {
            available.insert(host.to_owned(), value);
        })?;
        self.newest("system.memory.utilization", |host, series, value| {
            let state = series.def.labels.value("system.memory.state");
            if let Some(host) = hosts.get_mut(host).filter(|_| state == Some("used")) {
                host.memory_utilization = Some(value);
            }
        })?;
        self.newest("system.memory.limit", |host, _, limit| {
            let free = available.get(host);
            if let (Some(host), Some(free), true) = (hosts.get_mut(host), free, limit > 0.0) {
                host.memory_utilization = Some((1.0 - free / limit).clamp(0.0, 1.0));
            }
        })
    }

    /// The fullest file system; read-only images are always full and do not count.
    fn filesystems(&self, hosts: &mut BTreeMap<String, Host>) -> Result<(), Error> {
        self.newest("system.filesystem.utilization", |host, series, value| {
            let label = |name: &str| series.def.labels.value(name);
            let is_used = matches!(label("system.filesystem.state"), None | Some("used"));
            let is_writable = label("system.filesystem.mode") != Some("ro");
            if let Some(host) = hosts.get_mut(host).filter(|_| is_used && is_writable) {
                let fullest = host.filesystem_utilization.unwrap_or(0.0).max(value);
                host.filesystem_utilization = Some(fullest);
            }
        })
    }

    fn gauges(&self, hosts: &mut BTreeMap<String, Host>) -> Result<(), Error> {
        let gauges: [(&str, Slot); 3] = [
            ("system.cpu.load_average.1m", |host| &mut host.load_1m),
            ("system.uptime", |host| &mut host.uptime_s),
            ("system.cpu.logical.count", |host| &mut host.cpus),
        ];
        for (metric, slot) in gauges {
            self.newest(metric, |host, _, value| {
                if let Some(host) = hosts.get_mut(host) {
                    *slot(host) = Some(value);
                }
            })?;
        }
        Ok(())
    }
}

/// How much a counter grew over its last `window_ms`; a fall is a restart from zero.
fn growth(samples: &[(i64, f64)], window_ms: i64) -> f64 {
    let Some((last, _)) = samples.last() else {
        return 0.0;
    };
    let first = samples.iter().rposition(|(t, _)| *t <= last - window_ms).unwrap_or(0);
    samples[first..]
        .windows(2)
        .map(|pair| if pair[1].1 >= pair[0].1 { pair[1].1 - pair[0].1 } else { pair[1].1 })
        .sum()
}

fn judged(mut host: Host, range: TimeRange) -> Host {
    let silence = host.last_seen.map_or(i64::MAX, |seen| range.end.0.saturating_sub(seen.0));
    if silence > SILENT_NS {
        host.state = HostState::Unknown;
        host.reasons = vec![format!("nothing heard for {} s", silence / model::time::NS_PER_S)];
        return host;
    }
    let load =
        host.load_1m.zip(host.cpus.filter(|cpus| *cpus > 0.0)).map(|(load, cpus)| load / cpus);
    let figures =
        [host.cpu_utilization, host.memory_utilization, host.filesystem_utilization, load];
    host.state = HostState::Ok;
    for ((what, warn, error), figure) in THRESHOLDS.into_iter().zip(figures) {
        let Some(figure) = figure.filter(|figure| *figure >= warn) else {
            continue;
        };
        let (state, limit) =
            if figure >= error { (HostState::Error, error) } else { (HostState::Warn, warn) };
        host.state = host.state.max(state);
        let (figure, limit) = if what == LOAD {
            (format!("{figure:.1}"), format!("{limit:.1}"))
        } else {
            (format!("{:.0} %", figure * 100.0), format!("{:.0} %", limit * 100.0))
        };
        host.reasons.push(format!("{what} is {figure}, {} from {limit}", state.word()));
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_window_and_survives_a_restart() {
        let samples = [(0, 10.0), (5_000, 20.0), (10_000, 5.0), (15_000, 7.0)];
        assert_eq!(growth(&samples, 10_000), 7.0);
        assert_eq!(growth(&samples, 60_000), 17.0);
        assert_eq!(growth(&samples[..1], 10_000), 0.0);
    }

    #[test]
    fn states_have_reasons() {
        let range = TimeRange::new(Timestamp(0), Timestamp::from_s(100));
        let host = Host {
            last_seen: Some(Timestamp::from_s(90)),
            filesystem_utilization: Some(0.96),
            memory_utilization: Some(0.91),
            ..Host::default()
        };
        let host = judged(host, range);
        assert_eq!(host.state, HostState::Error);
        assert_eq!(host.reasons.len(), 2, "{:?}", host.reasons);
        let silent =
            judged(Host { last_seen: Some(Timestamp::from_s(1)), ..Host::default() }, range);
        assert_eq!((silent.state, silent.reasons.len()), (HostState::Unknown, 1));
        let fresh =
            judged(Host { last_seen: Some(Timestamp::from_s(99)), ..Host::default() }, range);
        assert_eq!(fresh.state, HostState::Ok);
    }
}

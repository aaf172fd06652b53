//! One look at the host for people: everything the agent would send, as a table or as JSON.

use std::fmt::Write as _;
use std::sync::Arc;

use model::time::Clock;

use crate::inventory::Inventory;
use crate::kernel::Roots;
use crate::ledger::Ledger;
use crate::round::{Kind, Point, Round, Value};
use crate::sample::Sampler;
use crate::{Config, Error};

/// A round of all sources with the resource it belongs to.
#[derive(Clone, Debug)]
pub struct Survey {
    resource: Vec<(String, String)>,
    round: Round,
}

/// Reads every source twice, `config.interval` apart, so that values derived from two rounds exist; sends nothing.
///
/// # Errors
/// A configuration that cannot work, or a sampler that panicked.
pub async fn survey(config: Config, clock: Arc<dyn Clock>) -> Result<Survey, Error> {
    config.check()?;
    let roots = Roots::new(&config);
    let resource = Inventory::read(&roots, &config).resource;
    let (first, started) = (clock.now(), clock.now());
    let look = move || {
        let mut sampler = Sampler::new(&config, &roots, started, Arc::new(Ledger::new()));
        sampler.everything(first);
        (sampler, config.interval)
    };
    let failed = |error: tokio::task::JoinError| Error::Sampling(error.to_string());
    let (mut sampler, interval) = tokio::task::spawn_blocking(look).await.map_err(failed)?;
    tokio::time::sleep(interval).await;
    let now = clock.now();
    let again = tokio::task::spawn_blocking(move || sampler.everything(now));
    Ok(Survey { resource, round: again.await.map_err(failed)? })
}

impl Survey {
    /// Number of samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.round.points.len()
    }

    /// Columns for a terminal: metric, attributes, value with unit. Begins with the resource.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.resource {
            line(&mut text, [key, "", value], [36, 0]);
        }
        text.push('\n');
        let rows: Vec<_> = self
            .round
            .points
            .iter()
            .map(|p| (p.metric.name, attributes(p), format!("{} {}", number(p), p.metric.unit)))
            .collect();
        let names = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
        let widest = rows.iter().map(|row| row.1.chars().count()).max().unwrap_or(0);
        for (name, attributes, value) in &rows {
            line(&mut text, [name, attributes, value], [names, widest.min(80)]);
        }
        text
    }

    /// One JSON object: `resource` and `samples`, each with metric, kind, unit, attributes, value and times in
    /// nanoseconds as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let at = self.round.at.0.to_string();
        let object = |pairs: &mut dyn Iterator<Item = (&str, &str)>| {
            pairs.map(|(k, v)| (k.to_owned(), v.into())).collect::<serde_json::Map<_, _>>()
        };
        let sample = |p: &Point| {
            let value = match &p.value {
                Value::Int(value) => serde_json::json!(value),
                Value::Double(value) => serde_json::json!(value),
                Value::Histogram(h) => {
                    serde_json::json!({"bounds": h.bounds, "counts": h.counts, "sum": h.sum})
                }
            };
            serde_json::json!({
                "metric": p.metric.name,
                "kind": kind(p.metric.kind),
                "unit": p.metric.unit,
                "attributes": object(&mut p.attributes.iter().map(|(k, v)| (*k, v.as_str()))),
                "value": value,
                "time_unix_nano": at,
                "start_time_unix_nano": p.start.0.to_string(),
            })
        };
        let samples: Vec<_> = self.round.points.iter().map(sample).collect();
        let resource = object(&mut self.resource.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        serde_json::json!({"resource": resource, "samples": samples}).to_string()
    }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::UpDown => "up_down_counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn attributes(point: &Point) -> String {
    let pairs: Vec<_> =
        point.attributes.iter().map(|(key, value)| format!("{key}={}", value.as_str())).collect();
    pairs.join(" ")
}

fn number(point: &Point) -> String {
    match &point.value {
        Value::Int(value) => value.to_string(),
        Value::Double(value) => format!("{value:.3}"),
        Value::Histogram(h) => format!("{} in {:.3}", h.counts.iter().sum::<u64>(), h.sum),
    }
}

/// Writes two padded columns and a last one, without control characters: names come from the host.
fn line(text: &mut String, columns: [&str; 3], widths: [usize; 2]) {
    let [a, b, c] = columns.map(|c| c.replace(char::is_control, "?"));
    writeln!(text, "{a:<0$}  {b:<1$}  {c}", widths[0], widths[1])
        .expect("a String takes everything");
}

//! Warnings and infos that come with an answer: collected once per text, rendered with their place in the query.

use std::collections::BTreeMap;

use super::number::percent_g;
use super::number::two_digits;
use super::place::Place;

/// Kinds of annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Warning,
    Info,
}

/// Where `histogram_quantile` had to mend counts that fall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mended {
    pub(crate) t_ms: i64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) max_diff: f64,
}

#[derive(Clone, Copy, Debug)]
struct MendedRange {
    first: Mended,
    last_ms: i64,
    samples: usize,
}

impl MendedRange {
    fn join(&mut self, other: Self) {
        let (first, more) = (&mut self.first, other.first);
        first.t_ms = first.t_ms.min(more.t_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        first.low = first.low.min(more.low);
        first.high = first.high.max(more.high);
        first.max_diff = first.max_diff.max(more.max_diff);
        self.samples += other.samples;
    }
}

/// What was noticed so far, per distinct text and place.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    plain: BTreeMap<(Level, usize, String), Place>,
    mended: BTreeMap<(usize, String), (Place, MendedRange)>,
    overlaps: BTreeMap<(usize, String), (Place, usize)>,
}

impl Annotations {
    pub(crate) fn warn(&mut self, place: Place, text: String) {
        self.plain.insert((Level::Warning, place.start, text), place);
    }

    pub(crate) fn info(&mut self, place: Place, text: String) {
        self.plain.insert((Level::Info, place.start, text), place);
    }

    /// Notes `count` start times that lie before the previous sample of a series of `metric`.
    pub(crate) fn overlap(&mut self, place: Place, metric: &str, count: usize) {
        let key = (place.start, metric.to_owned());
        self.overlaps.entry(key).or_insert((place, 0)).1 += count;
    }

    /// Notes that the buckets of `metric` were not monotonic.
    pub(crate) fn mended(&mut self, place: Place, metric: &str, mended: Mended) {
        let one = MendedRange { first: mended, last_ms: mended.t_ms, samples: 1 };
        let key = (place.start, metric.to_owned());
        self.mended.entry(key).and_modify(|(_, range)| range.join(one)).or_insert((place, one));
    }

    /// Takes in what was noticed elsewhere in the same query.
    pub(crate) fn join(&mut self, other: Self) {
        self.plain.extend(other.plain);
        for ((start, metric), (place, count)) in other.overlaps {
            self.overlaps.entry((start, metric)).or_insert((place, 0)).1 += count;
        }
        for (key, (place, more)) in other.mended {
            let range = self.mended.entry(key);
            range.and_modify(|(_, range)| range.join(more)).or_insert((place, more));
        }
    }

    /// The rendered warnings and infos.
    pub(crate) fn render(&self, text: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for ((level, _, message), place) in &self.plain {
            let (line, column) = place.line_col(text);
            match level {
                Level::Warning => {
                    warnings.push(format!("PromQL warning: {message} ({line}:{column})"));
                }
                Level::Info => infos.push(format!("PromQL info: {message} ({line}:{column})")),
            }
        }
        for ((_, metric), (place, count)) in &self.overlaps {
            let (line, column) = place.line_col(text);
            let times = if *count > 1 { format!(" ({count} occurrences)") } else { String::new() };
            let metric = super::number::quote(metric);
            warnings.push(format!(
                "PromQL warning: sample has start time that overlaps with previous sample timestamp for metric {metric}{times} ({line}:{column})"
            ));
        }
        for ((_, metric), (place, range)) in &self.mended {
            let (line, column) = place.line_col(text);
            infos.push(mended_text(metric, range) + &format!(" ({line}:{column})"));
        }
        (warnings, infos)
    }
}

fn mended_text(metric: &str, range: &MendedRange) -> String {
    let name = if metric.is_empty() {
        String::new()
    } else {
        format!(" for metric name {}", super::number::quote(metric))
    };
    let first = &range.first;
    format!(
        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){name}, from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
        percent_g(first.low),
        percent_g(first.high),
        two_digits(first.max_diff),
        range.samples,
        instant(first.t_ms),
        instant(range.last_ms),
    )
}

/// RFC 3339 without fraction.
fn instant(t_ms: i64) -> String {
    let text = model::time::Timestamp::from_ms(t_ms).to_string();
    format!("{}Z", text.split('.').next().unwrap_or_default())
}

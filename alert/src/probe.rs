//! Whether the data an expression reads is there: which series its selectors have, and how fresh each is.

use std::sync::Arc;

use model::metric::Labels;
use model::time::Timestamp;
use query::promql::inputs::{Carried, Input, Inputs};

use crate::evaluate::Turn;
use crate::rule::{Condition, Counting, Language, Quality};
use crate::source::{Answer, Evaluate};

/// How far back series are sought at least, ms.
const REACH_MS: i64 = 300_000;
/// Series that were heard of within this time are expected to report, ms.
const KNOWN_MS: i64 = 3_600_000;
/// A series is fresh while its newest sample is younger than so many of its own intervals, in halves.
const FRESH_HALVES: i64 = 3;
/// And a little more, ms: samples are on their way for a while.
const FRESH_SLACK_MS: i64 = 1_000;

/// One series of a selector.
#[derive(Clone, Debug)]
pub(crate) struct Probed {
    pub(crate) labels: Labels,
    pub(crate) is_fresh: bool,
    /// Age of its newest sample, ms.
    pub(crate) age_ms: i64,
}

/// The series of one selector.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selected {
    pub(crate) series: Vec<Probed>,
    /// Series that had samples within [`KNOWN_MS`], where the rule asks for a share of them.
    pub(crate) n_known: usize,
    /// Which of their labels a result has as they are.
    pub(crate) carried: Carried,
}

/// The series of each selector a result needs.
pub(crate) type Probe = Vec<Selected>;

impl Turn {
    /// The series the rule's own expression reads; `None` when it asks for absence itself, or reads none.
    pub(crate) async fn probe(
        &self,
        source: &dyn Evaluate,
        at: Timestamp,
    ) -> Result<Option<Probe>, String> {
        let rule = &self.group.rules[self.rule];
        let counting = match &rule.extra.language {
            Language::PromQl => return self.probe_series(source, at).await,
            Language::Sql { .. } => return Ok(None),
            Language::Logs(counting) | Language::Traces(counting) => counting,
        };
        // Whatever the search: is anything said at all?
        let all = Counting { window: counting.window, by: counting.by.clone() };
        let language = match &rule.extra.language {
            Language::Traces(_) => Language::Traces(all),
            _ => Language::Logs(all),
        };
        let answer = self.answer(source, (&"".into(), &language), at).await?;
        let rows = answer.into_rows()?.into_iter().filter(|row| row.value > 0.0);
        let probed = rows.map(|row| Probed { labels: row.labels, is_fresh: true, age_ms: 0 });
        Ok(Some(vec![Selected { series: probed.collect(), ..Selected::default() }]))
    }

    /// That of the rule, and of what must hold beside it.
    async fn probe_series(
        &self,
        source: &dyn Evaluate,
        at: Timestamp,
    ) -> Result<Option<Probe>, String> {
        let rule = &self.group.rules[self.rule];
        let inputs = needed(&rule.expr)?;
        if inputs.is_empty() {
            return Ok(None);
        }
        let mut probe = Vec::new();
        for condition in &rule.extra.all {
            probe.append(&mut self.probe_condition(source, condition, at).await?);
        }
        for input in &inputs {
            probe.push(self.probe_selector(source, input, at).await?);
        }
        Ok(Some(probe))
    }

    /// The series a further condition reads; none when it reads no metrics, or asks for absence.
    pub(crate) async fn probe_condition(
        &self,
        source: &dyn Evaluate,
        condition: &Condition,
        at: Timestamp,
    ) -> Result<Probe, String> {
        let mut probe = Vec::new();
        if condition.language == Language::PromQl {
            for input in &needed(&condition.expr)? {
                probe.push(self.probe_selector(source, input, at).await?);
            }
        }
        Ok(probe)
    }

    async fn probe_selector(
        &self,
        source: &dyn Evaluate,
        input: &Input,
        at: Timestamp,
    ) -> Result<Selected, String> {
        let offset = input.offset_ms.saturating_mul(1_000_000);
        let at = Timestamp(at.0.saturating_sub(offset));
        let reach = input.range_ms.max(REACH_MS);
        let window: Arc<str> = format!("{}[{reach}ms]", input.text).into();
        let Answer::Series(series) = self.answer(source, (&window, &Language::PromQl), at).await?
        else {
            return Err("a selector with a window yielded no series".to_owned());
        };
        // A series that was ended by a marker is not here, however young its last sample. Older ones only windows see.
        let text: Arc<str> = input.text.as_str().into();
        let present = self.answer(source, (&text, &Language::PromQl), at).await?.into_rows()?;
        let mut present: Vec<Labels> = present.into_iter().map(|row| row.labels).collect();
        present.sort();
        let interval_ms = i64::try_from(self.group.interval.as_millis()).unwrap_or(i64::MAX);
        let probed = series.into_iter().map(|(labels, times)| {
            let age_ms = times.last().map_or(i64::MAX, |newest| at.ms().saturating_sub(*newest));
            let is_seen = present.binary_search(&labels).is_ok()
                || (REACH_MS <= age_ms && age_ms < input.range_ms);
            let is_fresh = is_seen && is_fresh(&times, (age_ms, input.range_ms), interval_ms);
            Probed { labels, is_fresh, age_ms }
        });
        let series: Vec<Probed> = probed.collect();
        let quality = self.group.rules[self.rule].extra.quality;
        let mut n_known = series.len();
        if quality.is_some_and(|quality| quality.reporting_min.is_some()) {
            let known: Arc<str> = format!("last_over_time({}[{KNOWN_MS}ms])", input.text).into();
            let known = self.answer(source, (&known, &Language::PromQl), at).await?;
            n_known = known.into_rows()?.len();
        }
        Ok(Selected { series, n_known, carried: input.carried.clone() })
    }
}

/// The selectors that a result of the expression needs; none when it asks for absence.
fn needed(expr: &str) -> Result<Vec<Input>, String> {
    let parsed = query::promql::parse(expr).map_err(|error| error.to_string())?;
    let inputs = Inputs::of(&parsed);
    let needed = inputs.selectors.into_iter().filter(|input| input.is_needed);
    Ok(if inputs.defines_absence { Vec::new() } else { needed.collect() })
}

/// Whether a newest sample of this age is what one expects of a series with these times, and a window of this length,
/// if there is one, still has the two samples that a rate needs.
fn is_fresh(times: &[i64], (age_ms, range_ms): (i64, i64), interval_ms: i64) -> bool {
    let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let gap = gaps.get(gaps.len() / 2).copied().unwrap_or(interval_ms);
    let is_young = age_ms <= gap.saturating_mul(FRESH_HALVES) / 2 + FRESH_SLACK_MS;
    // A window too short for two samples is not for rates.
    let holds_two = gaps.is_empty() || gap.saturating_mul(2) > range_ms;
    is_young && (holds_two || age_ms.saturating_add(gap) < range_ms)
}

/// Whether the labels both have are the same; names of metrics aside.
pub(crate) fn agree(a: &Labels, b: &Labels) -> bool {
    agree_on(a, b, |_| true)
}

fn agree_on(a: &Labels, b: &Labels, counts: impl Fn(&str) -> bool) -> bool {
    let differs = |(name, value): (&str, &str)| {
        name != "__name__" && b.value(name).is_some_and(|other| other != value) && counts(name)
    };
    !a.iter().any(differs)
}

/// Whether every selector has a fresh series of which a result with `labels` may be.
pub(crate) fn is_there(probe: &Probe, labels: &Labels) -> bool {
    probe.iter().all(|selector| {
        let carried = |name: &str| selector.carried.has(name);
        let is_its = |series: &Probed| agree_on(labels, &series.labels, carried);
        selector.series.iter().any(|series| series.is_fresh && is_its(series))
    })
}

/// Whether the data is as a rule asks for.
pub(crate) fn is_good(probe: &Probe, quality: Quality) -> bool {
    probe.iter().all(|selector| {
        let newest = selector.series.iter().map(|series| series.age_ms).min();
        let young = quality.staleness_max.is_none_or(|max| {
            let max = i64::try_from(max.as_millis()).unwrap_or(i64::MAX);
            newest.is_some_and(|age| age <= max)
        });
        let n_fresh = selector.series.iter().filter(|series| series.is_fresh).count();
        let enough = quality
            .reporting_min
            .is_none_or(|min| n_fresh > 0 && n_fresh as f64 >= min * selector.n_known as f64);
        young && enough
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn freshness_is_measured_by_the_own_interval_of_a_series() {
        let regular = [0, 15_000, 30_000];
        assert!(is_fresh(&regular, (23_000, 0), 60_000));
        assert!(!is_fresh(&regular, (24_000, 0), 60_000));
        assert!(is_fresh(&regular, (14_000, 30_000), 60_000));
        assert!(!is_fresh(&regular, (15_000, 30_000), 60_000), "a rate has one sample left");
        assert!(is_fresh(&regular, (15_000, 20_000), 60_000), "it never holds two");
        assert!(
            is_fresh(&[0], (90_000, 0), 60_000),
            "of one sample nothing is known but the group's interval"
        );
    }

    #[test]
    fn labels_agree_where_both_have_them() {
        let a = labels(&[("__name__", "x"), ("job", "a"), ("zone", "1")]);
        assert!(agree(&a, &labels(&[("__name__", "y"), ("job", "a"), ("host", "h")])));
        assert!(!agree(&a, &labels(&[("job", "b")])));
    }

    #[test]
    fn quality_asks_for_age_and_share() {
        let probed = |is_fresh, age_ms| Probed { labels: Labels::default(), is_fresh, age_ms };
        let series = vec![probed(true, 1_000), probed(false, 90_000)];
        let probe = vec![Selected { series, n_known: 2, ..Selected::default() }];
        let quality = |seconds: Option<u64>, reporting_min| Quality {
            staleness_max: seconds.map(std::time::Duration::from_secs),
            reporting_min,
        };
        assert!(is_good(&probe, quality(Some(1), Some(0.5))));
        assert!(!is_good(&probe, quality(Some(0), None)));
        assert!(!is_good(&probe, quality(None, Some(0.6))));
        assert!(!is_good(&vec![Selected::default()], quality(None, Some(0.0))), "nobody reports");
    }
}

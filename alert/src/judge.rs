//! What an answer means beyond itself: further conditions, the end of an alert, and what is missing.

use std::collections::BTreeSet;

use model::metric::Labels;
use model::time::Timestamp;

use crate::evaluate::Turn;
use crate::probe::{Probe, agree, is_good, is_there};
use crate::rule::{Condition, NoData, Rule};
use crate::source::{Evaluate, Row};
use crate::state::{Absences, CAUSE_LABEL, Found, Instances};

/// What an evaluation found, judged.
pub(crate) struct Judged {
    pub(crate) found: Vec<Found>,
    pub(crate) absences: Absences,
    /// Whether all data is missing, or is not good enough to say anything.
    pub(crate) is_missing: bool,
}

impl Turn {
    /// The results that count: within the threshold, and where the further conditions say so.
    pub(crate) async fn hits(
        &self,
        source: &dyn Evaluate,
        at: Timestamp,
    ) -> Result<Vec<Row>, String> {
        let rule = &self.group.rules[self.rule];
        let extra = &rule.extra;
        let answer = self.answer(source, (&rule.expr, &extra.language), at).await?;
        let mut rows = within(answer.into_rows()?, extra.above, extra.below);
        for condition in &extra.all {
            if rows.is_empty() {
                return Ok(rows);
            }
            let others = self.rows_of(source, condition, at).await?;
            rows.retain(|row| has_one(&others, &row.labels));
        }
        for condition in &extra.none {
            if rows.is_empty() {
                return Ok(rows);
            }
            let others = self.rows_of(source, condition, at).await?;
            rows.retain(|row| !has_one(&others, &row.labels));
        }
        if !extra.any.is_empty() && !rows.is_empty() {
            let mut others = Vec::new();
            for condition in &extra.any {
                others.extend(self.rows_of(source, condition, at).await?);
            }
            rows.retain(|row| has_one(&others, &row.labels));
        }
        Ok(rows)
    }

    async fn rows_of(
        &self,
        source: &dyn Evaluate,
        condition: &Condition,
        at: Timestamp,
    ) -> Result<Vec<Row>, String> {
        let answer = self.answer(source, (&condition.expr, &condition.language), at).await?;
        Ok(within(answer.into_rows()?, condition.above, condition.below))
    }

    /// Which alerts that are not in the result stay nonetheless, and which ended because nothing is known any more.
    pub(crate) async fn judge(
        &self,
        source: &dyn Evaluate,
        before: &Instances,
        mut found: Vec<Found>,
        at: Timestamp,
    ) -> Result<Judged, String> {
        let rule = &self.group.rules[self.rule];
        let extra = &rule.extra;
        let holds = extra.no_data != NoData::Ignore;
        let mut absences =
            Absences { hold_max: holds.then_some(extra.hold_max), ..Absences::default() };
        let mut vanished = vanished(before, &found, holds);
        if let Some(clear) = extra.clear.as_ref().filter(|_| !vanished.is_empty()) {
            let rows = self.rows_of(source, clear, at).await?;
            let still = |labels: &Labels| has_one(&rows, &own(labels, rule));
            absences.kept = vanished.iter().filter(|labels| still(labels)).cloned().collect();
            vanished.retain(|labels| !absences.kept.contains(labels));
        }
        let asks = extra.quality.is_some() || !vanished.is_empty() || (holds && found.is_empty());
        if !asks {
            return Ok(Judged { found, absences, is_missing: false });
        }
        let probe = self.probe(source, at).await;
        let clear = match extra.clear.as_ref().filter(|_| !vanished.is_empty()) {
            Some(clear) => self.probe_condition(source, clear, at).await,
            None => Ok(Probe::new()),
        };
        let bad = extra.quality.is_some_and(|quality| match &probe {
            Ok(Some(probe)) => !is_good(probe, quality),
            Ok(None) => false,
            Err(_) => true,
        });
        let is_missing = bad || (holds && found.is_empty() && is_all_missing(&probe));
        if bad && holds {
            // The answer does not count: whatever it says, alerts stay as they are.
            found.clear();
            vanished = vanished_all(before);
            absences.kept.clear();
        }
        let is_gone = |labels: &Labels| match (&probe, &clear) {
            (Ok(probe), Ok(clear)) => {
                let own = own(labels, rule);
                let lacks = |probe: &Probe| !is_there(probe, &own);
                probe.as_ref().is_some_and(lacks) || lacks(clear)
            }
            _ => true, // What cannot be asked is not known to have ended.
        };
        absences.missing =
            vanished.into_iter().filter(|labels| (bad && holds) || is_gone(labels)).collect();
        if extra.no_data == NoData::Alert {
            raise(&mut found, before, (&absences.missing, is_missing), rule);
        }
        Ok(Judged { found, absences, is_missing: is_missing && holds })
    }
}

/// Rows whose value lies within a threshold.
fn within(mut rows: Vec<Row>, above: Option<f64>, below: Option<f64>) -> Vec<Row> {
    rows.retain(|row| {
        above.is_none_or(|above| row.value > above) && below.is_none_or(|below| row.value < below)
    });
    rows
}

fn has_one(rows: &[Row], labels: &Labels) -> bool {
    rows.iter().any(|row| agree(labels, &row.labels))
}

/// Labels of active alerts that are not in the result; pending ones count only where they would be held.
fn vanished(before: &Instances, found: &[Found], holds: bool) -> Vec<Labels> {
    let found: BTreeSet<&Labels> = found.iter().map(|found| &found.labels).collect();
    let active = before.iter().filter(|(labels, instance)| {
        let counts = instance.fired_at.is_some() || holds;
        instance.is_active() && counts && !found.contains(labels)
    });
    let own = active.filter(|(labels, _)| labels.value(CAUSE_LABEL).is_none());
    own.map(|(labels, _)| labels.clone()).collect()
}

fn vanished_all(before: &Instances) -> Vec<Labels> {
    vanished(before, &[], true)
}

/// The labels an alert has from its result: without those its rule gives it.
fn own(labels: &Labels, rule: &Rule) -> Labels {
    let given = |name: &str| name == "alertname" || rule.labels.iter().any(|(own, _)| own == name);
    let kept = labels.iter().filter(|(name, _)| !given(name));
    kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Whether some selector has no fresh series at all.
fn is_all_missing(probe: &Result<Option<Probe>, String>) -> bool {
    let Ok(Some(probe)) = probe else { return false };
    probe.iter().any(|selector| !selector.series.iter().any(|series| series.is_fresh))
}

/// Alerts about the missing data itself: one for each alert that is held, or one for the rule.
fn raise(
    found: &mut Vec<Found>,
    before: &Instances,
    (missing, is_missing): (&BTreeSet<Labels>, bool),
    rule: &Rule,
) {
    let cause = || (CAUSE_LABEL.to_owned(), "no_data".to_owned());
    let with_cause = |labels: &Labels| -> Labels {
        let pairs = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        pairs.chain([cause()]).collect()
    };
    for labels in missing {
        if let Some(instance) = before.get(labels) {
            let (annotations, value) = (instance.annotations.clone(), instance.value);
            found.push(Found { labels: with_cause(labels), annotations, value });
        }
    }
    if is_missing && missing.is_empty() {
        // Templates speak of a result, and there is none: only plain texts are said.
        let plain = |texts: &[(String, crate::rule::Text)]| -> Labels {
            let plain = texts.iter().filter(|(_, text)| text.template.is_none());
            plain.map(|(name, text)| (name.clone(), text.source.clone())).collect()
        };
        let alertname = ("alertname".to_owned(), rule.name.clone());
        let labels = plain(&rule.labels);
        let pairs = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let labels: Labels = pairs.chain([alertname, cause()]).collect();
        let annotations = match &rule.kind {
            crate::rule::Kind::Alert(alerting) => plain(&alerting.annotations),
            crate::rule::Kind::Record => Labels::default(),
        };
        found.push(Found { labels, annotations, value: f64::NAN });
    }
}

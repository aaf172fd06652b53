//! Samples rules make: recorded series, and the series that tell which alerts are active.

use std::collections::BTreeSet;

use model::alert::AlertState;
use model::metric::Labels;
use model::time::Timestamp;

use crate::handover::Recorded;
use crate::rule::Rule;
use crate::source::Row;
use crate::state::Instances;

/// Names and labels of the series a rule wrote in one evaluation.
pub(crate) type Written = BTreeSet<(String, Labels)>;

/// `result` without its name and with `added` over it; an added label without value takes one away.
pub(crate) fn final_labels(
    result: &Labels,
    added: impl IntoIterator<Item = (String, String)>,
) -> Labels {
    let kept = result.iter().filter(|(name, _)| *name != "__name__");
    kept.map(|(name, value)| (name.to_owned(), value.to_owned())).chain(added).collect()
}

/// The samples of a recording rule.
pub(crate) fn recorded(
    rule: &Rule,
    rows: Vec<Row>,
    at: Timestamp,
    limit: usize,
) -> Result<Vec<Recorded>, String> {
    if limit > 0 && rows.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", rows.len()));
    }
    let mut seen = BTreeSet::new();
    let mut samples = Vec::with_capacity(rows.len());
    for row in rows {
        let added = rule.labels.iter().map(|(name, text)| (name.clone(), text.source.clone()));
        let labels = final_labels(&row.labels, added);
        if !seen.insert(labels.clone()) {
            let text = "vector contains metrics with the same labelset after applying rule labels";
            return Err(text.to_owned());
        }
        let (name, value, histogram) = (rule.name.clone(), row.value, row.histogram);
        samples.push(Recorded { name, labels, value, histogram, at });
    }
    Ok(samples)
}

/// `ALERTS` and `ALERTS_FOR_STATE` of the alerts that are pending or firing.
pub(crate) fn alert_series(instances: &Instances, at: Timestamp) -> Vec<Recorded> {
    let mut samples = Vec::new();
    for (labels, instance) in instances.iter().filter(|(_, instance)| instance.is_active()) {
        let state = if instance.state == AlertState::Firing { "firing" } else { "pending" };
        let with_state = final_labels(labels, [("alertstate".to_owned(), state.to_owned())]);
        let mut put = |name: &str, labels: Labels, value: f64| {
            samples.push(Recorded { name: name.to_owned(), labels, value, histogram: None, at });
        };
        put("ALERTS", with_state, 1.0);
        put("ALERTS_FOR_STATE", labels.clone(), seconds(instance.active_at));
    }
    samples
}

/// Adds a marker for every series of `before` that is not among the samples.
pub(crate) fn end_vanished(
    samples: &mut Vec<Recorded>,
    before: &Written,
    at: Timestamp,
) -> Written {
    let now: Written = samples.iter().map(|s| (s.name.clone(), s.labels.clone())).collect();
    let vanished = before.difference(&now);
    samples.extend(vanished.map(|(name, labels)| Recorded::end(name.clone(), labels.clone(), at)));
    now
}

/// Whole seconds since the epoch, as Prometheus writes ActiveAt.
fn seconds(at: Timestamp) -> f64 {
    at.s() as f64
}

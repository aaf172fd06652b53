//! OpenMetrics' `_created` samples: what they say becomes the start of the series they speak of.

use std::collections::HashMap;

use super::text::seconds_to_ms;
use super::{Exposition, Measured, Sample};
use crate::remote_write::Kind;

/// Takes the `_created` samples of counters, histograms and summaries out and gives their values to the others.
pub(super) fn take_out(exposition: &mut Exposition<'_>) {
    let mut starts = HashMap::new();
    let mut samples = std::mem::take(&mut exposition.samples);
    samples.retain(|sample| match start(exposition, sample) {
        None => true,
        Some(start_ms) => {
            starts.insert(key(exposition, sample), start_ms);
            false
        }
    });
    if !starts.is_empty() {
        for sample in &mut samples {
            if let Some(start_ms) = starts.get(&key(exposition, sample)) {
                sample.start_ms = *start_ms;
            }
        }
    }
    exposition.samples = samples;
}

/// The value in ms, if this is such a sample.
fn start(exposition: &Exposition<'_>, sample: &Sample<'_>) -> Option<i64> {
    let family = &exposition.families[sample.family?];
    let name = &exposition.labels(sample)[0].1;
    let has_start = matches!(family.kind, Kind::Counter | Kind::Histogram | Kind::Summary);
    let is_created = name.strip_prefix(family.family.as_str()) == Some("_created");
    match &sample.value {
        Measured::Float(seconds) if has_start && is_created => seconds_to_ms(*seconds),
        _ => None,
    }
}

/// What the samples of one metric have in common: their family and all labels but those that number its parts.
fn key(exposition: &Exposition<'_>, sample: &Sample<'_>) -> (Option<usize>, Vec<(String, String)>) {
    let own = |name: &str| name != "le" && name != "quantile";
    let labels = exposition.labels(sample)[1..].iter().filter(|(name, _)| own(name));
    let mut labels: Vec<_> =
        labels.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    labels.sort_unstable();
    (sample.family, labels)
}

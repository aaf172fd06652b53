//! The labels of a series as remote write sends them, checked once for each new series.

use model::metric::Labels;

use crate::admission::Refusal;
use crate::admit::Reason;
use crate::config::Config;
use crate::series::crop;

const NAME: &str = "__name__";

/// The metric's name and the other labels, sorted; labels without a value are left out, as Prometheus does.
pub(super) fn checked(
    labels: &[(&str, &str)],
    config: &Config,
) -> Result<(String, Labels), Refusal> {
    if labels.len() > config.labels_max.saturating_add(1) {
        return Err(too_many(config));
    }
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    for (name, value) in &sorted {
        let bytes = name.len().max(value.len());
        if bytes > config.label_bytes_max {
            let (name, limit) = (crop(name), config.label_bytes_max);
            let words = format!("label `{name}` has {bytes} bytes, the limit is {limit}");
            return Err(Refusal::Reject(Reason::LabelTooLong, words));
        }
    }
    if sorted.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(invalid("a label has no name".to_owned()));
    }
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(invalid(format!("label `{}` is there twice", crop(pair[0].0))));
    }
    let name = sorted.iter().find(|(name, value)| *name == NAME && !value.is_empty());
    let Some((_, metric)) = name else {
        return Err(Refusal::Reject(
            Reason::MetricNameEmpty,
            "it has no label __name__".to_owned(),
        ));
    };
    if metric.len() > config.metric_name_bytes_max {
        let (bytes, limit) = (metric.len(), config.metric_name_bytes_max);
        let words = format!("its name has {bytes} bytes, the limit is {limit}");
        return Err(Refusal::Reject(Reason::MetricNameTooLong, words));
    }
    let others = sorted.iter().filter(|(name, _)| *name != NAME);
    let labels = others.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Ok(((*metric).to_owned(), labels))
}

/// A label set that is none.
pub(super) fn invalid(words: String) -> Refusal {
    Refusal::Reject(Reason::LabelsInvalid, words)
}

/// A label set that is too large.
pub(super) fn too_many(config: &Config) -> Refusal {
    let words = format!("more labels than the limit of {} besides the name", config.labels_max);
    Refusal::Reject(Reason::LabelsTooMany, words)
}

/// The bytes of a name or value as text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| invalid("a label is no UTF-8".to_owned()))
}

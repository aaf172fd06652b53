//! From what a discovery found to a target: defaults, relabelling, checks, and the URL.

use std::collections::BTreeMap;
use std::time::Duration;

use model::metric::Labels;

use super::config::{DurationText, Job, Span, Validation};
use super::relabel::{self, LabelSet};

/// Something to scrape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// What every sample of it carries.
    pub labels: Labels,
    /// What it had before relabelling.
    pub discovered: LabelSet,
    pub url: String,
    pub interval: Duration,
    pub timeout: Duration,
}

/// What became of something discovered.
pub(crate) enum Outcome {
    Active(Box<Target>),
    /// Relabelling dropped it, or it is no target for the reason given.
    Dropped(LabelSet, Option<String>),
}

/// What a discovery found, with the defaults of its job filled in.
pub(crate) fn discovered(job: &Job, own: &LabelSet) -> LabelSet {
    let mut labels: LabelSet = own
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let span =
        |span: Option<Span>| DurationText(span.map_or(Duration::ZERO, |span| span.0)).to_string();
    let defaults = [
        ("job", job.job_name.clone()),
        ("__scrape_interval__", span(job.scrape_interval)),
        ("__scrape_timeout__", span(job.scrape_timeout)),
        ("__metrics_path__", job.metrics_path.clone().unwrap_or_else(|| "/metrics".to_owned())),
        ("__scheme__", job.scheme.unwrap_or_default().as_str().to_owned()),
    ];
    for (name, value) in defaults {
        labels.entry(name.to_owned()).or_insert(value);
    }
    for (name, values) in &job.params {
        if let Some(first) = values.first().filter(|value| !value.is_empty()) {
            labels.entry(format!("__param_{name}")).or_insert_with(|| first.clone());
        }
    }
    labels
}

/// Relabels and checks.
pub(crate) fn build(job: &Job, own: &LabelSet) -> Outcome {
    let discovered = discovered(job, own);
    let mut labels = discovered.clone();
    if !relabel::apply(&job.relabel_configs, &mut labels) {
        return Outcome::Dropped(discovered, None);
    }
    match finish(job, labels, discovered.clone()) {
        Ok(target) => Outcome::Active(Box::new(target)),
        Err(reason) => Outcome::Dropped(discovered, Some(reason)),
    }
}

fn finish(job: &Job, mut labels: LabelSet, discovered: LabelSet) -> Result<Target, String> {
    let text = |labels: &LabelSet, name: &str| labels.get(name).cloned().unwrap_or_default();
    let address = text(&labels, "__address__");
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains(['/', '?', '#', '@', ' ']) {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let span = |name: &str| {
        let text = text(&labels, name);
        let span =
            Span::parse(&text).ok_or_else(|| format!("{name}: {text:?} is not a duration"))?;
        if span.0.is_zero() { Err(format!("{name} cannot be 0")) } else { Ok(span.0) }
    };
    let (interval, timeout) = (span("__scrape_interval__")?, span("__scrape_timeout__")?);
    if timeout > interval {
        return Err("scrape timeout cannot be greater than scrape interval".to_owned());
    }
    let scheme = text(&labels, "__scheme__");
    if scheme != "http" && scheme != "https" {
        return Err(format!("invalid scheme {scheme:?}, it is http or https"));
    }
    let url = url(job, &labels, &scheme, &address);
    labels.entry("instance".to_owned()).or_insert(address);
    labels.retain(|name, _| !name.starts_with("__"));
    if job.metric_name_validation_scheme == Some(Validation::Legacy)
        && let Some(bad) = labels.keys().find(|name| !is_legacy_name(name))
    {
        return Err(format!("{bad:?} is not a valid label name"));
    }
    Ok(Target { labels: labels.into_iter().collect(), discovered, url, interval, timeout })
}

fn url(job: &Job, labels: &LabelSet, scheme: &str, address: &str) -> String {
    let mut params: BTreeMap<&str, Vec<&str>> = job
        .params
        .iter()
        .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
        .collect();
    for (name, value) in labels.iter().filter_map(|(k, v)| Some((k.strip_prefix("__param_")?, v))) {
        let values = params.entry(name).or_default();
        match values.first_mut() {
            Some(first) => *first = value,
            None => values.push(value),
        }
    }
    let path = labels.get("__metrics_path__").map_or("/metrics", String::as_str);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, values) in &params {
        for value in values {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{address}{slash}{path}{mark}{query}")
}

/// Whether a name of a label has only what names had before UTF-8.
pub(crate) fn is_legacy_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(fits) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

impl Target {
    /// Stable over restarts, and spread: FNV-1a over labels and URL.
    pub(crate) fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let texts =
            self.labels.iter().flat_map(|(name, value)| [name, value]).chain([self.url.as_str()]);
        for byte in texts.flat_map(|text| text.bytes().chain([0xff])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(job: &str, own: &[(&str, &str)]) -> Result<Target, String> {
        let mut job: Job = serde_saphyr::from_str(job).expect(job);
        job.scrape_interval = job.scrape_interval.or(Span::parse("1m"));
        job.scrape_timeout = job.scrape_timeout.or(Span::parse("10s"));
        let own = own.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match build(&job, &own) {
            Outcome::Active(target) => Ok(*target),
            Outcome::Dropped(_, reason) => Err(reason.unwrap_or_else(|| "dropped".to_owned())),
        }
    }

    #[test]
    fn labels_that_begin_with_underscores_steer_and_vanish() {
        let job = "{job_name: j, params: {module: [a, b], x: [y]}, relabel_configs: [\
            {source_labels: [__address__], target_label: __param_module}, \
            {target_label: __address__, replacement: 'probe:9115'}, \
            {target_label: __metrics_path__, replacement: probe}]}";
        let target =
            check(job, &[("__address__", "h:1"), ("__meta_a", "1"), ("env", "t")]).unwrap();
        assert_eq!(target.url, "http://probe:9115/probe?module=h%3A1&module=b&x=y");
        let labels: Vec<_> = target.labels.iter().collect();
        assert_eq!(labels, [("env", "t"), ("instance", "probe:9115"), ("job", "j")]);
        assert_eq!(target.discovered["__param_module"], "a");
    }

    #[test]
    fn intervals_come_from_labels_too_and_are_checked() {
        let rule = |name: &str, value: &str| {
            format!(
                "{{job_name: j, relabel_configs: [{{target_label: {name}, replacement: '{value}'}}]}}"
            )
        };
        let own = [("__address__", "h:1")];
        assert_eq!(
            check(&rule("__scrape_interval__", "30s"), &own).unwrap().interval.as_secs(),
            30
        );
        for (name, value, words) in [
            ("__scrape_timeout__", "2m", "greater than scrape interval"),
            ("__scrape_interval__", "soon", "is not a duration"),
            ("__scrape_interval__", "0s", "cannot be 0"),
            ("__scheme__", "ftp", "invalid scheme"),
            ("__address__", "h:1/x", "not a valid hostname"),
        ] {
            let reason = check(&rule(name, value), &own).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(check("{job_name: j}", &[]).unwrap_err(), "no address");
    }
}

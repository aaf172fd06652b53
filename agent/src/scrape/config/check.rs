//! What no type can check, and the defaults: afterwards every `Option` of a job that has a default is filled.

use std::path::Path;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::document::{Escaping, Global, Job, Validation};
use super::duration::{DurationText, Span};
use super::place::{at, place_of};
use super::protocol::Protocol;
use crate::Error;
use crate::http_client::HttpClient;
use crate::scrape::discovery::check_access;

const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A body of this many bytes is too large where no limit is configured.
pub(crate) const BODY_BYTES_MAX: u64 = 64 << 20;

/// The jobs of a file, complete.
pub(super) fn jobs(
    jobs: Vec<Spanned<Job>>,
    global: &Global,
    path: &Path,
) -> Result<Vec<Job>, Error> {
    let complete = |spanned: Spanned<Job>| {
        let (line, column) = place_of(spanned.referenced);
        let job = fill(spanned.value, global, path);
        check(&job).map_err(|reason| at(path, line, column, &reason))?;
        Ok(job)
    };
    jobs.into_iter().map(complete).collect()
}

/// Two pools of one name could not be told apart.
pub(super) fn names(jobs: &[Job]) -> Result<(), Error> {
    let mut seen = std::collections::BTreeSet::new();
    match jobs.iter().find(|job| !seen.insert(&job.job_name)) {
        None => Ok(()),
        Some(job) => {
            let reason = format!("found multiple scrape configs with job name {:?}", job.job_name);
            Err(Error::field("scrape.config_files", reason))
        }
    }
}

fn fill(mut job: Job, global: &Global, path: &Path) -> Job {
    job.folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let interval = job.scrape_interval.or(global.scrape_interval).unwrap_or(Span(INTERVAL));
    job.scrape_interval = Some(interval);
    // A timeout of `global` that is longer than this job's interval is cut, one of the job itself is a mistake.
    let inherited = global.scrape_timeout.unwrap_or(Span(TIMEOUT));
    job.scrape_timeout = Some(job.scrape_timeout.unwrap_or(Span(inherited.0.min(interval.0))));
    job.scrape_native_histograms =
        Some(job.scrape_native_histograms.or(global.scrape_native_histograms).unwrap_or(false));
    if job.scrape_protocols.is_none() {
        let native = job.scrape_native_histograms == Some(true);
        let default = if native { Protocol::NATIVE.to_vec() } else { Protocol::DEFAULT.to_vec() };
        job.scrape_protocols = Some(global.scrape_protocols.clone().unwrap_or(default));
    }
    macro_rules! inherit {
        ($($field:ident),*) => { $(job.$field = job.$field.or(global.$field);)* };
    }
    inherit!(
        always_scrape_classic_histograms,
        convert_classic_histograms_to_nhcb,
        extra_scrape_metrics,
        body_size_limit
    );
    inherit!(
        sample_limit,
        label_limit,
        label_name_length_limit,
        label_value_length_limit,
        target_limit
    );
    inherit!(keep_dropped_targets, metric_name_validation_scheme, metric_name_escaping_scheme);
    if job.metric_name_escaping_scheme.is_none() {
        let legacy = job.metric_name_validation_scheme == Some(Validation::Legacy);
        job.metric_name_escaping_scheme =
            Some(if legacy { Escaping::Underscores } else { Escaping::AllowUtf8 });
    }
    job
}

fn check(job: &Job) -> Result<(), String> {
    if job.job_name.is_empty() {
        return Err("`job_name` is empty: a scrape config needs one".to_owned());
    }
    let wrong = |reason: String| format!("job {:?}: {reason}", job.job_name);
    let interval = job.scrape_interval.map_or(INTERVAL, |span| span.0);
    let timeout = job.scrape_timeout.map_or(TIMEOUT, |span| span.0);
    if interval < Duration::from_millis(10) {
        return Err(wrong("`scrape_interval` must be at least 10ms".to_owned()));
    }
    if timeout.is_zero() || timeout > interval {
        let (timeout, interval) = (DurationText(timeout), DurationText(interval));
        return Err(wrong(format!(
            "`scrape_timeout` {timeout} is not between 0 and `scrape_interval` {interval}"
        )));
    }
    let protocols = job.scrape_protocols.as_deref().unwrap_or_default();
    if protocols.is_empty() {
        return Err(wrong("`scrape_protocols` is empty: name one at least".to_owned()));
    }
    if let Some(twice) = protocols.iter().enumerate().find(|(i, p)| protocols[..*i].contains(p)) {
        return Err(wrong(format!("`scrape_protocols` names {:?} twice", twice.1)));
    }
    let escaping = job.metric_name_escaping_scheme.unwrap_or_default();
    if job.metric_name_validation_scheme == Some(Validation::Legacy)
        && escaping == Escaping::AllowUtf8
    {
        return Err(wrong(
            "`metric_name_escaping_scheme` allow-utf-8 does not go with legacy validation"
                .to_owned(),
        ));
    }
    for rule in job.relabel_configs.iter().chain(&job.metric_relabel_configs) {
        rule.check().map_err(wrong)?;
    }
    discoveries(job).map_err(wrong)?;
    // A client that cannot be built is told now, not at the first scrape.
    HttpClient::new(&job.http(), &job.folder).map_err(wrong)?;
    Ok(())
}

fn discoveries(job: &Job) -> Result<(), String> {
    for config in &job.file_sd_configs {
        config.check()?;
    }
    for config in &job.dns_sd_configs {
        config.check()?;
    }
    for config in &job.http_sd_configs {
        config.check()?;
        HttpClient::new(&config.http(), &job.folder)?;
    }
    for config in &job.consul_sd_configs {
        config.check()?;
        HttpClient::new(&config.access()?, &job.folder)?;
    }
    for config in &job.kubernetes_sd_configs {
        config.check()?;
        check_access(config, &job.folder)?;
    }
    Ok(())
}

//! What to scrape: the agent's own few settings in TOML, and the files in Prometheus' YAML they name.
//!
//! A file is read whole before anything runs. What we do not know in it is an error that names field and line; nothing is
//! passed over in silence. Source: Prometheus' configuration reference, version 3.14.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::metric::Labels;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::http_client::redacted;
use crate::scrape::relabel::Rule;

mod check;
mod document;
mod duration;
mod glob;
mod place;
mod protocol;

pub(crate) use check::BODY_BYTES_MAX;
pub(crate) use document::{Job, Scheme, StaticGroup, Validation};
pub(crate) use duration::{DurationText, Span};
pub(crate) use glob::files;
pub(crate) use protocol::Protocol;

/// Scraping, off until a file is named.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// Files in the format of `prometheus.yml`, of which `global`, `scrape_configs` and `scrape_config_files` are read.
    pub config_files: Vec<PathBuf>,
    /// Where samples go, by remote write. Inside `headrope` it is always this process.
    #[serde(serialize_with = "crate::http_client::redact::shown")]
    pub write_url: String,
    /// File that holds the bearer token for `write_url`; read anew for each request.
    pub write_token_file: Option<PathBuf>,
    /// Memory for samples that wait for the collector, in bytes; the oldest are dropped beyond it.
    pub queue_bytes_max: usize,
    /// Rules in Prometheus' form that rewrite or drop series before they are sent, external labels added.
    pub write_relabel_configs: WriteRelabel,
}

/// Rules, opaque to others.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct WriteRelabel(pub(crate) Vec<Rule>);

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            config_files: Vec::new(),
            write_url: "http://127.0.0.1:7300/api/v1/write".to_owned(),
            write_token_file: None,
            queue_bytes_max: 64 << 20,
            write_relabel_configs: WriteRelabel::default(),
        }
    }
}

impl ScrapeConfig {
    /// Checks what does not need the files.
    ///
    /// # Errors
    /// The first field that cannot work, with what would be right.
    pub fn check(&self) -> Result<(), Error> {
        let is_http =
            ["http://", "https://"].iter().any(|scheme| self.write_url.starts_with(scheme));
        if !is_http {
            let reason = format!(
                "`{}` is not a URL such as http://127.0.0.1:7300/api/v1/write",
                redacted(&self.write_url)
            );
            return Err(Error::field("scrape.write_url", reason));
        }
        for rule in &self.write_relabel_configs.0 {
            rule.check().map_err(|reason| Error::field("scrape.write_relabel_configs", reason))?;
        }
        if self.queue_bytes_max < 1 << 20 {
            let reason = format!("{} is below the least of 1048576 bytes", self.queue_bytes_max);
            return Err(Error::field("scrape.queue_bytes_max", reason));
        }
        Ok(())
    }
}

/// Everything the files say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// Added to samples as they are sent, whichever file they come of.
    pub external: Labels,
    /// In the order written.
    pub jobs: Vec<Job>,
}

/// Largest file we read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads and checks the files `config` names.
pub(crate) fn load(config: &ScrapeConfig) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut external = External::default();
    for path in &config.config_files {
        let text = read(path)?;
        let file = document::read(&text, path)?;
        external.add(&file.external, path)?;
        plan.jobs.extend(check::jobs(file.jobs, &file.global, path)?);
        let folder = path.parent().unwrap_or(Path::new(""));
        for pattern in &file.further {
            for further in files(&folder.join(pattern)) {
                let text = read(&further)?;
                let jobs = document::read_further(&text, &further)?;
                plan.jobs.extend(check::jobs(jobs, &file.global, &further)?);
            }
        }
    }
    check::names(&plan.jobs)?;
    plan.external = external.labels();
    Ok(plan)
}

/// The external labels of all files together: all samples go to one receiver by one sender.
#[derive(Default)]
struct External<'a>(BTreeMap<String, (String, &'a Path)>);

impl<'a> External<'a> {
    /// Adds those of a file. A label that another file gives another value is an error.
    fn add(&mut self, labels: &Labels, path: &'a Path) -> Result<(), Error> {
        for (name, value) in labels.iter() {
            let known = self.0.entry(name.to_owned()).or_insert((value.to_owned(), path));
            if known.0 != value {
                let reason = format!(
                    "`global.external_labels`: {name:?} is {value:?} here and {:?} in {}; the labels of all files go to \
                     every sample, so they must agree",
                    known.0,
                    known.1.display()
                );
                return Err(Error::Syntax { path: path.to_owned(), reason });
            }
        }
        Ok(())
    }

    fn labels(self) -> Labels {
        self.0.into_iter().map(|(name, (value, _))| (name, value)).collect()
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let reason = format!("has {bytes} bytes, the limit is {FILE_BYTES_MAX}: split it");
        return Err(Error::Syntax { path: path.to_owned(), reason });
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests;

//! The YAML as it stands: `global`, `scrape_configs` and `scrape_config_files`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::metric::Labels;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use super::duration::{Size, Span};
use super::place::describe;
use super::protocol::Protocol;
use crate::Error;
use crate::http_client::with_http;
use crate::scrape::discovery::{ConsulConfig, DnsConfig, FileConfig, HttpConfig, KubernetesConfig};
use crate::scrape::relabel::Rule;

/// What a file holds, defaults not yet filled in.
pub(super) struct Document {
    pub(super) global: Global,
    pub(super) external: Labels,
    pub(super) jobs: Vec<Spanned<Job>>,
    /// Patterns of further files with jobs.
    pub(super) further: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    global: Option<Global>,
    scrape_configs: Option<Vec<Spanned<Job>>>,
    scrape_config_files: Option<Vec<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FurtherFile {
    scrape_configs: Option<Vec<Spanned<Job>>>,
}

/// `global`: what jobs do not say themselves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Global {
    pub scrape_interval: Option<Span>,
    pub scrape_timeout: Option<Span>,
    pub scrape_protocols: Option<Vec<Protocol>>,
    /// Of rules, which such a file cannot hold here: accepted, as every file has it, and without effect.
    evaluation_interval: Option<Span>,
    /// The same.
    rule_query_offset: Option<Span>,
    pub external_labels: Option<BTreeMap<String, String>>,
    pub body_size_limit: Option<Size>,
    pub sample_limit: Option<u64>,
    pub label_limit: Option<usize>,
    pub label_name_length_limit: Option<usize>,
    pub label_value_length_limit: Option<usize>,
    pub target_limit: Option<usize>,
    pub keep_dropped_targets: Option<usize>,
    pub metric_name_validation_scheme: Option<Validation>,
    pub metric_name_escaping_scheme: Option<Escaping>,
    pub scrape_native_histograms: Option<bool>,
    pub always_scrape_classic_histograms: Option<bool>,
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    pub extra_scrape_metrics: Option<bool>,
}

with_http! {
    /// One of `scrape_configs`. What is `None` here is filled in from `global` by `check`.
    pub(crate) struct Job {
        pub job_name: String,
        pub scrape_interval: Option<Span>,
        pub scrape_timeout: Option<Span>,
        pub scrape_protocols: Option<Vec<Protocol>>,
        pub fallback_scrape_protocol: Option<Protocol>,
        pub scrape_native_histograms: Option<bool>,
        pub always_scrape_classic_histograms: Option<bool>,
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        pub extra_scrape_metrics: Option<bool>,
        pub metrics_path: Option<String>,
        pub honor_labels: bool,
        pub honor_timestamps: Option<bool>,
        pub track_timestamps_staleness: bool,
        pub scheme: Option<Scheme>,
        pub params: BTreeMap<String, Vec<String>>,
        pub enable_compression: Option<bool>,
        pub body_size_limit: Option<Size>,
        pub sample_limit: Option<u64>,
        pub label_limit: Option<usize>,
        pub label_name_length_limit: Option<usize>,
        pub label_value_length_limit: Option<usize>,
        pub target_limit: Option<usize>,
        pub keep_dropped_targets: Option<usize>,
        pub native_histogram_bucket_limit: usize,
        pub native_histogram_min_bucket_factor: f64,
        pub metric_name_validation_scheme: Option<Validation>,
        pub metric_name_escaping_scheme: Option<Escaping>,
        pub static_configs: Vec<StaticGroup>,
        pub file_sd_configs: Vec<FileConfig>,
        pub http_sd_configs: Vec<HttpConfig>,
        pub dns_sd_configs: Vec<DnsConfig>,
        pub kubernetes_sd_configs: Vec<KubernetesConfig>,
        pub consul_sd_configs: Vec<ConsulConfig>,
        pub relabel_configs: Vec<Rule>,
        pub metric_relabel_configs: Vec<Rule>,
        /// Where relative paths begin: the folder of the file. Not in the YAML.
        #[serde(skip)]
        pub folder: PathBuf,
    }
}

/// How a target is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Which names metrics and labels may have.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Validation {
    #[default]
    Utf8,
    Legacy,
}

/// How targets are asked to write names that are not letters, digits and underscores.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Escaping {
    #[default]
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

impl Escaping {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// Addresses and the labels they share; of `static_configs`, of files and of HTTP discovery.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StaticGroup {
    pub targets: Vec<String>,
    pub labels: Option<BTreeMap<String, String>>,
}

pub(super) fn read(text: &str, path: &Path) -> Result<Document, Error> {
    let file: File = parse(text, path)?;
    let global = file.global.unwrap_or_default();
    let external = global.external_labels.clone().unwrap_or_default().into_iter().collect();
    Ok(Document {
        external,
        global,
        jobs: file.scrape_configs.unwrap_or_default(),
        further: file.scrape_config_files.unwrap_or_default(),
    })
}

/// A file of `scrape_config_files`, which may hold nothing but jobs.
pub(super) fn read_further(text: &str, path: &Path) -> Result<Vec<Spanned<Job>>, Error> {
    Ok(parse::<FurtherFile>(text, path)?.scrape_configs.unwrap_or_default())
}

fn parse<T: for<'de> Deserialize<'de> + Default>(text: &str, path: &Path) -> Result<T, Error> {
    // A snippet would repeat the file in the message; place and text are enough.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options::<Option<T>>(text, options)
        .map(Option::unwrap_or_default)
        .map_err(|error| describe(&error, text, path))
}

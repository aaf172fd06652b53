//! `file_sd_configs`: groups of targets in files of JSON or YAML, looked at every second by their times and sizes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Poll, TARGETS_MAX, of_groups};
use crate::scrape::config::{Span, StaticGroup, files};
use crate::scrape::relabel::LabelSet;

/// One of `file_sd_configs`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileConfig {
    pub files: Vec<PathBuf>,
    /// All files are read anew after this time, whatever their times say. Default: 5 min.
    pub refresh_interval: Option<Span>,
}

/// Between two looks at times and sizes.
const LOOK: Duration = Duration::from_secs(1);
const FILE_BYTES_MAX: u64 = 64 << 20;

impl FileConfig {
    /// What is wrong with it that no type can say.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.files.is_empty() {
            return Err("`file_sd_configs` needs at least one of `files`".to_owned());
        }
        let named = |path: &&PathBuf| {
            path.extension().is_none_or(|extension| {
                !["json", "yml", "yaml"].iter().any(|known| extension == *known)
            })
        };
        match self.files.iter().find(named) {
            Some(path) => Err(format!(
                "`file_sd_configs`: {} must end in .json, .yml or .yaml",
                path.display()
            )),
            None => Ok(()),
        }
    }
}

/// What tells whether a file is another one.
type Stamp = Option<(SystemTime, u64)>;

/// What is known of the files.
#[derive(Default)]
pub(super) struct Known {
    files: BTreeMap<PathBuf, (Stamp, Vec<LabelSet>)>,
}

impl Known {
    /// Reads what has changed, or all of it. A file that cannot be read keeps what it said; one that is gone says
    /// nothing.
    pub(super) fn look(
        &mut self,
        folder: &Path,
        config: &FileConfig,
        all: bool,
    ) -> (Vec<LabelSet>, Vec<String>) {
        let found: Vec<PathBuf> =
            config.files.iter().flat_map(|pattern| files(&folder.join(pattern))).collect();
        self.files.retain(|path, _| found.contains(path));
        let mut faults = Vec::new();
        for path in found {
            let stamp = std::fs::metadata(&path)
                .ok()
                .and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            if stamp.is_none() {
                self.files.remove(&path);
                continue;
            }
            if !all && self.files.get(&path).is_some_and(|(known, _)| *known == stamp) {
                continue;
            }
            match read(&path) {
                Ok(targets) => drop(self.files.insert(path, (stamp, targets))),
                Err(reason) => {
                    // Not read again, nor complained of, before it changes.
                    self.files.entry(path.clone()).or_default().0 = stamp;
                    faults.push(format!("{}: {reason}", path.display()));
                }
            }
        }
        (
            self.files
                .values()
                .flat_map(|(_, targets)| targets.iter().cloned())
                .take(TARGETS_MAX + 1)
                .collect(),
            faults,
        )
    }
}

fn read(path: &Path) -> Result<Vec<LabelSet>, String> {
    let text = match std::fs::metadata(path) {
        Ok(meta) if meta.len() > FILE_BYTES_MAX => {
            return Err(format!("has over {FILE_BYTES_MAX} bytes"));
        }
        _ => std::fs::read_to_string(path).map_err(|error| error.to_string())?,
    };
    let groups: Vec<StaticGroup> =
        match path.extension().is_some_and(|extension| extension == "json") {
            true => serde_json::from_str(&text).map_err(|error| error.to_string())?,
            false => {
                let options = serde_saphyr::options! { with_snippet: false };
                let groups = serde_saphyr::from_str_with_options::<Option<_>>(&text, options);
                groups.map_err(|error| error.to_string())?.unwrap_or_default()
            }
        };
    let mut targets = of_groups(&groups);
    for labels in &mut targets {
        labels.insert("__meta_filepath".to_owned(), path.display().to_string());
    }
    Ok(targets)
}

/// Looks until everything stops.
pub(super) async fn run(poll: Poll, config: FileConfig) {
    let refresh = config.refresh_interval.map_or(Duration::from_secs(300), |span| span.0);
    let folder = poll.folder().to_owned();
    let (mut known, mut last, mut since) = (Known::default(), None, Duration::ZERO);
    loop {
        let all = since >= refresh;
        since = if all { Duration::ZERO } else { since + LOOK };
        let (folder, config) = (folder.clone(), config.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let found = known.look(&folder, &config, all);
            (known, found)
        });
        let Ok((back, (targets, faults))) = looked.await else { return };
        known = back;
        for fault in faults {
            poll.counters.add("headrope_scrape_discovery_failures_total", 1);
            poll.complain(&fault);
        }
        if last.as_ref() != Some(&targets) {
            last = Some(targets.clone());
            if !poll.tell(targets).await {
                return;
            }
        }
        if !poll.wait(LOOK).await {
            return;
        }
    }
}

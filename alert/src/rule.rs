//! Rule files in Prometheus' format: read, checked and kept with their templates parsed.
//!
//! Read once at start and at each reload; whatever is wrong is told with file, line, column and a remedy, and
//! a file with anything wrong in it yields no rule at all.

mod check;
mod document;
mod extra;
mod extra_check;
mod glob;
mod place;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use template::Template;

pub use extra::{Condition, Counting, Extra, Language, NoData, Quality};
pub use glob::glob;
pub use place::Position;
pub(crate) use place::inside;

/// Largest rule file, in bytes.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most rules of one file.
pub const RULES_MAX: usize = 100_000;
/// Shortest interval of a group.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Variables every template of a rule may use.
pub const VARIABLES: [&str; 4] = ["$labels", "$externalLabels", "$externalURL", "$value"];

/// Which names labels and annotations may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// Any UTF-8 text.
    #[default]
    Utf8,
    /// Letters, digits and underscores, as before Prometheus 3.
    Legacy,
}

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which names are valid.
    pub naming: Naming,
    /// Interval of groups that name none.
    pub interval: Duration,
    /// Query offset of groups that name none.
    pub query_offset: Duration,
    /// Whether fields that nobody knows are passed over instead of refused.
    pub ignore_unknown_fields: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            naming: Naming::Utf8,
            interval: Duration::from_secs(60),
            query_offset: Duration::ZERO,
            ignore_unknown_fields: false,
        }
    }
}

/// Rules that are evaluated together, in order.
#[derive(Clone, Debug)]
pub struct Group {
    /// File it stands in, as given to [`parse`] or [`load`].
    pub file: String,
    /// Name, unique within the file.
    pub name: String,
    /// Time between evaluations, at least one second.
    pub interval: Duration,
    /// How far before the evaluation time queries look and results are stamped.
    pub query_offset: Duration,
    /// Most series or alerts one rule may yield; 0 for no limit.
    pub limit: usize,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// The objective it was made of, if it was.
    pub slo: Option<Arc<crate::slo::Slo>>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// Expression, as written.
    pub expr: Arc<str>,
    /// Labels added to results, those of the group included, in name order; values are templates in an alert.
    pub labels: Vec<(String, Text)>,
    /// Recording or alerting.
    pub kind: Kind,
    /// What stands under `headrope`.
    pub extra: Extra,
    /// Where it stands in its file.
    pub position: Position,
}

/// What a rule makes of its answer.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A series of the rule's name.
    Record,
    /// Alerts.
    Alert(Alerting),
}

/// The fields only an alerting rule has.
#[derive(Clone, Debug, Default)]
pub struct Alerting {
    /// How long the condition must hold before the alert fires.
    pub hold: Duration,
    /// How long it goes on firing after the condition ended.
    pub keep_firing: Duration,
    /// Texts for people, in name order.
    pub annotations: Vec<(String, Text)>,
}

/// A text that may be a template.
#[derive(Clone, Debug)]
pub struct Text {
    /// As written.
    pub source: String,
    /// Parsed; `None` when there is no action in it.
    pub template: Option<Arc<Template>>,
}

/// One thing wrong with a rule file. Prints as `FILE:LINE:COLUMN: [group "G", rule N, "NAME": ]TEXT[; REMEDY]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File, as given.
    pub file: String,
    /// Line and column of the offending piece.
    pub position: Position,
    /// Group and rule it stands in; empty outside of any.
    pub context: String,
    /// What is wrong.
    pub text: String,
    /// What to do about it; empty when the text says it.
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.position.line, self.position.column)?;
        if !self.context.is_empty() {
            write!(f, "{}: ", self.context)?;
        }
        f.write_str(&self.text)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// Everything that is wrong with one or more rule files; never empty. Prints one problem a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The groups of one file with default options. Only the first YAML document counts; an empty one is fine.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &str) -> Result<Vec<Group>, Problems> {
    parse_with(text, file, &Options::default())
}

/// The groups of one file; documents of kind `SLO` stand for groups as well.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_with(text: &str, file: &str, options: &Options) -> Result<Vec<Group>, Problems> {
    if crate::slo::is_document(text) {
        return crate::slo::groups(text, file, options);
    }
    let document = document::read(text, file).map_err(|problem| Problems(vec![problem]))?;
    check::groups(document, text, file, options)
}

/// Reads one file with default options.
///
/// # Errors
/// A file that cannot be read, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<Vec<Group>, Problems> {
    load_all(&[path.to_owned()], &Options::default())
}

/// Reads several files, in the order given: globs are the caller's to expand and sort.
///
/// # Errors
/// Everything that is wrong with any of them; then none of them counts.
pub fn load_all(paths: &[PathBuf], options: &Options) -> Result<Vec<Group>, Problems> {
    let mut groups = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let file = path.display().to_string();
        let parsed = match std::fs::read(path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => parse_with(&text, &file, options),
                Err(_) => Err(unreadable(&file, "it is not UTF-8 text", "save it as UTF-8")),
            },
            Err(error) => Err(unreadable(&file, &error.to_string(), "check its path and mode")),
        };
        match parsed {
            Ok(parsed) => groups.extend(parsed),
            Err(Problems(found)) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(groups) } else { Err(Problems(problems)) }
}

fn unreadable(file: &str, reason: &str, remedy: &str) -> Problems {
    Problems(vec![Problem {
        file: file.to_owned(),
        position: Position::default(),
        context: String::new(),
        text: format!("cannot read the rule file: {reason}"),
        remedy: remedy.to_owned(),
    }])
}

#[cfg(test)]
mod tests;

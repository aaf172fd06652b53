//! An Alertmanager configuration, checked: the tree of routes, receivers, inhibitions, time intervals.
//!
//! Settings of integrations are kept as they stand: who sends reads them, and points at mistakes by
//! [`Config::problem`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::metric::Labels;
use serde_json::Value;

use super::check::Checker;
use super::file;
use super::interval::Interval;
use super::matcher::{Condition, all_hold};
use crate::rule::{Position, Problem, Problems};
use crate::yaml::{byte_of, field_position, position_of, problem};

/// Most routes of a file.
pub const ROUTES_MAX: usize = 10_000;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Routes, the root first; children stand behind their parent.
    pub routes: Vec<Route>,
    /// Receivers, in the order of the file.
    pub receivers: Vec<Receiver>,
    /// Inhibition rules.
    pub inhibitions: Vec<Inhibition>,
    /// Time intervals by name.
    pub intervals: BTreeMap<String, Vec<Interval>>,
    /// Globs of template files, as written.
    pub templates: Vec<String>,
    /// The section `global` as it stands; null without one.
    pub global: Value,
    /// After how long a posted alert without an end is resolved.
    pub resolve_timeout: Duration,
    /// What is accepted and does nothing, in words.
    pub warnings: Vec<String>,
    file: String,
    source: String,
    global_at: Position,
}

/// A node of the routing tree.
#[derive(Clone, Debug)]
pub struct Route {
    /// Nodes below, in order.
    pub children: Vec<usize>,
    /// What an alert must fulfil.
    pub conditions: Vec<Condition>,
    /// Who is told.
    pub receiver: String,
    /// Labels alerts are grouped by; `None` for every label.
    pub group_by: Option<BTreeSet<String>>,
    /// Before the first message of a group.
    pub group_wait: Duration,
    /// Between two messages of a group.
    pub group_interval: Duration,
    /// Before a message that says nothing new.
    pub repeat_interval: Duration,
    /// Whether siblings behind it are asked as well.
    pub goes_on: bool,
    /// Intervals in which it is mute.
    pub mute_in: Vec<String>,
    /// Intervals outside of which it is mute; none for always active.
    pub active_in: Vec<String>,
    /// Labels of the route, templates as written.
    pub labels: BTreeMap<String, String>,
    /// Path of matchers from the root: `{}/{severity="page"}`.
    pub key: String,
}

/// Someone to tell.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Unique name.
    pub name: String,
    /// Labels of the receiver.
    pub labels: BTreeMap<String, String>,
    /// How.
    pub integrations: Vec<Integration>,
}

/// One way to tell someone.
#[derive(Clone, Debug)]
pub struct Integration {
    /// `webhook`, `slack`, …
    pub kind: &'static str,
    /// Number among those of its kind in the receiver.
    pub index: usize,
    /// Whether it is told that alerts are resolved.
    pub send_resolved: bool,
    /// Its settings as they stand.
    pub settings: Value,
    at: Position,
}

/// Alerts that mute others.
#[derive(Clone, Debug)]
pub struct Inhibition {
    /// Name; may be empty.
    pub name: String,
    /// What a muting alert fulfils.
    pub source: Vec<Condition>,
    /// What a muted alert fulfils.
    pub target: Vec<Condition>,
    /// Labels both have in common.
    pub equal: Vec<String>,
}

/// Options of reading.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What the time zone `Local` stands for.
    pub local_zone: String,
}

impl Default for Reading {
    fn default() -> Self {
        Self { local_zone: "UTC".to_owned() }
    }
}

impl Config {
    /// Reads a file. `name` stands in front of each problem.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, name: &str, reading: &Reading) -> Result<Self, Problems> {
        let document = file::read(text, name).map_err(|problem| Problems(vec![problem]))?;
        let mut checker = Checker::new(text, name, &reading.local_zone);
        let global_at = document.global.as_ref().map(|g| position_of(g.referenced));
        let global = document.global.map_or(Value::Null, |global| global.value);
        let mut warnings = Vec::new();
        for (section, given) in
            [("tracing", &document.tracing), ("event_recorder", &document.event_recorder)]
        {
            if given.is_some() {
                warnings.push(format!("the section {section} has no effect here"));
            }
        }
        let mut named = document.time_intervals.unwrap_or_default();
        named.extend(document.mute_time_intervals.unwrap_or_default());
        let intervals = checker.intervals(named);
        let receivers = checker.receivers(document.receivers.unwrap_or_default());
        let routes = checker.routes(document.route);
        checker.references(&receivers, &intervals);
        let inhibitions = checker.inhibitions(document.inhibit_rules.unwrap_or_default());
        let resolve_timeout = checker.resolve_timeout(&global, global_at.unwrap_or_default());
        let templates = document.templates.0.into_iter().map(|glob| glob.value).collect();
        checker.finish()?;
        Ok(Self {
            routes,
            receivers,
            inhibitions,
            intervals,
            templates,
            global,
            resolve_timeout,
            warnings,
            file: name.to_owned(),
            source: text.to_owned(),
            global_at: global_at.unwrap_or_default(),
        })
    }

    /// What is in force where there is no file: everything is kept and grouped by name, and nobody is told.
    ///
    /// # Panics
    /// Never: its text is a configuration.
    #[must_use]
    pub fn none() -> Self {
        let text = "{route: {receiver: none, group_by: [alertname]}, receivers: [{name: none}]}";
        Self::parse(text, "", &Reading::default()).expect("the text is a configuration")
    }

    /// Name of the file, as given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The file as it was read.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Indices of the routes an alert with these labels ends at: one at least.
    #[must_use]
    pub fn routes_of(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        self.descend(0, labels, &mut found);
        found
    }

    fn descend(&self, at: usize, labels: &Labels, found: &mut Vec<usize>) {
        let before = found.len();
        for child in &self.routes[at].children {
            let child_route = &self.routes[*child];
            if !all_hold(&child_route.conditions, labels) {
                continue;
            }
            self.descend(*child, labels, found);
            if !child_route.goes_on {
                break;
            }
        }
        if found.len() == before {
            found.push(at);
        }
    }

    /// The receiver of this name: routes name only such as there are.
    #[must_use]
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }

    /// What is wrong with the settings of an integration, or with `global` when there is none; `field` is looked for
    /// behind its beginning.
    #[must_use]
    pub fn problem(&self, of: Option<&Integration>, field: Option<&str>, text: String) -> Problem {
        let at = of.map_or(self.global_at, |integration| integration.at);
        let position = field.map_or(at, |field| field_position(&self.source, at, field));
        problem(&self.file, position, text, "")
    }
}

impl Route {
    /// The labels an alert is grouped by here.
    #[must_use]
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        let Some(names) = &self.group_by else { return labels.clone() };
        let wanted = labels.iter().filter(|(name, _)| names.contains(*name));
        wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl Integration {
    pub(super) fn new(
        kind: &'static str,
        index: usize,
        settings: serde_saphyr::Spanned<Value>,
        source: &str,
    ) -> Self {
        let at = byte_of(settings.referenced)
            .map_or_else(|| position_of(settings.referenced), |byte| Position::of(source, byte));
        let settings = settings.value;
        let by_default = !matches!(kind, "email" | "slack" | "wechat" | "rocketchat");
        let said = settings.get("send_resolved").and_then(Value::as_bool);
        Self { kind, index, send_resolved: said.unwrap_or(by_default), settings, at }
    }

    /// `webhook[0]`, as it stands in the log of notifications.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}[{}]", self.kind, self.index)
    }
}

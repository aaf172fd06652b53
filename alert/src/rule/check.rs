//! From what stands in the file to rules that can run: every check, with the sentences Prometheus users know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;
use template::{Template, duration};

use super::document::{self, File};
use super::extra::Language;
use super::place::{Position, inside};
use super::{
    Alerting, Group, INTERVAL_MIN, Kind, Naming, Options, Problem, Problems, RULES_MAX, Rule, Text,
    VARIABLES,
};
use crate::yaml::{self, Pairs, Scalar, Unknown, byte_of, position_of};

/// The groups of `document`, or everything wrong with them.
pub(super) fn groups(
    document: File,
    source: &str,
    file: &str,
    options: &Options,
) -> Result<Vec<Group>, Problems> {
    let mut checker =
        Checker { source, file, options, context: String::new(), problems: Vec::new() };
    let groups = checker.groups(document);
    if checker.problems.is_empty() { Ok(groups) } else { Err(Problems(checker.problems)) }
}

pub(super) struct Checker<'a> {
    source: &'a str,
    file: &'a str,
    options: &'a Options,
    context: String,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    pub(super) fn refuse(&mut self, position: Position, text: impl Into<String>, remedy: &str) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            position,
            context: self.context.clone(),
            text: text.into(),
            remedy: remedy.to_owned(),
        });
    }

    /// The place of byte `offset` of a scalar's text.
    pub(super) fn within(&self, scalar: &Scalar, offset: usize) -> Position {
        match byte_of(scalar.defined) {
            Some(start) => inside(self.source, start, &scalar.value, offset),
            None => position_of(scalar.defined),
        }
    }

    pub(super) fn unknown(
        &mut self,
        kind: &str,
        at: Position,
        unknown: &Unknown,
        known: &[&'static str],
    ) {
        if !self.options.ignore_unknown_fields {
            let found = yaml::unknown_fields((self.source, self.file), kind, at, (unknown, known));
            self.problems.extend(found);
        }
    }

    fn groups(&mut self, document: File) -> Vec<Group> {
        self.unknown("rule file", Position::default(), &document.unknown, &document::FILE);
        let mut names = BTreeSet::new();
        let mut groups = Vec::new();
        let mut n_rules = 0;
        for group in document.groups.unwrap_or_default() {
            let position = position_of(group.referenced);
            let name = group.value.name.as_ref().map_or("", |name| &name.value).to_owned();
            self.context = format!("group {name:?}");
            if name.is_empty() {
                self.refuse(position, "Groupname must not be empty", "give the group a name");
            } else if !names.insert(name.clone()) {
                let text = format!("groupname: {name:?} is repeated in the same file");
                let position =
                    group.value.name.as_ref().map_or(position, |n| position_of(n.referenced));
                self.refuse(position, text, "rename one of them or merge their rules");
            }
            n_rules += group.value.rules.as_ref().map_or(0, Vec::len);
            self.unknown("group", position, &group.value.unknown, &document::GROUP);
            groups.push(self.group(group.value, name));
            if n_rules > RULES_MAX {
                self.refuse(position, format!("more than {RULES_MAX} rules"), "split the file");
                break;
            }
        }
        groups
    }

    fn group(&mut self, group: document::Group, name: String) -> Group {
        let mut interval = self.duration(group.interval.as_ref()).unwrap_or(Duration::ZERO);
        if interval.is_zero() {
            interval = self.options.interval; // As upstream: a zero interval asks for the default.
        }
        if let Some(written) = group.interval.as_ref().filter(|_| interval < INTERVAL_MIN) {
            let position = position_of(written.referenced);
            self.refuse(
                position,
                format!("interval {} is below 1s", written.value),
                "write 1s or more",
            );
        }
        let query_offset = self.duration(group.query_offset.as_ref());
        let limit = self.limit(group.limit.as_ref());
        let shared = self.labels(group.labels.as_ref(), true);
        let mut rules = Vec::new();
        for (i, rule) in group.rules.unwrap_or_default().into_iter().enumerate() {
            let named = rule.value.alert.as_ref().or(rule.value.record.as_ref());
            let rule_name = named.map_or("", |name| &name.value);
            self.context = format!("group {name:?}, rule {}, {rule_name:?}", i + 1);
            rules.extend(self.rule(rule, &shared));
        }
        Group {
            file: self.file.to_owned(),
            name,
            interval,
            query_offset: query_offset.unwrap_or(self.options.query_offset),
            limit,
            rules,
            slo: None,
        }
    }

    pub(super) fn duration(&mut self, written: Option<&Scalar>) -> Option<Duration> {
        let written = written.filter(|w| !w.value.is_empty())?;
        let Some(ms) = duration::parse_ms(&written.value) else {
            let text = format!("not a valid duration string: {:?}", written.value);
            self.refuse(position_of(written.referenced), text, "write it like 30s, 5m or 1h30m");
            return None;
        };
        u64::try_from(ms).ok().map(Duration::from_millis)
    }

    fn limit(&mut self, written: Option<&Scalar>) -> usize {
        let Some(written) = written.filter(|w| !w.value.is_empty()) else { return 0 };
        written.value.parse().unwrap_or_else(|_| {
            let text = format!("limit {:?} is not a whole number", written.value);
            self.refuse(position_of(written.referenced), text, "write how many, or 0 for no limit");
            0
        })
    }

    fn rule(
        &mut self,
        rule: Spanned<document::Rule>,
        shared: &BTreeMap<String, Text>,
    ) -> Option<Rule> {
        let position = position_of(rule.referenced);
        let rule = rule.value;
        self.unknown("rule", position, &rule.unknown, &document::RULE);
        let filled = |scalar: &Option<Scalar>| scalar.as_ref().is_some_and(|s| !s.value.is_empty());
        let (name, alerts) = match (filled(&rule.record), filled(&rule.alert)) {
            (true, true) => {
                let text = "only one of 'record' and 'alert' must be set";
                self.refuse(position, text, "make two rules of it");
                return None;
            }
            (false, false) => {
                self.refuse(position, "one of 'record' or 'alert' must be set", "name the rule");
                return None;
            }
            (true, false) => (rule.record.as_ref()?, false),
            (false, true) => (rule.alert.as_ref()?, true),
        };
        let extra = self.extra(rule.headrope.as_ref(), alerts);
        let expr = self.expression(rule.expr.as_ref(), &extra.language, position);
        let mut labels = shared.clone();
        labels.extend(self.labels(rule.labels.as_ref(), alerts));
        let kind = if alerts {
            Kind::Alert(Alerting {
                hold: self.duration(rule.hold.as_ref()).unwrap_or_default(),
                keep_firing: self.duration(rule.keep_firing_for.as_ref()).unwrap_or_default(),
                annotations: self.annotations(rule.annotations.as_ref()),
            })
        } else {
            self.recording(&rule, name);
            Kind::Record
        };
        let name = name.value.clone();
        let (expr, labels) = (expr?, labels.into_iter().collect());
        Some(Rule { name, expr, labels, kind, extra, position })
    }

    fn expression(
        &mut self,
        expr: Option<&Scalar>,
        language: &Language,
        rule: Position,
    ) -> Option<Arc<str>> {
        let is_search = matches!(language, Language::Logs(_) | Language::Traces(_));
        let Some(expr) = expr.filter(|e| is_search || !e.value.trim().is_empty()) else {
            self.refuse(rule, "field 'expr' must be set in rule", "write what to evaluate");
            return None;
        };
        self.parses(expr, language);
        Some(expr.value.as_str().into())
    }

    fn recording(&mut self, rule: &document::Rule, name: &Scalar) {
        let position = position_of(name.referenced);
        if let Some((key, _)) = rule.annotations.as_ref().and_then(|pairs| pairs.0.first()) {
            let position = position_of(key.referenced);
            let text = "invalid field 'annotations' in recording rule";
            self.refuse(position, text, "remove it or make the rule an alert");
        }
        for (field, written) in [("for", &rule.hold), ("keep_firing_for", &rule.keep_firing_for)] {
            let Some(written) = written else { continue };
            if self.duration(Some(written)).is_some_and(|length| !length.is_zero()) {
                let text = format!("invalid field '{field}' in recording rule");
                let remedy = "remove it or make the rule an alert";
                self.refuse(position_of(written.referenced), text, remedy);
            }
        }
        if name.value.contains(['{', '}']) {
            let text = format!(
                "braces present in the recording rule name; should it be in expr?: {}",
                name.value
            );
            self.refuse(position, text, "name only the new series here");
        } else if self.options.naming == Naming::Legacy && !is_legacy_name(&name.value, true) {
            let text = format!("invalid recording rule name: {}", name.value);
            self.refuse(position, text, "use letters, digits, underscores and colons");
        }
    }

    fn labels(&mut self, pairs: Option<&Pairs>, templates: bool) -> BTreeMap<String, Text> {
        let mut labels = BTreeMap::new();
        for (key, value) in pairs.map_or(&[][..], |pairs| &pairs.0) {
            if !self.is_name(&key.value) || key.value == "__name__" {
                let text = format!("invalid label name: {}", key.value);
                let remedy = match key.value.as_str() {
                    "__name__" => "the name of the series is the value of 'record'",
                    _ => "use letters, digits and underscores",
                };
                self.refuse(position_of(key.referenced), text, remedy);
                continue;
            }
            let text = if templates {
                self.text("label", &key.value, value.as_ref())
            } else {
                Text {
                    source: value.as_ref().map_or_else(String::new, |v| v.value.clone()),
                    template: None,
                }
            };
            labels.insert(key.value.clone(), text);
        }
        labels
    }

    fn annotations(&mut self, pairs: Option<&Pairs>) -> Vec<(String, Text)> {
        let mut annotations = BTreeMap::new();
        for (key, value) in pairs.map_or(&[][..], |pairs| &pairs.0) {
            if self.is_name(&key.value) {
                let text = self.text("annotation", &key.value, value.as_ref());
                annotations.insert(key.value.clone(), text);
            } else {
                let text = format!("invalid annotation name: {}", key.value);
                let remedy = "use letters, digits and underscores";
                self.refuse(position_of(key.referenced), text, remedy);
            }
        }
        annotations.into_iter().collect()
    }

    fn text(&mut self, what: &str, name: &str, value: Option<&Scalar>) -> Text {
        let Some(value) = value else { return Text { source: String::new(), template: None } };
        let source = value.value.clone();
        if !source.contains("{{") {
            return Text { source, template: None };
        }
        match Template::parse(name, &source, &VARIABLES) {
            Ok(template) => Text { source, template: Some(Arc::new(template)) },
            Err(error) => {
                let position = self.within(value, byte_at(&source, error.line, error.column));
                self.refuse(position, format!("{what} {name:?}: {error}"), "");
                Text { source, template: None }
            }
        }
    }

    fn is_name(&self, name: &str) -> bool {
        match self.options.naming {
            Naming::Utf8 => !name.is_empty(),
            Naming::Legacy => is_legacy_name(name, false),
        }
    }
}

fn is_legacy_name(name: &str, colons: bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || (colons && b == b':'))
}

/// The byte of `text` at a line and column.
fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let within = text[before..].char_indices().nth(column - 1).map_or(0, |(i, _)| i);
    before + within
}

//! Relabelling: rules that rewrite, keep or drop the labels of a target or of a sample. Pure.
//!
//! Source: "relabel_config" of Prometheus' configuration reference.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use md5::{Digest as _, Md5};
use model::regexp::{self, Dot, Regexp};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Labels while rules work on them: name to value, sorted; no value is empty.
pub(crate) type LabelSet = BTreeMap<String, String>;

/// One of `relabel_configs`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rule {
    pub source_labels: Vec<String>,
    pub separator: String,
    pub regex: Pattern,
    pub modulus: u64,
    pub target_label: String,
    pub replacement: String,
    pub action: Action,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: Pattern::default(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: Action::Replace,
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

impl Action {
    /// As the configuration writes it.
    pub(crate) fn as_str(self) -> &'static str {
        ACTIONS.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let found = ACTIONS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        found.map(|(_, action)| *action).ok_or_else(|| {
            let known: Vec<_> = ACTIONS.iter().map(|(name, _)| *name).collect();
            D::Error::custom(format!(
                "unknown relabel action {text:?}, there are {}",
                known.join(", ")
            ))
        })
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

/// What [`Pattern`] leaves out: its one group is the text itself.
static EVERYTHING: LazyLock<Ready> =
    LazyLock::new(|| Ready::new("(.*)").expect("the expression is valid"));

/// A regular expression made ready.
#[derive(Clone, Debug)]
struct Ready {
    regex: Regex,
    form: Regexp,
}

impl Ready {
    /// Reads it as Prometheus does; why it is none, in words.
    fn new(written: &str) -> Result<Self, String> {
        let form =
            regexp::translate_within(written, Dot::Any).map_err(|error| error.to_string())?;
        let regex = RegexBuilder::new(&form.rust).nest_limit(regexp::NEST_LIMIT).build();
        let regex = regex.map_err(|error| {
            // The last line says what is wrong, those before draw the pattern.
            let error = error.to_string();
            error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        Ok(Self { regex, form })
    }
}

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    written: String,
    /// `None` for `(.*)`, which matches everything and is what most rules have.
    regex: Option<Ready>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Pattern {}

impl Default for Pattern {
    fn default() -> Self {
        Self { written: "(.*)".to_owned(), regex: None }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let written = String::deserialize(input)?;
        if written == "(.*)" {
            return Ok(Self::default());
        }
        match Ready::new(&written) {
            Ok(ready) => Ok(Self { written, regex: Some(ready) }),
            Err(reason) => Err(D::Error::custom(format!("regex {written:?}: {reason}"))),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.written)
    }
}

impl Pattern {
    /// As the configuration has it.
    pub(crate) fn as_str(&self) -> &str {
        &self.written
    }

    fn is_match(&self, text: &str) -> bool {
        self.regex.as_ref().is_none_or(|ready| ready.regex.is_match(text))
    }

    /// `template` with the groups of the match in `text`, or `None` without a match.
    fn expand(&self, text: &str, template: &str) -> Option<String> {
        match &self.regex {
            None if template == "$1" => Some(text.to_owned()),
            ready => {
                let mut out = String::new();
                let ready = ready.as_ref().unwrap_or(&EVERYTHING);
                let captures = ready.regex.captures(text)?;
                let group = |i| captures.get(i).map(|group| group.as_str());
                ready.form.expand(template, group, &mut out).ok()?;
                Some(out)
            }
        }
    }
}

impl Rule {
    /// What is wrong with it that no type can say.
    pub(crate) fn check(&self) -> Result<(), String> {
        let action = self.action.as_str();
        let needs_target = matches!(
            self.action,
            Action::Replace
                | Action::HashMod
                | Action::Lowercase
                | Action::Uppercase
                | Action::KeepEqual
                | Action::DropEqual
        );
        if needs_target && self.target_label.is_empty() {
            return Err(format!(
                "relabel configuration for {action} action requires 'target_label' value"
            ));
        }
        if self.action == Action::HashMod && self.modulus == 0 {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        let is_default =
            self.regex.regex.is_none() && self.separator == ";" && self.replacement == "$1";
        let only_regex = matches!(self.action, Action::LabelDrop | Action::LabelKeep);
        let has_more =
            !self.source_labels.is_empty() || !self.target_label.is_empty() || self.modulus > 0;
        if only_regex && (has_more || self.separator != ";" || self.replacement != "$1") {
            return Err(format!("{action} action requires only 'regex', and no other fields"));
        }
        let only_labels = matches!(self.action, Action::KeepEqual | Action::DropEqual);
        if only_labels && (!is_default || self.modulus > 0) {
            return Err(format!(
                "{action} action requires only 'source_labels' and `target_label`, and no other fields"
            ));
        }
        if matches!(self.action, Action::Lowercase | Action::Uppercase) && self.replacement != "$1"
        {
            return Err(format!("'replacement' can not be set for {action} action"));
        }
        Ok(())
    }

    /// Rewrites `labels`; whether what they name is kept.
    pub(crate) fn apply(&self, labels: &mut LabelSet) -> bool {
        let values: Vec<&str> = self
            .source_labels
            .iter()
            .map(|name| labels.get(name).map_or("", String::as_str))
            .collect();
        let value = values.join(&self.separator);
        match self.action {
            Action::Keep => return self.regex.is_match(&value),
            Action::Drop => return !self.regex.is_match(&value),
            Action::KeepEqual => {
                return labels.get(&self.target_label).map_or("", String::as_str) == value;
            }
            Action::DropEqual => {
                return labels.get(&self.target_label).map_or("", String::as_str) != value;
            }
            Action::Replace => self.replace(&value, labels),
            Action::HashMod => {
                let hash = hash(&value);
                set(labels, self.target_label.clone(), (hash % self.modulus.max(1)).to_string());
            }
            Action::Lowercase => set(labels, self.target_label.clone(), value.to_lowercase()),
            Action::Uppercase => set(labels, self.target_label.clone(), value.to_uppercase()),
            Action::LabelMap => {
                let mapped = |(name, value): (&String, &String)| {
                    Some((self.regex.expand(name, &self.replacement)?, value.clone()))
                };
                let mapped: Vec<_> = labels.iter().filter_map(mapped).collect();
                mapped.into_iter().for_each(|(name, value)| set(labels, name, value));
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, value: &str, labels: &mut LabelSet) {
        let Some(target) = self.regex.expand(value, &self.target_label) else { return };
        if target.is_empty() {
            return;
        }
        if let Some(text) = self.regex.expand(value, &self.replacement) {
            set(labels, target, text);
        }
    }
}

/// What Prometheus shards by: the last 8 of the 16 bytes of the MD5 digest (RFC 1321).
fn hash(value: &str) -> u64 {
    let digest = Md5::digest(value);
    digest[8..].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// A label without a value is no label.
fn set(labels: &mut LabelSet, name: String, value: String) {
    match value.is_empty() {
        true => drop(labels.remove(&name)),
        false => drop(labels.insert(name, value)),
    }
}

/// Applies the rules in order; whether what `labels` name is kept.
pub(crate) fn apply(rules: &[Rule], labels: &mut LabelSet) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
mod tests;

//! Which series satisfy a set of matchers: postings narrow the candidates, the matchers decide.

use std::collections::HashMap;
use std::sync::Arc;

use model::matcher::{MatchOp, Matcher};
use model::metric::SeriesDef;
use regex::Regex;

use crate::error::Error;
use crate::registry::Series;

const NAME: &str = "__name__";

/// Slots by metric name and by label of one tenant, ascending.
#[derive(Default)]
pub(super) struct Index {
    all: Vec<u32>,
    by_name: HashMap<Box<str>, Vec<u32>>,
    by_label: HashMap<Box<str>, HashMap<Box<str>, Vec<u32>>>,
}

impl Index {
    pub(super) fn add(&mut self, slot: u32, def: &SeriesDef) {
        self.all.push(slot);
        post(&mut self.by_name, &def.prom_name, slot);
        if def.metric != def.prom_name {
            post(&mut self.by_name, &def.metric, slot);
        }
        for (name, value) in def.prom_labels.iter() {
            match self.by_label.get_mut(name) {
                Some(values) => post(values, value, slot),
                None => post(self.by_label.entry(Box::from(name)).or_default(), value, slot),
            }
        }
    }

    /// Slots with this label, when `value` is not empty (an absent label equals the empty string).
    fn postings(&self, name: &str, value: &str) -> &[u32] {
        let found = match name {
            NAME => self.by_name.get(value),
            _ => self.by_label.get(name).and_then(|values| values.get(value)),
        };
        found.map_or(&[], Vec::as_slice)
    }
}

fn post(postings: &mut HashMap<Box<str>, Vec<u32>>, key: &str, slot: u32) {
    match postings.get_mut(key) {
        Some(slots) => slots.push(slot),
        None => {
            postings.insert(Box::from(key), vec![slot]);
        }
    }
}

/// One comparison, its expression compiled.
pub(crate) enum Test {
    Equal(String),
    NotEqual(String),
    Regex(Regex),
    NotRegex(Regex),
}

impl Test {
    pub(crate) fn new(matcher: &Matcher) -> Result<Self, Error> {
        let regex = || {
            Regex::new(&format!("^(?s:{})$", matcher.value)).map_err(|error| Error::Regex {
                label: matcher.name.clone(),
                reason: error.to_string(),
            })
        };
        Ok(match matcher.op {
            MatchOp::Equal => Self::Equal(matcher.value.clone()),
            MatchOp::NotEqual => Self::NotEqual(matcher.value.clone()),
            MatchOp::Regex => Self::Regex(regex()?),
            MatchOp::NotRegex => Self::NotRegex(regex()?),
        })
    }

    pub(crate) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::Regex(regex) => regex.is_match(value),
            Self::NotRegex(regex) => !regex.is_match(value),
        }
    }
}

/// Matchers with their expressions compiled.
pub(super) struct Filter(Vec<(String, Test)>);

impl Filter {
    pub(super) fn new(matchers: &[Matcher]) -> Result<Self, Error> {
        matchers
            .iter()
            .map(|matcher| Ok((matcher.name.clone(), Test::new(matcher)?)))
            .collect::<Result<_, Error>>()
            .map(Self)
    }

    pub(super) fn select(&self, index: &Index, series: &[Arc<Series>]) -> Vec<Arc<Series>> {
        let shortest = self
            .0
            .iter()
            .filter_map(|(name, test)| match test {
                Test::Equal(value) if !value.is_empty() => Some(index.postings(name, value)),
                Test::Equal(_) | Test::NotEqual(_) | Test::Regex(_) | Test::NotRegex(_) => None,
            })
            .min_by_key(|slots| slots.len());
        shortest
            .unwrap_or(&index.all)
            .iter()
            .map(|&slot| &series[slot as usize])
            .filter(|series| series.is_visible() && self.holds(&series.def))
            .cloned()
            .collect()
    }

    fn holds(&self, def: &SeriesDef) -> bool {
        self.0.iter().all(|(name, test)| match (name.as_str(), test) {
            (NAME, Test::Equal(wanted)) => *wanted == def.prom_name || *wanted == def.metric,
            (NAME, test) => test.holds(&def.prom_name),
            (name, test) => test.holds(def.prom_labels.value(name).unwrap_or("")),
        })
    }
}

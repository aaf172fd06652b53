//! Which alerts mute which: sources indexed by the values of the labels both must share.

use std::collections::{BTreeSet, HashMap};

use model::metric::Labels;

use super::config::Inhibition;
use super::matcher::all_hold;

/// Sources of each rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// One a rule: values of `equal` to alerts that fulfil the source side, firing or not.
    by_rule: Vec<HashMap<Vec<String>, BTreeSet<Labels>>>,
}

impl Sources {
    pub(crate) fn new(n_rules: usize) -> Self {
        Self { by_rule: vec![HashMap::new(); n_rules] }
    }

    pub(crate) fn add(&mut self, rules: &[Inhibition], labels: &Labels) {
        for (rule, sources) in rules.iter().zip(&mut self.by_rule) {
            if all_hold(&rule.source, labels) {
                sources.entry(values(rule, labels)).or_default().insert(labels.clone());
            }
        }
    }

    pub(crate) fn remove(&mut self, rules: &[Inhibition], labels: &Labels) {
        for (rule, sources) in rules.iter().zip(&mut self.by_rule) {
            let key = values(rule, labels);
            let Some(found) = sources.get_mut(&key) else { continue };
            found.remove(labels);
            if found.is_empty() {
                sources.remove(&key);
            }
        }
    }

    /// A firing alert that mutes the one with these labels.
    pub(crate) fn muting<'a>(
        &'a self,
        rules: &[Inhibition],
        labels: &Labels,
        is_firing: impl Fn(&Labels) -> bool,
    ) -> Option<&'a Labels> {
        rules.iter().zip(&self.by_rule).find_map(|(rule, sources)| {
            if !all_hold(&rule.target, labels) {
                return None;
            }
            // Alerts that are both do not mute each other, nor themselves.
            let is_source = all_hold(&rule.source, labels);
            let found = sources.get(&values(rule, labels))?;
            found
                .iter()
                .find(|source| !(is_source && all_hold(&rule.target, source)) && is_firing(source))
        })
    }
}

fn values(rule: &Inhibition, labels: &Labels) -> Vec<String> {
    rule.equal.iter().map(|name| labels.value(name).unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::matcher::parse;

    fn labels(text: &str) -> Labels {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn mutes(rule: &Inhibition, source: &str, target: &str) -> bool {
        let rules = std::slice::from_ref(rule);
        let mut sources = Sources::new(1);
        sources.add(rules, &labels(source));
        let muted = sources.muting(rules, &labels(target), |_| true).is_some();
        assert_eq!(sources.muting(rules, &labels(target), |_| false), None);
        sources.remove(rules, &labels(source));
        assert_eq!(sources.muting(rules, &labels(target), |_| true), None);
        muted
    }

    fn rule(source: &str, target: &str, equal: &[&str]) -> Inhibition {
        Inhibition {
            name: String::new(),
            source: parse(source).unwrap(),
            target: parse(target).unwrap(),
            equal: equal.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_source_mutes_targets_that_share_labels() {
        let down = rule("s=page", "s=info", &["host", "zone"]);
        assert!(mutes(&down, "s=page host=a", "s=info host=a"));
        assert!(!mutes(&down, "s=page host=a", "s=info host=b"));
        assert!(!mutes(&down, "s=page host=a", "s=info host=a zone=x"), "missing is empty");
        assert!(!mutes(&down, "s=info host=a", "s=info host=a"));
    }

    #[test]
    fn alerts_on_both_sides_do_not_mute_each_other() {
        let both = rule("a=~.+", "b=~.+", &[]);
        assert!(!mutes(&both, "a=1 b=1", "a=2 b=2"));
        assert!(!mutes(&both, "a=1 b=1", "a=1 b=1"));
        assert!(mutes(&both, "a=1", "a=2 b=2"));
        assert!(mutes(&both, "a=1 b=1", "b=2"));
        // An empty rule has every alert on both sides.
        assert!(!mutes(&rule("{}", "{}", &[]), "a=1", "a=2"));
    }
}

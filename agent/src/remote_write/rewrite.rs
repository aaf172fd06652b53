//! `write_relabel_configs`: rules that rewrite or drop series on their way out, once for each series.

use std::collections::HashMap;

use model::metric::Labels;

use super::encode::merged;
use super::point::Point;
use crate::scrape::relabel::{self, LabelSet, Rule};

/// Series whose outcome is remembered; beyond it all are forgotten, and found anew.
const KNOWN_MAX: usize = 100_000;

/// Rules, and what they made of the series seen so far.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    rules: Vec<Rule>,
    /// The labels of the sender that `known` holds.
    external: Labels,
    known: HashMap<Labels, Option<Labels>>,
}

impl Rewrite {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Gives points the labels the rules make of theirs and the sender's, and takes out those they drop.
    pub(crate) fn apply(&mut self, points: &mut Vec<Point>, external: &Labels) {
        if self.external != *external || self.known.len() > KNOWN_MAX {
            (self.external, self.known) = (external.clone(), HashMap::new());
        }
        points.retain_mut(|point| match self.labels(&point.labels) {
            Some(labels) => {
                point.labels = labels;
                true
            }
            None => false,
        });
    }

    fn labels(&mut self, own: &Labels) -> Option<Labels> {
        if let Some(known) = self.known.get(own) {
            return known.clone();
        }
        let pairs = merged(own, &self.external).into_iter();
        let mut set: LabelSet = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let is_kept = relabel::apply(&self.rules, &mut set);
        // As in Prometheus a series that has lost all its labels is gone, too.
        let labels = (is_kept && !set.is_empty()).then(|| set.into_iter().collect());
        self.known.insert(own.clone(), labels.clone());
        labels
    }
}

//! How the series of two vectors find each other: signatures, computed once per query, and result labels.

use std::collections::HashMap;

use super::column::Column;
use crate::promql::ast::{BinaryOp, Cardinality, Matching};
use crate::promql::labels::{Labels, NAME};

/// The labels by which a series is matched.
pub(super) fn match_labels(matching: &Matching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label.as_ref() == name);
    if matching.on {
        labels.filter(listed)
    } else {
        labels.filter(|name| !listed(name) && name != NAME)
    }
}

/// Signatures of both sides as small numbers: equal numbers, equal match labels.
pub(super) struct Signatures {
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
    /// The match labels of each signature.
    pub(super) labels: Vec<Labels>,
}

impl Signatures {
    pub(super) fn new(matching: &Matching, left: &[Column], right: &[Column]) -> Self {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut list = Vec::new();
        let mut number = |columns: &[Column]| -> Vec<usize> {
            let signature = |column: &Column| {
                let labels = match_labels(matching, &column.labels);
                *known.entry(labels.clone()).or_insert_with(|| {
                    list.push(labels);
                    list.len() - 1
                })
            };
            columns.iter().map(signature).collect()
        };
        let (left, right) = (number(left), number(right));
        Self { left, right, labels: list }
    }
}

/// Labels of the result of one pair; `many` is the left side except with `group_right`.
pub(super) fn result_labels(
    op: BinaryOp,
    matching: &Matching,
    many: &Labels,
    one: &Labels,
) -> Labels {
    let mut labels = if op.changes_meaning() { many.without_name() } else { many.clone() };
    if matching.card == Cardinality::OneToOne {
        let listed = |name: &str| matching.labels.iter().any(|label| label.as_ref() == name);
        labels = labels.filter(|name| listed(name) == matching.on);
    }
    for label in &matching.include {
        labels = labels.with(label, one.value(label));
    }
    labels
}

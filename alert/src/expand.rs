//! Templates of labels and annotations, filled in. Queries they ask are answered from a memo; what is not in it yet
//! is collected, asked by the caller, and the expansion is run again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use model::metric::Labels;
use model::time::Timestamp;
use query::promql::histogram::Histogram;
use template::{Context, Sample, Value};

use crate::record::final_labels;
use crate::rule::{Alerting, Rule, Text};
use crate::source::Row;
use crate::state::Found;

/// Most different queries the templates of one rule may ask in one evaluation.
pub(crate) const QUERIES_MAX: usize = 100;

/// Answers to queries of templates, by expression.
pub(crate) type Memo = BTreeMap<String, Result<Vec<Sample>, String>>;

/// What all templates of an installation see.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    external_labels: Value,
    external_url: Arc<str>,
}

impl Surroundings {
    pub(crate) fn new(external_labels: &BTreeMap<String, String>, external_url: &str) -> Self {
        let labels = external_labels.iter().map(|(k, v)| (k.clone(), v.as_str()));
        Self { external_labels: Value::labels(labels), external_url: external_url.into() }
    }
}

/// The expansion of one rule's results at one time.
pub(crate) struct Expansion<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) alerting: &'a Alerting,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) at: Timestamp,
    pub(crate) memo: &'a Memo,
    /// Expressions asked for that the memo does not know.
    pub(crate) missing: RefCell<BTreeSet<String>>,
}

impl Expansion<'_> {
    /// The alert a result stands for. A template that fails leaves its error as text.
    pub(crate) fn found(&self, row: &Row) -> Found {
        let data = self.data(row);
        let expand = |(name, text): &(String, Text)| (name.clone(), self.text(text, &data));
        let alertname = ("alertname".to_owned(), self.rule.name.clone());
        let added = self.rule.labels.iter().map(expand).chain([alertname]);
        Found {
            labels: final_labels(&row.labels, added),
            annotations: self.alerting.annotations.iter().map(expand).collect(),
            value: row.value,
        }
    }

    /// The data of the templates: the result as it is, before the rule's labels.
    fn data(&self, row: &Row) -> [Value; 4] {
        let labels = Value::labels(row.labels.iter().map(|(k, v)| (k.to_owned(), v)));
        let value = match &row.histogram {
            Some(histogram) => Value::text(text(histogram)),
            None => Value::Float(row.value),
        };
        let url = Value::text(Arc::clone(&self.surroundings.external_url));
        [labels, self.surroundings.external_labels.clone(), url, value]
    }

    fn text(&self, text: &Text, data: &[Value; 4]) -> String {
        let Some(template) = &text.template else { return text.source.clone() };
        let names = ["Labels", "ExternalLabels", "ExternalURL", "Value"];
        let query = |expr: &str| self.query(expr);
        let context = Context {
            data: Value::record("rule data", names.into_iter().zip(data.iter().cloned())),
            variables: data.to_vec(), // In the order of `rule::VARIABLES`.
            now_ns: self.at.0,
            external_url: &self.surroundings.external_url,
            query: &query,
        };
        template.execute(&context).unwrap_or_else(|e| format!("<error expanding template: {e}>"))
    }

    fn query(&self, expr: &str) -> Result<Vec<Sample>, String> {
        if let Some(answer) = self.memo.get(expr) {
            return answer.clone();
        }
        let mut missing = self.missing.borrow_mut();
        if self.memo.len() + missing.len() >= QUERIES_MAX && !missing.contains(expr) {
            return Err(format!("the templates of a rule may ask {QUERIES_MAX} queries, no more"));
        }
        missing.insert(expr.to_owned());
        Err("the answer is not there yet".to_owned())
    }
}

/// A result as templates see it.
pub(crate) fn sample(row: Row) -> Sample {
    let pairs =
        |labels: &Labels| labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Sample { labels: pairs(&row.labels), value: row.value }
}

/// A native histogram as Prometheus prints it: count, sum and the buckets that are not empty.
fn text(histogram: &Histogram) -> String {
    let mut out = format!("{{count:{}, sum:{}", histogram.count, histogram.sum);
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        let (lower, upper, count) = (bucket.lower, bucket.upper, bucket.count);
        write!(out, ", {open}{lower},{upper}{close}:{count}").expect("a String takes all text");
    }
    out.push('}');
    out
}

//! Which rules read which data, so that those are evaluated when some of it arrives, and no others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::matcher::MatchOp;
use model::metric::Labels;
use query::promql::inputs::Inputs;
use query::promql::matchers::{Compiled, compile};

use crate::rule::{Condition, Group, Kind, Language, Rule};
use crate::run::Alerts;

/// What classic series a histogram is seen as, besides itself.
const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];

/// A series of which samples arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its Prometheus name.
    pub name: &'a str,
    /// Its Prometheus labels, without the name.
    pub labels: &'a Labels,
    /// Whether its samples are histograms.
    pub is_histogram: bool,
}

/// A rule: the place of its group, and its place in the group.
type Place = (usize, usize);

/// Rules that read something, to be given back to [`Alerts::data_arrived`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers(Arc<BTreeSet<Place>>);

impl Readers {
    /// Whether nobody reads it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One selector of a rule.
struct Selector {
    rule: Place,
    /// The one name it asks for.
    name: Option<String>,
    matchers: Vec<(String, Compiled)>,
}

/// Which rules read what.
#[derive(Default)]
pub(crate) struct Interest {
    selectors: Vec<Selector>,
    /// Selectors by the name they ask for.
    by_name: HashMap<String, Vec<usize>>,
    /// Those that ask for no single name.
    nameless: Vec<usize>,
    logs: BTreeSet<Place>,
    spans: BTreeSet<Place>,
    /// Names recorded by each group: a group does not answer to itself.
    recorded: Vec<BTreeSet<String>>,
    /// Rules of a group that read what another one of it records.
    followers: BTreeMap<(String, String, usize), BTreeSet<usize>>,
}

impl Interest {
    /// That of the rules that alert, and of those that record what such rules read.
    pub(crate) fn of(groups: &[&Group]) -> Self {
        let mut own = Self::default();
        let recorded = |group: &&Group| {
            let rules = group.rules.iter().filter(|rule| matches!(rule.kind, Kind::Record));
            rules.map(|rule| rule.name.clone()).collect()
        };
        own.recorded = groups.iter().map(recorded).collect();
        let inputs: BTreeMap<Place, Vec<Selector>> =
            rules(groups).map(|(place, rule)| (place, selectors(place, rule))).collect();
        for place in wanted(groups, &inputs) {
            let (group, rule) = (groups[place.0], &groups[place.0].rules[place.1]);
            if !group.query_offset.is_zero() {
                continue; // What arrives now is looked at later.
            }
            let languages = conditions(rule).map(|condition| condition.1);
            for language in languages.chain([&rule.extra.language]) {
                let (logs, spans) = match language {
                    Language::PromQl => (false, false),
                    Language::Logs(_) => (true, false),
                    Language::Traces(_) => (false, true),
                    Language::Sql { .. } => (reads(rule, "logs"), reads(rule, "spans")),
                };
                own.logs.extend(logs.then_some(place));
                own.spans.extend(spans.then_some(place));
            }
        }
        own.follow(groups, &inputs);
        let places = wanted(groups, &inputs);
        for (place, selectors) in inputs {
            if places.contains(&place) && groups[place.0].query_offset.is_zero() {
                selectors.into_iter().for_each(|selector| own.put(selector));
            }
        }
        own
    }

    /// Rules of each group that read what an earlier one of it records.
    fn follow(&mut self, groups: &[&Group], inputs: &BTreeMap<Place, Vec<Selector>>) {
        let places = wanted(groups, inputs);
        for (at, rule) in rules(groups).filter(|(_, rule)| matches!(rule.kind, Kind::Record)) {
            let reads = |place: &&Place| {
                place.0 == at.0
                    && place.1 > at.1
                    && inputs[place].iter().any(|selector| takes_name(selector, &rule.name))
            };
            let followers: BTreeSet<usize> =
                places.iter().filter(reads).map(|place| place.1).collect();
            let group = groups[at.0];
            self.followers.insert((group.file.clone(), group.name.clone(), at.1), followers);
        }
    }

    fn put(&mut self, selector: Selector) {
        let i = self.selectors.len();
        match &selector.name {
            Some(name) => self.by_name.entry(name.clone()).or_default().push(i),
            None => self.nameless.push(i),
        }
        self.selectors.push(selector);
    }

    /// `due`, and the rules of the group that read what those record.
    pub(crate) fn with_followers(
        &self,
        group: &Group,
        mut due: BTreeSet<usize>,
    ) -> BTreeSet<usize> {
        let mut at = due.first().copied();
        while let Some(rule) = at {
            let key = (group.file.clone(), group.name.clone(), rule);
            due.extend(self.followers.get(&key).into_iter().flatten());
            at = due.range(rule + 1..).next().copied();
        }
        due
    }

    fn readers(&self, arrival: Arrival<'_>) -> BTreeSet<Place> {
        let mut readers = BTreeSet::new();
        if arrival.name.starts_with("ALERTS") {
            return readers; // Rules about alerts are evaluated at their slots: they write these themselves.
        }
        self.readers_as(arrival.name, arrival, &mut readers);
        if arrival.is_histogram {
            for suffix in SUFFIXES {
                self.readers_as(&format!("{}{suffix}", arrival.name), arrival, &mut readers);
            }
        }
        readers
    }

    fn readers_as(&self, name: &str, arrival: Arrival<'_>, into: &mut BTreeSet<Place>) {
        let named = self.by_name.get(name).into_iter().flatten();
        for i in named.chain(&self.nameless) {
            let selector = &self.selectors[*i];
            let passes = |(label, compiled): &(String, Compiled)| match label.as_str() {
                "__name__" => compiled.matches(name),
                "le" if arrival.is_histogram => true, // Its buckets have it, the series itself has not.
                label => compiled.matches(arrival.labels.value(label).unwrap_or("")),
            };
            let is_own = self.recorded[selector.rule.0].contains(name);
            if !is_own && selector.matchers.iter().all(passes) {
                into.insert(selector.rule);
            }
        }
    }
}

impl Alerts {
    /// The rules that read a series.
    #[must_use]
    pub fn readers(&self, arrival: Arrival<'_>) -> Readers {
        Readers(Arc::new(self.interest.readers(arrival)))
    }

    /// The rules that read logs.
    #[must_use]
    pub fn readers_of_logs(&self) -> Readers {
        Readers(Arc::new(self.interest.logs.clone()))
    }

    /// The rules that read spans.
    #[must_use]
    pub fn readers_of_spans(&self) -> Readers {
        Readers(Arc::new(self.interest.spans.clone()))
    }

    /// All rules that are evaluated when data arrives.
    #[must_use]
    pub fn all_readers(&self) -> Readers {
        let places = self.interest.selectors.iter().map(|selector| selector.rule);
        let tables = self.interest.logs.iter().chain(&self.interest.spans).copied();
        Readers(Arc::new(places.chain(tables).collect()))
    }

    /// Has rules evaluated soon: data they read has arrived. Returns at once.
    pub fn data_arrived(&self, readers: &Readers) {
        for (group, rule) in &*readers.0 {
            if let Some(watch) = self.watches.get(*group) {
                watch.mark(*rule);
            }
        }
    }
}

fn rules<'a>(groups: &'a [&'a Group]) -> impl Iterator<Item = (Place, &'a Rule)> {
    let of = |(g, group): (usize, &'a &'a Group)| {
        group.rules.iter().enumerate().map(move |(r, rule)| ((g, r), rule))
    };
    groups.iter().enumerate().flat_map(of)
}

/// Expressions beside the rule's own, with their languages.
fn conditions(rule: &Rule) -> impl Iterator<Item = (&Arc<str>, &Language)> {
    let extra = &rule.extra;
    let all = extra.all.iter().chain(&extra.any).chain(&extra.none).chain(&extra.clear);
    all.map(|Condition { expr, language, .. }| (expr, language))
}

/// The selectors of all PromQL in a rule.
fn selectors(place: Place, rule: &Rule) -> Vec<Selector> {
    let own = [(&rule.expr, &rule.extra.language)];
    let promql = conditions(rule).chain(own).filter(|(_, l)| **l == Language::PromQl);
    let parsed = promql.filter_map(|(expr, _)| query::promql::parse(expr).ok());
    let inputs = parsed.flat_map(|expr| Inputs::of(&expr).selectors);
    let compiled = inputs.filter_map(|input| {
        let matchers =
            input.matchers.iter().map(|m| Some((m.name.clone(), compile(m.op, &m.value).ok()?)));
        let named = input.matchers.iter().find(|m| m.name == "__name__" && m.op == MatchOp::Equal);
        let name = named.map(|m| m.value.clone());
        Some(Selector { rule: place, name, matchers: matchers.collect::<Option<_>>()? })
    });
    compiled.collect()
}

/// Alerting rules, and recording rules that they read, directly or not.
fn wanted(groups: &[&Group], inputs: &BTreeMap<Place, Vec<Selector>>) -> BTreeSet<Place> {
    let alerts = rules(groups).filter(|(_, rule)| matches!(rule.kind, Kind::Alert(_)));
    let mut wanted: BTreeSet<Place> = alerts.map(|(place, _)| place).collect();
    let recording: Vec<(Place, &Rule)> =
        rules(groups).filter(|(_, rule)| matches!(rule.kind, Kind::Record)).collect();
    let mut fresh: Vec<Place> = wanted.iter().copied().collect();
    while let Some(place) = fresh.pop() {
        for (at, rule) in &recording {
            let read = inputs[&place].iter().any(|selector| takes_name(selector, &rule.name));
            if read && wanted.insert(*at) {
                fresh.push(*at);
            }
        }
    }
    wanted
}

fn takes_name(selector: &Selector, name: &str) -> bool {
    let names = selector.matchers.iter().filter(|(label, _)| label == "__name__");
    names.into_iter().all(|(_, compiled)| compiled.matches(name))
}

/// Whether SQL of a rule names a table.
fn reads(rule: &Rule, table: &str) -> bool {
    let own = [(&rule.expr, &rule.extra.language)];
    let mut sql = conditions(rule).chain(own).filter(|(_, l)| matches!(l, Language::Sql { .. }));
    let is_word = |c: char| !(c.is_alphanumeric() || c == '_');
    sql.any(|(expr, _)| expr.split(is_word).any(|word| word.eq_ignore_ascii_case(table)))
}

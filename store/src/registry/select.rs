//! Which series satisfy a set of matchers: postings answer what they can, the few candidates left are looked at.

use std::collections::HashMap;

use model::id::TenantId;
use model::matcher::{MatchOp, Matcher};
use model::metric::MetricKind;
use model::regexp;
use regex::{Regex, RegexBuilder};
use roaring::RoaringBitmap;

use crate::error::Error;
use crate::registry::known::Known;
use crate::registry::posting::{Index, Values};
use crate::registry::symbols::Symbol;

const NAME: &str = "__name__";
/// Bytes of a compiled expression: a few letters of one may ask for megabytes.
const REGEX_BYTES_MAX: usize = 256 << 10;

/// One comparison, its expression compiled.
pub(crate) enum Test {
    Equal(String),
    NotEqual(String),
    Regex(Regex),
    NotRegex(Regex),
}

impl Test {
    pub(crate) fn new(matcher: &Matcher) -> Result<Self, Error> {
        let refused = |reason| Error::Regex { label: matcher.name.clone(), reason };
        let regex = || {
            let form = regexp::translate_whole(&matcher.value);
            let form = form.map_err(|error| refused(error.to_string()))?;
            RegexBuilder::new(&form.rust)
                .nest_limit(regexp::NEST_LIMIT)
                .size_limit(REGEX_BYTES_MAX)
                .build()
                .map_err(|error| refused(error.to_string()))
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

/// Which kinds of series a selection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// All of them.
    All,
    /// Histograms with explicit bounds.
    ExplicitHistograms,
    /// All the others.
    Others,
}

/// Matchers with their expressions compiled.
pub(super) struct Filter {
    tests: Vec<(String, Test)>,
    kinds: Kinds,
}

/// A label as one registry knows it.
struct Label<'a> {
    known: &'a Known,
    /// `None` for the metric name.
    name: Option<Symbol>,
    values: Option<&'a Values>,
}

impl Filter {
    pub(super) fn new(matchers: &[Matcher], kinds: Kinds) -> Result<Self, Error> {
        let test = |matcher: &Matcher| Ok((matcher.name.clone(), Test::new(matcher)?));
        let tests = matchers.iter().map(test).collect::<Result<_, Error>>()?;
        Ok(Self { tests, kinds })
    }

    /// Slots of `tenant`'s series of these kinds that satisfy all matchers, visible or not.
    pub(super) fn select(&self, known: &Known, tenant: TenantId) -> RoaringBitmap {
        let mut slots = self.matching(known, tenant);
        if self.kinds != Kinds::All {
            let is_histogram = |slot: &u32| known.kind(*slot) == MetricKind::Histogram;
            let wanted = self.kinds == Kinds::ExplicitHistograms;
            slots = slots.iter().filter(|slot| is_histogram(slot) == wanted).collect();
        }
        slots
    }

    fn matching(&self, known: &Known, tenant: TenantId) -> RoaringBitmap {
        let Some(index) = known.index(tenant) else { return RoaringBitmap::new() };
        let mut found: Option<RoaringBitmap> = None;
        for (name, test) in &self.tests {
            if let Test::Equal(value) = test
                && !value.is_empty()
            {
                let equal = equal(known, index, name, value);
                found = Some(found.map_or_else(|| equal.clone(), |found| found & &equal));
            }
        }
        // What demands a value narrows; what an absent label satisfies only takes away, and comes last.
        for demands in [true, false] {
            for (name, test) in &self.tests {
                let is_done = matches!(test, Test::Equal(value) if !value.is_empty());
                if is_done || test.holds("") == demands {
                    continue;
                }
                let label = Label::new(known, index, name);
                found = Some(if demands {
                    label.keep(found, test)
                } else {
                    label.take_away(found.unwrap_or_else(|| index.all.clone()), test)
                });
            }
        }
        found.unwrap_or_else(|| index.all.clone())
    }
}

/// Slots with this label; a metric has two names.
fn equal(known: &Known, index: &Index, name: &str, value: &str) -> RoaringBitmap {
    let mut slots = RoaringBitmap::new();
    let Some(value) = known.symbols.find(value) else { return slots };
    let mut add = |values: &Values| {
        if let Some(posting) = values.get(&value) {
            posting.add_to(&mut slots);
        }
    };
    if name == NAME {
        add(&index.names);
        add(&index.natives);
    } else if let Some(values) = known.symbols.find(name).and_then(|name| index.labels.get(&name)) {
        add(values);
    }
    slots
}

impl<'a> Label<'a> {
    fn new(known: &'a Known, index: &'a Index, name: &str) -> Self {
        if name == NAME {
            return Self { known, name: None, values: Some(&index.names) };
        }
        let name = known.symbols.find(name);
        Self { known, name, values: name.and_then(|name| index.labels.get(&name)) }
    }

    fn n_values(&self) -> u64 {
        self.values.map_or(0, |values| values.len() as u64)
    }

    fn value_of(&self, slot: u32) -> Option<Symbol> {
        let row = self.known.rows.row(slot);
        match self.name {
            None => Some(self.known.metrics.get(row.metric).prom_name),
            Some(name) => self.known.prom_pairs(row).find(|pair| pair.0 == name).map(|pair| pair.1),
        }
    }

    /// Slots whose value passes `test`, which refuses the absent one.
    fn keep(&self, found: Option<RoaringBitmap>, test: &Test) -> RoaringBitmap {
        match found {
            Some(found) if found.len() <= self.n_values() => self.filter(found, test),
            found => {
                let passed = self.union(|value| test.holds(value));
                found.map_or_else(|| passed.clone(), |found| found & &passed)
            }
        }
    }

    /// `found` without the slots whose value fails `test`, which accepts the absent one.
    fn take_away(&self, found: RoaringBitmap, test: &Test) -> RoaringBitmap {
        if found.len() <= self.n_values() {
            return self.filter(found, test);
        }
        found - self.union(|value| !test.holds(value))
    }

    fn union(&self, is_wanted: impl Fn(&str) -> bool) -> RoaringBitmap {
        let mut union = RoaringBitmap::new();
        for (value, posting) in self.values.into_iter().flatten() {
            if is_wanted(self.known.symbols.text(*value)) {
                posting.add_to(&mut union);
            }
        }
        union
    }

    /// Looks at each candidate, at each of its values once.
    fn filter(&self, found: RoaringBitmap, test: &Test) -> RoaringBitmap {
        let mut passed: HashMap<Option<Symbol>, bool> = HashMap::new();
        let holds = |slot: &u32| {
            let value = self.value_of(*slot);
            let text = |symbol: Symbol| &**self.known.symbols.text(symbol);
            *passed.entry(value).or_insert_with(|| test.holds(value.map_or("", text)))
        };
        found.iter().filter(holds).collect()
    }
}

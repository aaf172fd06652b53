//! Which series PromQL sees that the store does not hold: `_bucket`, `_sum` and `_count` of an explicit histogram.

use std::sync::Arc;

use model::matcher::{MatchOp, Matcher};
use model::time::TimeRange;
use store::{Kinds, Series};

use crate::catalog::View;
use crate::error::Error;
use crate::promql::labels::{Labels, NAME};
use crate::promql::matchers::{Compiled, compile};

/// The label of a bucket's upper bound.
pub(super) const LE: &str = "le";

/// What of a histogram a series shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Cumulative counts up to a bound.
    Bucket,
    /// Number of measurements.
    Count,
    /// Sum of the measurements.
    Sum,
}

impl Part {
    pub(super) const ALL: [Self; 3] = [Self::Bucket, Self::Count, Self::Sum];

    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Bucket => "_bucket",
            Self::Count => "_count",
            Self::Sum => "_sum",
        }
    }

    /// `name` split into the histogram's name and the part.
    fn split(name: &str) -> Option<(&str, Self)> {
        Self::ALL.into_iter().find_map(|part| Some((name.strip_suffix(part.suffix())?, part)))
    }
}

/// An explicit histogram with the parts of it that were selected.
pub(super) struct Histogram {
    pub(super) series: Arc<Series>,
    pub(super) parts: Vec<Part>,
}

/// The explicit histograms of which some part is selected, and the conditions on `le`.
pub(super) struct Selected {
    pub(super) histograms: Vec<Histogram>,
    le: Bounds,
}

/// Which buckets are selected.
#[derive(Clone)]
pub(super) struct Bounds(Vec<Compiled>);

impl Bounds {
    /// Whether the bucket with this bound is.
    pub(super) fn contain(&self, le: &str) -> bool {
        self.0.iter().all(|matcher| matcher.matches(le))
    }
}

impl Selected {
    /// Whether a bucket with this bound is selected; of the other parts, whether they are, with the empty text.
    pub(super) fn has_bound(&self, le: &str) -> bool {
        self.le.contain(le)
    }

    /// Which buckets are selected, apart from the histograms.
    pub(super) fn bounds(&self) -> Bounds {
        self.le.clone()
    }
}

/// Applies `matchers` to the parts of every explicit histogram.
pub(super) fn select(
    view: &View,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Selected, Error> {
    let compiled = |matcher: &Matcher| compile(matcher.op, &matcher.value).map_err(Error::invalid);
    let le = matchers.iter().filter(|m| m.name == LE).map(compiled).collect::<Result<_, _>>();
    let le = Bounds(le?);
    let mut rest: Vec<Matcher> =
        matchers.iter().filter(|m| m.name != LE && m.name != NAME).cloned().collect();
    let names: Vec<&Matcher> = matchers.iter().filter(|m| m.name == NAME).collect();
    let named = names.iter().position(|m| m.op == MatchOp::Equal && !m.value.is_empty());
    let mut parts = Part::ALL.to_vec();
    let mut tests = Vec::new();
    for (i, matcher) in names.iter().enumerate() {
        if Some(i) == named {
            // The name may be the native one, which no shown name equals: the store's registry compares it.
            let Some((name, part)) = Part::split(&matcher.value) else {
                return Ok(Selected { histograms: Vec::new(), le });
            };
            parts = vec![part];
            rest.push(Matcher::new(NAME, MatchOp::Equal, name));
        } else {
            tests.push(compiled(matcher)?);
        }
    }
    let series = view.select_kinds(&rest, range, Kinds::ExplicitHistograms)?;
    let histograms = series.into_iter().filter_map(|series| {
        let is_selected = |part: &Part| {
            let name = format!("{}{}", series.def.prom_name, part.suffix());
            tests.iter().all(|test| test.matches(&name))
        };
        let parts: Vec<Part> = parts.iter().copied().filter(is_selected).collect();
        (!parts.is_empty()).then_some(Histogram { series, parts })
    });
    Ok(Selected { histograms: histograms.collect(), le })
}

/// The labels PromQL shows for `series`, its name with `suffix`, and a bound if there is one.
pub(super) fn labels(series: &Series, suffix: &str, le: Option<&str>) -> Labels {
    let name = format!("{}{suffix}", series.def.prom_name);
    let bound = le.map(|le| (LE, le));
    let named = std::iter::once((NAME, name.as_str()));
    Labels::from_texts(series.def.prom_labels.iter().chain(named).chain(bound))
}

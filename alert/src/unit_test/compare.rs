//! What was expected beside what came, and how the two differ.

use std::fmt;

use model::metric::Labels;
use query::promql::Reading;
use query::promql::number::api_text;
use query::promql::series_desc::Described;

use super::histogram;

/// Most cells of the table that finds common lines; beyond it all lines count as different.
const CELLS_MAX: usize = 4_000_000;

/// Two lists of lines that should be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was expected.
    pub expected: Vec<String>,
    /// What came.
    pub got: Vec<String>,
}

impl Mismatch {
    /// Both lists as one: lines only expected begin with `-`, lines only got with `+`.
    #[must_use]
    pub fn diff(&self) -> Vec<String> {
        let (a, b) = (&self.expected, &self.got);
        let width = b.len() + 1;
        let cells = (a.len() + 1).saturating_mul(width);
        // Lengths of the longest common tails; without the table nothing is common.
        let mut common = vec![0_usize; if cells > CELLS_MAX { 0 } else { cells }];
        if !common.is_empty() {
            for i in (0..a.len()).rev() {
                for j in (0..b.len()).rev() {
                    let next = i * width + j;
                    common[next] = match a[i] == b[j] {
                        true => common[next + width + 1] + 1,
                        false => common[next + width].max(common[next + 1]),
                    };
                }
            }
        }
        let tail = |i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
        let (mut i, mut j, mut lines) = (0, 0, Vec::new());
        while i < a.len() || j < b.len() {
            if i < a.len() && j < b.len() && !common.is_empty() && a[i] == b[j] {
                lines.push(format!("  {}", a[i]));
                (i, j) = (i + 1, j + 1);
            } else if i < a.len() && (j == b.len() || tail(i + 1, j) >= tail(i, j + 1)) {
                lines.push(format!("- {}", a[i]));
                i += 1;
            } else {
                lines.push(format!("+ {}", b[j]));
                j += 1;
            }
        }
        lines
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, lines) in [("exp", &self.expected), ("got", &self.got)] {
            match &lines[..] {
                [] => writeln!(f, "{word}: nothing")?,
                lines => {
                    writeln!(f, "{word}:")?;
                    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
                }
            }
        }
        Ok(())
    }
}

/// How two sorted lists of alerts differ.
pub(super) fn alerts_differ(
    expected: &[(Labels, Labels)],
    got: &[(Labels, Labels)],
) -> Option<Mismatch> {
    if expected == got {
        return None;
    }
    let lines = |alerts: &[(Labels, Labels)]| {
        let of = |(labels, annotations): &(Labels, Labels)| {
            let shown = |labels: &Labels| query::promql::Labels::from(labels).to_string();
            [format!("labels: {}", shown(labels)), format!("  annotations: {}", shown(annotations))]
        };
        alerts.iter().flat_map(of).collect()
    };
    Some(Mismatch { expected: lines(expected), got: lines(got) })
}

/// How samples differ from those expected, whatever the order of both.
pub(super) fn samples_differ(
    expected: &[(query::promql::Labels, Described)],
    mut got: Vec<(query::promql::Labels, Reading)>,
    is_fuzzy: bool,
) -> Option<Mismatch> {
    let mut expected: Vec<_> = expected.iter().collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    got.sort_by(|a, b| a.0.cmp(&b.0));
    let fits = |(wanted, got): (
        &&(query::promql::Labels, Described),
        &(query::promql::Labels, Reading),
    )| { wanted.0 == got.0 && same(&wanted.1, &got.1, is_fuzzy) };
    if expected.len() == got.len() && expected.iter().zip(&got).all(fits) {
        return None;
    }
    let with_hint = expected.iter().any(|(_, described)| described.hint_written);
    let line = |labels: &query::promql::Labels, reading: &Reading| {
        format!("{labels} {}", shown(reading, with_hint))
    };
    Some(Mismatch {
        expected: expected.iter().map(|(labels, d)| line(labels, &d.reading)).collect(),
        got: got.iter().map(|(labels, reading)| line(labels, reading)).collect(),
    })
}

fn same(wanted: &Described, got: &Reading, is_fuzzy: bool) -> bool {
    match (&wanted.reading, got) {
        (Reading::Float(wanted), Reading::Float(got)) => same_float(*wanted, *got, is_fuzzy),
        (Reading::Histogram(a), Reading::Histogram(b)) => {
            let hint = wanted.hint_written;
            histogram::text(a, hint) == histogram::text(b, hint)
        }
        _ => false,
    }
}

fn same_float(a: f64, b: f64, is_fuzzy: bool) -> bool {
    let near = is_fuzzy && (a.next_down() == b || a.next_up() == b);
    near || a == b || (a.is_nan() && b.is_nan())
}

fn shown(reading: &Reading, with_hint: bool) -> String {
    match reading {
        Reading::Float(value) => api_text(*value),
        Reading::Histogram(histogram) => histogram::text(histogram, with_hint),
    }
}

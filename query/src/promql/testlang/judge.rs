//! Compares a value with what a case expects.

use model::metric::is_stale;

use super::read::{Case, When};
use crate::promql::histogram::Histogram;
use crate::promql::labels::Labels;
use crate::promql::series_desc::{Described, SeriesDescription};
use crate::promql::value::{Reading, Sample, SeriesValues, Value};

/// Relative difference at which floats still count as equal.
const TOLERANCE: f64 = 1e-6;

pub(super) fn value(case: &Case, value: &Value) -> Result<(), String> {
    match value {
        Value::Scalar { value, .. } => match case.scalar {
            Some(wanted) if same_float(wanted, *value) => Ok(()),
            Some(wanted) => Err(format!("expected {wanted}, got {value}")),
            None => Err(format!("expected no scalar, got {value}")),
        },
        _ if case.scalar.is_some() => Err("expected a scalar".to_owned()),
        Value::String { value, .. } => match &case.string {
            Some(wanted) if **wanted == **value => Ok(()),
            wanted => Err(format!("expected {wanted:?}, got {value:?}")),
        },
        _ if case.string.is_some() => Err("expected a string".to_owned()),
        Value::Vector(samples) => vector(case, samples),
        Value::Matrix(matrix) => {
            let (start, step) = match (case.when, case.range_vector) {
                (_, Some(range)) => range,
                (When::Range { start, step, .. }, None) => (start, step),
                (When::Instant(_), None) => return Err("unexpected range vector".to_owned()),
            };
            matrix_values(case, matrix, start, step)
        }
    }
}

fn vector(case: &Case, samples: &[Sample]) -> Result<(), String> {
    if case.range_vector.is_some() {
        return Err("expected a range vector".to_owned());
    }
    for (i, sample) in samples.iter().enumerate() {
        let at = case.series.iter().position(|series| series.labels == sample.labels);
        let Some(at) = at else {
            return Err(format!("unexpected {} {}", sample.labels, shown(&sample.reading)));
        };
        if case.ordered && at != i {
            return Err(format!("{} is number {}, expected {}", sample.labels, i + 1, at + 1));
        }
        let wanted = case.series[at].values.first().cloned().flatten();
        compare(&sample.labels, wanted.as_ref(), Some(&sample.reading))?;
    }
    let missing =
        case.series.iter().find(|series| samples.iter().all(|s| s.labels != series.labels));
    match missing {
        Some(series) => Err(format!("missing {}", series.labels)),
        None => Ok(()),
    }
}

fn matrix_values(
    case: &Case,
    matrix: &[SeriesValues],
    start: i64,
    step: i64,
) -> Result<(), String> {
    for series in matrix {
        let wanted = case.series.iter().find(|wanted| wanted.labels == series.labels);
        let Some(wanted) = wanted else {
            return Err(format!("unexpected series {}", series.labels));
        };
        series_values(wanted, series, start, step)?;
    }
    let empty = |series: &SeriesDescription| series.values.iter().all(Option::is_none);
    let missing = case
        .series
        .iter()
        .find(|series| !empty(series) && matrix.iter().all(|s| s.labels != series.labels));
    match missing {
        Some(series) => Err(format!("missing series {}", series.labels)),
        None => Ok(()),
    }
}

fn series_values(
    wanted: &SeriesDescription,
    series: &SeriesValues,
    start: i64,
    step: i64,
) -> Result<(), String> {
    let mut t_ms = start;
    let mut seen = 0;
    for wanted in &wanted.values {
        let float = series.floats.iter().find(|(t, _)| *t == t_ms);
        let histogram = series.histograms.iter().find(|(t, _)| *t == t_ms);
        let got = float
            .map(|(_, value)| Reading::Float(*value))
            .or_else(|| histogram.map(|(_, h)| Reading::Histogram(h.clone())));
        seen += usize::from(got.is_some());
        compare(&series.labels, wanted.as_ref(), got.as_ref())
            .map_err(|what| format!("at {t_ms} ms: {what}"))?;
        t_ms += step;
    }
    let total = series.floats.len() + series.histograms.len();
    if seen == total {
        Ok(())
    } else {
        Err(format!("{} has {} values more than expected", series.labels, total - seen))
    }
}

fn shown(reading: &Reading) -> String {
    match reading {
        Reading::Float(value) => value.to_string(),
        Reading::Histogram(histogram) => format!("{histogram:?}"),
    }
}

fn compare(
    labels: &Labels,
    wanted: Option<&Described>,
    got: Option<&Reading>,
) -> Result<(), String> {
    let fits = match (wanted.map(|wanted| (&wanted.reading, wanted.hint_written)), got) {
        (None, None) => true,
        (Some((Reading::Float(wanted), _)), Some(Reading::Float(got))) => same_float(*wanted, *got),
        (Some((Reading::Histogram(wanted), hint)), Some(Reading::Histogram(got))) => {
            same_histogram(wanted, got) && (!hint || wanted.reset_hint == got.reset_hint)
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let wanted = wanted.map_or_else(|| "nothing".to_owned(), |w| shown(&w.reading));
    let got = got.map_or_else(|| "nothing".to_owned(), shown);
    Err(format!("{labels}: expected {wanted}, got {got}"))
}

fn same_float(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (diff, sum) = ((a - b).abs(), a.abs() + b.abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < TOLERANCE
}

fn same_histogram(wanted: &Histogram, got: &Histogram) -> bool {
    let (mut wanted, mut got) = (wanted.clone(), got.clone());
    wanted.compact();
    got.compact();
    let side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same_float(a.1, b.1))
    };
    wanted.schema == got.schema
        && wanted.zero_threshold == got.zero_threshold
        && wanted.custom_values == got.custom_values
        && same_float(wanted.zero_count, got.zero_count)
        && same_float(wanted.count, got.count)
        && same_float(wanted.sum, got.sum)
        && side(&wanted.positive, &got.positive)
        && side(&wanted.negative, &got.negative)
}

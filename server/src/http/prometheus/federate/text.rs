//! Samples as text: format 0.0.4 and OpenMetrics 1.0. Native histograms have no text form and are left out, custom buckets
//! are shown as classic ones.

use std::fmt::Write;

use query::promql::histogram::{CUSTOM_SCHEMA, Histogram};
use query::promql::{Reading, Sample};

use super::{families, labels};

/// How the two formats differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Plain,
    OpenMetrics,
}

/// Format 0.0.4: times in milliseconds.
pub(super) fn plain(samples: &[Sample]) -> String {
    write(samples, Dialect::Plain)
}

/// OpenMetrics: times in seconds, an end mark.
pub(super) fn open_metrics(samples: &[Sample]) -> String {
    let mut out = write(samples, Dialect::OpenMetrics);
    out.push_str("# EOF\n");
    out
}

fn write(samples: &[Sample], dialect: Dialect) -> String {
    let mut out = String::new();
    for (name, family) in families(samples) {
        let is_float = |sample: &&Sample| matches!(sample.reading, Reading::Float(_));
        let is_custom = |sample: &&Sample| match &sample.reading {
            Reading::Histogram(histogram) => histogram.schema == CUSTOM_SCHEMA,
            Reading::Float(_) => false,
        };
        let untyped = if dialect == Dialect::Plain { "untyped" } else { "unknown" };
        // A name has one type: where there are floats, they are what is shown.
        let floats: Vec<&Sample> = family.iter().filter(is_float).collect();
        let (kind, members) = match floats.is_empty() {
            false => (untyped, floats),
            true => ("histogram", family.iter().filter(is_custom).collect()),
        };
        if members.is_empty() {
            continue;
        }
        let _infallible = writeln!(out, "# TYPE {} {kind}", quoted(name));
        for sample in members {
            let mut lines = Lines { out: &mut out, name, sample, dialect };
            match &sample.reading {
                Reading::Float(value) => lines.push("", None, *value),
                Reading::Histogram(histogram) => lines.classic(histogram),
            }
        }
    }
    out
}

/// Upper bounds and the observations up to them, `+Inf` last.
pub(super) fn cumulative(histogram: &Histogram) -> Vec<(f64, f64)> {
    let mut sum = 0.0;
    let mut up_to = |index: usize| {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let found = histogram.positive.iter().find(|(known, _)| *known == index);
        sum += found.map_or(0.0, |(_, count)| *count);
        sum
    };
    let bounds = histogram.custom_values.iter().enumerate();
    let mut out: Vec<(f64, f64)> = bounds.map(|(i, bound)| (*bound, up_to(i))).collect();
    out.push((f64::INFINITY, histogram.count));
    out
}

/// The lines of one sample.
struct Lines<'a> {
    out: &'a mut String,
    name: &'a str,
    sample: &'a Sample,
    dialect: Dialect,
}

impl Lines<'_> {
    fn classic(&mut self, histogram: &Histogram) {
        for (bound, count) in cumulative(histogram) {
            self.push("_bucket", Some(bound), count);
        }
        self.push("_sum", None, histogram.sum);
        self.push("_count", None, histogram.count);
    }

    /// Name, labels, value, time.
    fn push(&mut self, suffix: &str, bound: Option<f64>, value: f64) {
        let name = format!("{}{suffix}", self.name);
        let mut pairs: Vec<String> = Vec::new();
        if is_legacy(&name) {
            self.out.push_str(&name);
        } else {
            pairs.push(quoted(&name));
        }
        pairs.extend(labels(self.sample).into_iter().map(|(label, text)| {
            let is_plain = is_legacy(label) && !label.contains(':');
            let label = if is_plain { label.to_owned() } else { in_quotes(label) };
            format!("{label}={}", in_quotes(text))
        }));
        pairs.extend(bound.map(|bound| format!("le=\"{}\"", number(bound, self.dialect))));
        let value = number(value, Dialect::Plain);
        let _infallible = write!(self.out, "{{{}}} {value} ", pairs.join(","));
        let t_ms = self.sample.t_ms;
        let _infallible = match self.dialect {
            Dialect::Plain => writeln!(self.out, "{t_ms}"),
            Dialect::OpenMetrics => {
                writeln!(self.out, "{}.{:03}", t_ms.div_euclid(1_000), t_ms.rem_euclid(1_000))
            }
        };
    }
}

/// A number as Go prints it; OpenMetrics wants bounds to look like floats.
fn number(value: f64, dialect: Dialect) -> String {
    let text = query::promql::number::api_text(value);
    let is_whole = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if dialect == Dialect::OpenMetrics && is_whole { format!("{text}.0") } else { text }
}

fn is_legacy(name: &str) -> bool {
    let fits = |(i, b): (usize, u8)| {
        b.is_ascii_alphabetic() || b == b'_' || b == b':' || (i > 0 && b.is_ascii_digit())
    };
    !name.is_empty() && name.bytes().enumerate().all(fits)
}

/// The name in quotes, unless it needs none.
fn quoted(name: &str) -> String {
    if is_legacy(name) { name.to_owned() } else { in_quotes(name) }
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::expect;
    use query::promql::Labels;

    use super::*;

    fn sample(labels: &[(&str, &str)], reading: Reading) -> Sample {
        let labels = Labels::from_texts(labels.iter().copied());
        Sample { labels, t_ms: 1_500, reading }
    }

    fn samples() -> Vec<Sample> {
        let custom = Histogram {
            schema: CUSTOM_SCHEMA,
            count: 7.0,
            sum: 1.5,
            positive: vec![(0, 2.0), (2, 5.0)],
            custom_values: Arc::from([0.5, 1.0]),
            ..Histogram::default()
        };
        let native = Histogram { schema: 3, count: 1.0, ..Histogram::default() };
        let odd = "a\"\\\nb";
        vec![
            sample(&[("__name__", "a.b"), ("l c", "x")], Reading::Float(0.25)),
            sample(&[("__name__", "h")], Reading::Histogram(Arc::new(custom))),
            sample(&[("__name__", "n")], Reading::Histogram(Arc::new(native))),
            sample(
                &[("__name__", "up"), ("instance", "i"), ("job", odd)],
                Reading::Float(f64::NAN),
            ),
            sample(&[("__name__", "up"), ("zone", "z")], Reading::Float(1.0)),
        ]
    }

    #[test]
    fn plain_text() {
        expect![[r#"
            # TYPE "a.b" untyped
            {"a.b",instance="","l c"="x"} 0.25 1500
            # TYPE h histogram
            h_bucket{instance="",le="0.5"} 2 1500
            h_bucket{instance="",le="1"} 2 1500
            h_bucket{instance="",le="+Inf"} 7 1500
            h_sum{instance=""} 1.5 1500
            h_count{instance=""} 7 1500
            # TYPE up untyped
            up{instance="i",job="a\"\\\nb"} NaN 1500
            up{instance="",zone="z"} 1 1500
        "#]]
        .assert_eq(&plain(&samples()));
    }

    #[test]
    fn open_metrics_ends_and_has_seconds() {
        let text = open_metrics(&samples()[1..2]);
        expect![[r#"
            # TYPE h histogram
            h_bucket{instance="",le="0.5"} 2 1.500
            h_bucket{instance="",le="1.0"} 2 1.500
            h_bucket{instance="",le="+Inf"} 7 1.500
            h_sum{instance=""} 1.5 1.500
            h_count{instance=""} 7 1.500
            # EOF
        "#]]
        .assert_eq(&text);
    }
}

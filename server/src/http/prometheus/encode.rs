//! Answers as Prometheus JSON, written straight into the response's text.

use std::fmt::Write;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use query::promql::histogram::Histogram;
use query::promql::number::api_text;
use query::promql::{Answer, Labels, Reading, Sample, SeriesValues, StepSamples, Value};

use super::params::Stats;

/// Most annotations of a kind in an answer; the rest is counted.
const ANNOTATIONS_MAX: usize = 10;

/// The whole envelope around `answer`.
pub(super) fn answer(answer: &Answer, wanted: Stats) -> Response {
    let mut out = String::with_capacity(4096);
    out.push_str(r#"{"status":"success","data":{"resultType":""#);
    match &answer.value {
        Value::Scalar { t_ms, value } => {
            out.push_str(r#"scalar","result":"#);
            point(&mut out, *t_ms, *value);
        }
        Value::String { t_ms, value } => {
            out.push_str(r#"string","result":["#);
            time(&mut out, *t_ms);
            out.push(',');
            text(&mut out, value);
            out.push(']');
        }
        Value::Vector(samples) => {
            out.push_str(r#"vector","result":"#);
            list(&mut out, samples, sample);
        }
        Value::Matrix(series) => {
            out.push_str(r#"matrix","result":"#);
            list(&mut out, series, values);
        }
    }
    if wanted != Stats::None {
        stats(&mut out, answer, wanted);
    }
    // Ours: Prometheus has nothing like it, so nobody who did not ask gets it.
    if let Some(explained) = &answer.explained {
        let tree = serde_json::to_string(&super::super::explore::explained(explained));
        push(&mut out, format_args!(r#","explain":{}"#, tree.unwrap_or_default()));
    }
    out.push('}');
    annotations(&mut out, "warnings", "warning", &answer.warnings);
    annotations(&mut out, "infos", "info", &answer.infos);
    out.push('}');
    ([(CONTENT_TYPE, "application/json")], out).into_response()
}

/// Times in seconds; samples looked at, held at once, read for the first time.
fn stats(out: &mut String, answer: &Answer, wanted: Stats) {
    let (stats, timings) = (&answer.stats, &answer.timings);
    let s = |time: std::time::Duration| time.as_secs_f64();
    push(
        out,
        format_args!(
            r#","stats":{{"timings":{{"evalTotalTime":{},"resultSortTime":{},"queryPreparationTime":{},"innerEvalTime":{},"execQueueTime":{},"execTotalTime":{}}},"samples":{{"#,
            s(timings.prepare + timings.eval),
            s(stats.sort_time),
            s(timings.prepare),
            s(timings.eval.saturating_sub(stats.sort_time)),
            s(timings.queue),
            s(timings.total),
        ),
    );
    if wanted == Stats::PerStep {
        let mut steps = |key: &str, of: fn(&StepSamples) -> u64| {
            push(out, format_args!("\"{key}\":"));
            list(out, &answer.per_step, |out, (t_ms, step)| {
                out.push('[');
                time(out, *t_ms);
                push(out, format_args!(",{}]", of(step)));
            });
            out.push(',');
        };
        steps("totalQueryableSamplesPerStep", |step| step.queryable);
        steps("samplesReadPerStep", |step| step.read);
    }
    push(
        out,
        format_args!(
            r#""totalQueryableSamples":{},"peakSamples":{},"samplesRead":{}}},"cache":{{"steps":{}}}}}"#,
            stats.samples_queryable, stats.samples_peak, stats.samples_first, stats.steps_kept
        ),
    );
}

pub(super) fn push(out: &mut String, words: std::fmt::Arguments<'_>) {
    let _infallible = out.write_fmt(words);
}

pub(super) fn list<T>(out: &mut String, items: &[T], each: impl Fn(&mut String, &T)) {
    out.push('[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

fn annotations(out: &mut String, key: &str, word: &str, all: &[String]) {
    if all.is_empty() {
        return;
    }
    let mut shown: Vec<String> = all.iter().take(ANNOTATIONS_MAX).cloned().collect();
    if all.len() > ANNOTATIONS_MAX {
        shown.push(format!("{} more {word} annotations omitted", all.len() - ANNOTATIONS_MAX));
    }
    push(out, format_args!(",\"{key}\":"));
    list(out, &shown, |out, line| text(out, line));
}

fn sample(out: &mut String, sample: &Sample) {
    metric(out, &sample.labels);
    match &sample.reading {
        Reading::Float(value) => {
            out.push_str(r#","value":"#);
            point(out, sample.t_ms, *value);
        }
        Reading::Histogram(value) => {
            out.push_str(r#","histogram":"#);
            histogram_point(out, sample.t_ms, value);
        }
    }
    out.push('}');
}

fn values(out: &mut String, series: &SeriesValues) {
    metric(out, &series.labels);
    if !series.floats.is_empty() {
        out.push_str(r#","values":"#);
        list(out, &series.floats, |out, (t_ms, value)| point(out, *t_ms, *value));
    }
    if !series.histograms.is_empty() {
        out.push_str(r#","histograms":"#);
        list(out, &series.histograms, |out, (t_ms, value)| histogram_point(out, *t_ms, value));
    }
    out.push('}');
}

fn metric(out: &mut String, labels: &Labels) {
    out.push_str(r#"{"metric":"#);
    map(out, labels.iter());
}

/// An object of texts.
pub(super) fn map<'a>(out: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    out.push('{');
    for (n, (name, value)) in pairs.enumerate() {
        if n > 0 {
            out.push(',');
        }
        text(out, name);
        out.push(':');
        text(out, value);
    }
    out.push('}');
}

fn point(out: &mut String, t_ms: i64, value: f64) {
    out.push('[');
    time(out, t_ms);
    push(out, format_args!(r#","{}"]"#, api_text(value)));
}

fn histogram_point(out: &mut String, t_ms: i64, histogram: &Histogram) {
    out.push('[');
    time(out, t_ms);
    push(
        out,
        format_args!(
            r#",{{"count":"{}","sum":"{}""#,
            api_text(histogram.count),
            api_text(histogram.sum)
        ),
    );
    let buckets: Vec<_> = histogram.buckets().filter(|bucket| bucket.count != 0.0).collect();
    if !buckets.is_empty() {
        out.push_str(r#","buckets":"#);
        list(out, &buckets, |out, bucket| {
            push(
                out,
                format_args!(
                    r#"[{},"{}","{}","{}"]"#,
                    bucket.boundary_rule(),
                    api_text(bucket.lower),
                    api_text(bucket.upper),
                    api_text(bucket.count)
                ),
            );
        });
    }
    out.push_str("}]");
}

/// Seconds; three decimals only where there are milliseconds.
pub(super) fn time(out: &mut String, t_ms: i64) {
    let sign = if t_ms < 0 { "-" } else { "" };
    let (s, ms) = (t_ms.unsigned_abs() / 1000, t_ms.unsigned_abs() % 1000);
    push(out, format_args!("{sign}{s}"));
    if ms != 0 {
        push(out, format_args!(".{ms:03}"));
    }
}

pub(super) fn text(out: &mut String, text: &str) {
    // Only maps with odd keys fail to serialize; a text never does.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_decimals_only_when_needed() {
        for (t_ms, expected) in [(0, "0"), (1_500, "1.500"), (-1_500, "-1.500"), (60_000, "60")] {
            let mut out = String::new();
            time(&mut out, t_ms);
            assert_eq!(out, expected);
        }
    }
}

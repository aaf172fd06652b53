//! A native histogram in the notation of test files.

use std::fmt::Write;

use query::promql::histogram::{Histogram, ResetHint};

/// `{{schema:0 count:3 sum:4 buckets:[1 2]}}`, empty buckets at the ends left out; the hint only where one is asked for.
pub(super) fn text(histogram: &Histogram, with_hint: bool) -> String {
    let mut compact = histogram.clone();
    compact.compact();
    let mut out = String::from("{{");
    let mut put = |key: &str, value: &str| {
        let gap = if out.len() > 2 { " " } else { "" };
        write!(out, "{gap}{key}:{value}").expect("a String takes all text");
    };
    put("schema", &compact.schema.to_string());
    put("count", &compact.count.to_string());
    put("sum", &compact.sum.to_string());
    if compact.zero_count != 0.0 {
        put("z_bucket", &compact.zero_count.to_string());
    }
    if compact.zero_threshold != 0.0 {
        put("z_bucket_w", &compact.zero_threshold.to_string());
    }
    if compact.is_custom() {
        put("custom_values", &list(&compact.custom_values));
    }
    match compact.reset_hint {
        ResetHint::Reset if with_hint => put("counter_reset_hint", "reset"),
        ResetHint::NotReset if with_hint => put("counter_reset_hint", "not_reset"),
        ResetHint::Gauge if with_hint => put("counter_reset_hint", "gauge"),
        _ => {}
    }
    let sides =
        [("offset", "buckets", &compact.positive), ("n_offset", "n_buckets", &compact.negative)];
    for (offset, buckets, side) in sides {
        let Some((first, counts)) = dense(side) else { continue };
        if first != 0 {
            put(offset, &first.to_string());
        }
        put(buckets, &list(&counts));
    }
    out.push_str("}}");
    out
}

/// The index of the first bucket, and the counts from there on, those of empty buckets between included.
fn dense(side: &[(i32, f64)]) -> Option<(i32, Vec<f64>)> {
    let filled = || side.iter().filter(|(_, count)| *count != 0.0);
    let (first, last) = (filled().next()?.0, filled().next_back()?.0);
    let mut counts = Vec::new();
    for (index, count) in filled() {
        let at = usize::try_from(index - first).unwrap_or(0);
        counts.resize(at, 0.0);
        counts.push(*count);
    }
    debug_assert!(counts.len() == usize::try_from(last - first).unwrap_or(0) + 1);
    Some((first, counts))
}

fn list(numbers: &[f64]) -> String {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("[{}]", texts.join(" "))
}

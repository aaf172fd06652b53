//! `{{schema:1 count:3 sum:4 buckets:[1 2] offset:-1}}`: one native histogram as text.

use super::super::histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
use super::super::number::parse_number;

/// Reads one histogram; returns whether a reset hint was written, and what follows.
pub(super) fn parse(text: &str) -> Result<(Histogram, bool, &str), String> {
    let inside = text.strip_prefix("{{").ok_or("a histogram starts with {{")?;
    let end = inside.find("}}").ok_or("a histogram ends with }}")?;
    let mut fields = Fields::default();
    let mut rest = inside[..end].trim();
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or("a histogram is made of key:value pairs")?;
        let after = after.trim_start();
        if seen.contains(&key) {
            return Err(format!("duplicate histogram descriptor key {key:?}"));
        }
        seen.push(key);
        rest = if let Some(list) = after.strip_prefix('[') {
            let close = list.find(']').ok_or("unterminated list in a histogram")?;
            fields.list(key, &list[..close])?;
            &list[close + 1..]
        } else {
            let len = after.find(char::is_whitespace).unwrap_or(after.len());
            fields.scalar(key, &after[..len])?;
            &after[len..]
        }
        .trim_start();
    }
    Ok((fields.histogram(), seen.contains(&"counter_reset_hint"), &inside[end + 2..]))
}

#[derive(Default)]
struct Fields {
    histogram: Histogram,
    offset: i32,
    negative_offset: i32,
    buckets: Vec<f64>,
    negative_buckets: Vec<f64>,
}

impl Fields {
    fn scalar(&mut self, key: &str, text: &str) -> Result<(), String> {
        let bad = || format!("invalid value {text:?} for histogram key {key:?}");
        let number = || parse_number(text).ok_or_else(bad);
        let integer = || text.parse::<i32>().map_err(|_| bad());
        let histogram = &mut self.histogram;
        match key {
            "schema" => histogram.schema = integer()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "offset" => self.offset = integer()?,
            "n_offset" => self.negative_offset = integer()?,
            "counter_reset_hint" => {
                histogram.reset_hint = match text {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(bad()),
                };
            }
            _ => return Err(format!("unknown histogram key {key:?}")),
        }
        Ok(())
    }

    fn list(&mut self, key: &str, text: &str) -> Result<(), String> {
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(|word| parse_number(word).ok_or_else(|| format!("invalid number {word:?}")))
            .collect::<Result<_, _>>()?;
        match key {
            "buckets" => self.buckets = numbers,
            "n_buckets" => self.negative_buckets = numbers,
            "custom_values" => self.histogram.custom_values = numbers.into(),
            _ => return Err(format!("unknown histogram key {key:?}")),
        }
        Ok(())
    }

    fn histogram(self) -> Histogram {
        let side = |offset: i32, counts: Vec<f64>| (offset..).zip(counts).collect();
        let mut histogram = self.histogram;
        histogram.positive = side(self.offset, self.buckets);
        histogram.negative = side(self.negative_offset, self.negative_buckets);
        debug_assert!(histogram.schema != CUSTOM_SCHEMA || histogram.negative.is_empty());
        histogram
    }
}

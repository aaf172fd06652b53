//! Numbers for people: the `humanize` family.

use crate::calendar;
use crate::number::general;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn four_digits(value: f64) -> String {
    general(value, Some(4))
}

/// With a metric prefix: `1.235k`, `12m`.
pub(crate) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) =
        if value.abs() >= 1.0 { divided(value, 1000.0, &LARGE) } else { multiplied(value) };
    format!("{}{prefix}", four_digits(value))
}

/// With a binary prefix: `1.5Mi`.
pub(crate) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (value, prefix) = divided(value, 1024.0, &BINARY);
    format!("{}{prefix}", four_digits(value))
}

/// As a length of time in seconds: `1d 0h 3m 4s`, `12.3s`, `5ms`.
pub(crate) fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return four_digits(seconds);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        let (value, prefix) = multiplied(seconds);
        return format!("{}{prefix}s", four_digits(value));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds of a positive number; beyond u64 it saturates"
    )]
    let whole = seconds.abs() as u64;
    let (days, hours) = (whole / 86_400, whole / 3_600 % 24);
    let (minutes, second) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(seconds.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {second}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {second}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {second}s"),
    }
}

/// A ratio in percent: `12.34%`.
pub(crate) fn humanize_percentage(ratio: f64) -> String {
    format!("{}%", four_digits(ratio * 100.0))
}

/// Seconds since the epoch as a date and time in UTC.
pub(crate) fn humanize_timestamp(seconds: f64) -> Result<String, String> {
    if !seconds.is_finite() {
        return Ok(four_digits(seconds));
    }
    nanoseconds(seconds).map(calendar::text)
}

/// Seconds as nanoseconds, rounded down to the millisecond as Prometheus keeps time.
pub(crate) fn nanoseconds(seconds: f64) -> Result<i64, String> {
    let ms = (seconds * 1000.0).trunc();
    if !ms.is_finite() || ms.abs() > 9.2e12 {
        return Err(format!("{} does not fit into a time", general(seconds, None)));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    let ms = ms as i64;
    Ok(ms * 1_000_000)
}

fn divided(mut value: f64, base: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in prefixes {
        if value.abs() < base {
            break;
        }
        shown = prefix;
        value /= base;
    }
    (value, shown)
}

fn multiplied(mut value: f64) -> (f64, &'static str) {
    let mut shown = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        shown = prefix;
        value *= 1000.0;
    }
    (value, shown)
}

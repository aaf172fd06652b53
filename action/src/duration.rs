//! Durations in configuration files: `"10s"`, `"1m30s"`, `"24h"`. Used by serde on `config`'s fields.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Units from long to short, with their length in ms.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration such as `"1h30m"`: whole numbers, each with its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let complaint =
        || format!("\"{text}\" is no duration: write it like \"250ms\", \"10s\" or \"1h30m\"");
    let (mut rest, mut total_ms) = (text, 0u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(complaint)?;
        let number: u64 = rest[..digits].parse().map_err(|_| complaint())?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        let unit = &rest[digits..unit_end];
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(complaint)?;
        let ms = number.checked_mul(*unit_ms).and_then(|ms| total_ms.checked_add(ms));
        total_ms = ms.ok_or_else(complaint)?;
        rest = &rest[unit_end..];
    }
    if text.is_empty() { Err(complaint()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// Writes a duration, to the millisecond, so that [`parse`] reads it back.
pub(crate) fn text(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        let count = ms / u128::from(unit_ms);
        ms %= u128::from(unit_ms);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Serde's `serialize_with`.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*duration))
}

/// Serde's `deserialize_with`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_what_they_print_and_refuse_the_rest() {
        for text_in in ["0s", "250ms", "10s", "1m30s", "1d", "1d2h3m4s5ms"] {
            assert_eq!(text(parse(text_in).unwrap()), text_in);
        }
        assert_eq!(parse("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "10", "s", "10 s", "1.5s", "-1s", "10x", "99999999999999999999s"] {
            assert!(parse(bad).unwrap_err().contains("is no duration"), "{bad}");
        }
    }
}

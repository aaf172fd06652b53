//! Durations as text in configuration: `"500ms"`, `"30s"`, `"10m"`, `"1h"`, `"7d"`. Used by `Config` alone.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Writes the duration in the largest unit that divides it; anything below a millisecond is lost.
pub(crate) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&print(*value))
}

/// Reads a whole number and a unit.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    parse(&text).ok_or_else(|| {
        de::Error::custom(format!(
            "`{text}` is no duration: write it as `30s`, `10m`, `1h` or `7d`"
        ))
    })
}

/// The duration as text.
pub(crate) fn print(value: Duration) -> String {
    let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    let divides = |&&(_, unit): &&(&str, u64)| ms != 0 && ms.is_multiple_of(unit);
    UNITS
        .iter()
        .find(divides)
        .map_or_else(|| format!("{ms}ms"), |(name, unit)| format!("{}{name}", ms / unit))
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_they_are_read() {
        for text in ["7d", "25h", "10m", "90s", "1500ms", "0ms"] {
            assert_eq!(parse(text).map(print).as_deref(), Some(text));
        }
        for bad in ["", "s", "5", "5 s", "-1s", "1.5s", "18446744073709551615d"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

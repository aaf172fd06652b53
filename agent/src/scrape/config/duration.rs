//! Durations and sizes as Prometheus writes them: `1h30m`, `15s`, `0`; `10MB`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Units, largest first, in ms: the order in which they may follow each other.
const UNITS: [(&str, u64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A duration of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub Duration);

impl Span {
    /// Reads `1m30s`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(Duration::ZERO));
        }
        let (mut rest, mut ms, mut unit_min) = (text, 0_u64, 0);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
            let unit = UNITS.iter().position(|(unit, _)| *unit == &rest[..letters])?;
            if unit < unit_min {
                return None;
            }
            (unit_min, rest) = (unit + 1, &rest[letters..]);
            ms = ms.checked_add(number.checked_mul(UNITS[unit].1)?)?;
        }
        (!text.is_empty()).then(|| Self(Duration::from_millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let wrong = || D::Error::custom(format!("{text:?} is not a duration such as 15s or 1m30s"));
        Self::parse(&text).ok_or_else(wrong)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&DurationText(self.0))
    }
}

/// Writes a duration as Prometheus does.
pub(crate) struct DurationText(pub(crate) Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            // Years and weeks only where nothing is left over, as Prometheus does.
            let whole = !matches!(unit, "y" | "w") || ms.is_multiple_of(size);
            if ms >= size && whole {
                write!(f, "{}{unit}", ms / size)?;
                ms %= size;
            }
        }
        Ok(())
    }
}

/// A number of bytes; `KB` and `KiB` are 1,024 both, as in Prometheus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size(pub u64);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().ok()?;
        let power = match text[digits..].to_ascii_uppercase().as_str() {
            "" if number == 0 => 0,
            "B" => 0,
            "KB" | "KIB" => 1,
            "MB" | "MIB" => 2,
            "GB" | "GIB" => 3,
            "TB" | "TIB" => 4,
            _ => return None,
        };
        number.checked_mul(1024_u64.pow(power)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let wrong = || D::Error::custom(format!("{text:?} is not a size such as 512KB or 10MB"));
        Self::parse(&text).ok_or_else(wrong)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
        let (mut number, mut unit) = (self.0, 0);
        while number > 0 && number.is_multiple_of(1024) && unit + 1 < UNITS.len() {
            (number, unit) = (number / 1024, unit + 1);
        }
        out.collect_str(&format_args!("{number}{}", UNITS[unit]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_prometheus_does() {
        for (text, ms, out) in [
            ("0", 0, "0s"),
            ("15s", 15_000, "15s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90s", 90_000, "1m30s"),
            ("100ms", 100, "100ms"),
            ("2w", 1_209_600_000, "2w"),
            ("8d", 691_200_000, "8d"),
        ] {
            let span = Span::parse(text).expect(text);
            assert_eq!((span.0.as_millis(), DurationText(span.0).to_string().as_str()), (ms, out));
        }
        for bad in ["", "1", "s", "1m1h", "1.5s", "-1s", "1s1s", "99999999999999y"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(Size::parse("10MB"), Some(Size(10 << 20)));
        assert_eq!(Size::parse("1KiB"), Some(Size(1024)));
        assert_eq!(Size::parse("0"), Some(Size(0)));
        for bad in ["", "10", "MB", "1.5MB", "99999999999TB"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
    }
}

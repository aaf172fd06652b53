//! The grammar of time ranges in URLs, the time picker and the command line.
//!
//! `now`, `now-15m`, `now-1d/d` (start of that local day), ISO 8601 with or without zone, and epoch numbers whose unit is
//! told by their length (10 digits s, 13 ms, 16 µs, 19 ns).

use std::fmt;
use std::str::FromStr;

use model::time::{civil_from_days, days_from_civil};

const DAY_MS: i64 = 86_400_000;

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the present by `ago_ms`, then floored to a multiple of `floor_ms` of local time (0: not floored).
    Relative {
        /// Distance to the present, ms, not negative.
        ago_ms: i64,
        /// Length of the unit floored to, ms.
        floor_ms: i64,
    },
    /// An instant, ms since the epoch.
    At(i64),
}

/// The text is none of the forms above.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: write now-15m, 2026-11-23T04:46:21Z or an epoch number")]
pub struct NotATime(pub String);

impl Moment {
    /// The present.
    pub const NOW: Self = Self::Relative { ago_ms: 0, floor_ms: 0 };

    /// `ago_ms` before the present.
    #[must_use]
    pub const fn ago(ago_ms: i64) -> Self {
        Self::Relative { ago_ms, floor_ms: 0 }
    }

    /// The instant in ms since the epoch, when the present is `now_ms` and local time is `offset_ms` ahead of UTC.
    #[must_use]
    pub const fn resolve(self, now_ms: i64, offset_ms: i64) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::Relative { ago_ms, floor_ms } => {
                let at = now_ms.saturating_sub(ago_ms);
                if floor_ms == 0 { at } else { at - (at + offset_ms).rem_euclid(floor_ms) }
            }
        }
    }

    /// Reads any of the forms; times without a zone are local time, `offset_ms` ahead of UTC.
    ///
    /// # Errors
    /// When `text` is none of them.
    pub fn parse(text: &str, offset_ms: i64) -> Result<Self, NotATime> {
        let trimmed = text.trim();
        let moment = if let Some(rest) = trimmed.strip_prefix("now") {
            relative(rest)
        } else if trimmed.len() > 8 && trimmed.bytes().all(|b| b.is_ascii_digit()) {
            epoch(trimmed).map(Self::At)
        } else {
            iso(trimmed, offset_ms).map(Self::At)
        };
        moment.ok_or_else(|| NotATime(text.to_owned()))
    }
}

impl FromStr for Moment {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        Self::parse(text, 0)
    }
}

impl fmt::Display for Moment {
    /// The form used in URLs; reads back as the same moment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::At(ms) => write!(f, "{ms:013}"),
            Self::Relative { ago_ms, floor_ms } => {
                f.write_str("now")?;
                if ago_ms > 0 {
                    write!(f, "-{}", duration(ago_ms))?;
                }
                UNITS
                    .iter()
                    .find(|(_, ms)| *ms == floor_ms && floor_ms != 0)
                    .map_or(Ok(()), |(unit, _)| write!(f, "/{unit}"))
            }
        }
    }
}

const UNITS: [(&str, i64); 6] =
    [("w", 7 * DAY_MS), ("d", DAY_MS), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The shortest text for a duration: a whole number of the largest unit that divides it.
#[must_use]
pub fn duration(ms: i64) -> String {
    let whole = UNITS.iter().find(|(_, unit_ms)| ms % unit_ms == 0);
    whole.map_or_else(String::new, |(unit, unit_ms)| format!("{}{unit}", ms / unit_ms))
}

/// Reads `90s`, `1h30m`, `2d`; `None` for anything else.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (_, unit_ms) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        total = total.checked_add(number.checked_mul(*unit_ms)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(total)
}

fn relative(rest: &str) -> Option<Moment> {
    let (ago, floor) = rest.split_once('/').map_or((rest, None), |(ago, unit)| (ago, Some(unit)));
    let ago_ms = match ago.strip_prefix('-') {
        Some(text) => parse_duration(text)?,
        None if ago.is_empty() => 0,
        None => return None,
    };
    let floor_ms = match floor {
        Some(unit) => UNITS.iter().find(|(name, _)| *name == unit)?.1,
        None => 0,
    };
    Some(Moment::Relative { ago_ms, floor_ms })
}

fn epoch(digits: &str) -> Option<i64> {
    let number: i64 = digits.parse().ok()?;
    match digits.len() {
        ..=11 => number.checked_mul(1_000),
        12..=14 => Some(number),
        15..=17 => Some(number / 1_000),
        _ => Some(number / 1_000_000),
    }
}

/// `2026-11-23`, optionally with `T` or a space and `04:46[:21[.5]]`, optionally with `Z` or `+08:00`.
fn iso(text: &str, offset_ms: i64) -> Option<i64> {
    if !text.is_ascii() || text.len() < 10 {
        return None;
    }
    let (date, rest) = text.split_at(10);
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days_from_civil(year, month, day);
    if parts.next().is_some() || civil_from_days(days) != (year, month, day) {
        return None; // 30 February and its like.
    }
    let midnight = days * DAY_MS;
    if rest.is_empty() {
        return Some(midnight - offset_ms);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset_ms) = zone(rest, offset_ms)?;
    Some(midnight + clock_ms(clock)? - offset_ms)
}

/// Splits the zone off; without one `offset_ms` stays.
fn zone(text: &str, offset_ms: i64) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, offset_ms)) };
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let ms = hours.parse::<i64>().ok()? * 3_600_000 + minutes.parse::<i64>().ok()? * 60_000;
    Some((&text[..at], if text[at..].starts_with('-') { -ms } else { ms }))
}

fn clock_ms(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds = parts.next().unwrap_or("0");
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let whole: i64 = whole.parse().ok()?;
    let fraction_ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let valid = (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..61).contains(&whole);
    valid.then_some(hours * 3_600_000 + minutes * 60_000 + whole * 1_000 + fraction_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected_ms: i64) {
        let now_ms = 1_700_000_000_000; // 2023-11-14T22:13:20Z
        let got = Moment::parse(text, 0).map(|moment| moment.resolve(now_ms, 0));
        assert_eq!(got, Ok(expected_ms), "{text}");
    }

    #[test]
    fn all_forms_are_read() {
        check("now", 1_700_000_000_000);
        check("now-15m", 1_699_999_100_000);
        check("now-1h30m", 1_699_994_600_000);
        check("now/d", 1_699_920_000_000);
        check("now-1d/d", 1_699_833_600_000);
        check("2023-11-14", 1_699_920_000_000);
        check("2023-11-14T22:13:20Z", 1_700_000_000_000);
        check("2023-11-15 06:13:20.5+08:00", 1_700_000_000_500);
        check("1700000000", 1_700_000_000_000);
        check("1700000000000", 1_700_000_000_000);
        check("1700000000000000000", 1_700_000_000_000);
    }

    #[test]
    fn local_time_shifts_days_and_times_without_zone() {
        let offset_ms = 8 * 3_600_000;
        let midnight = Moment::parse("now/d", offset_ms).unwrap();
        assert_eq!(midnight.resolve(1_700_000_000_000, offset_ms), 1_699_977_600_000);
        assert_eq!(Moment::parse("2023-11-15", offset_ms), Ok(Moment::At(1_699_977_600_000)));
    }

    #[test]
    fn the_rest_is_refused() {
        for bad in
            ["", "later", "now+1h", "now-1x", "now-", "2023-02-30", "2023-11-14T25:00", "12:00"]
        {
            assert!(Moment::parse(bad, 0).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn moments_read_what_they_print(ago in 0i64..1_000_000_000_000, unit in 0usize..7) {
            let floor_ms = UNITS.get(unit).map_or(0, |(_, ms)| *ms);
            let moment = Moment::Relative { ago_ms: ago, floor_ms };
            prop_assert_eq!(moment.to_string().parse::<Moment>(), Ok(moment));
            let at = Moment::At(ago);
            prop_assert_eq!(at.to_string().parse::<Moment>(), Ok(at));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}", digits in "[0-9]{0,40}") {
            drop(Moment::parse(&text, 0));
            drop(Moment::parse(&digits, 0));
            prop_assert!(parse_duration(&digits).is_none());
        }
    }
}

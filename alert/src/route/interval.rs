//! Time intervals: when a route is mute or active. Fields are all to hold, entries of one field any of them.

use chrono::{Datelike, NaiveDate, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use model::time::Timestamp;

const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// One interval; an empty field does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Minutes of the day, end exclusive.
    pub(crate) times: Vec<(u32, u32)>,
    /// Sunday is 0; both ends inclusive, as in all that follow.
    pub(crate) weekdays: Vec<(i32, i32)>,
    /// From 1, or negative from the end of the month.
    pub(crate) days_of_month: Vec<(i32, i32)>,
    /// From 1.
    pub(crate) months: Vec<(i32, i32)>,
    pub(crate) years: Vec<(i32, i32)>,
    pub(crate) zone: Option<Tz>,
}

impl Interval {
    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        let zone = self.zone.unwrap_or(Tz::UTC);
        let utc = Utc.timestamp_nanos(at.0);
        let local = utc.with_timezone(&zone);
        let minute = local.hour() * 60 + local.minute();
        let weekday = i32::try_from(local.weekday().num_days_from_sunday()).unwrap_or(0);
        let day = i32::try_from(local.day()).unwrap_or(0);
        let month = i32::try_from(local.month()).unwrap_or(0);
        let year = local.year();
        let among = |ranges: &[(i32, i32)], value: i32| {
            ranges.is_empty() || ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
        };
        let last = days_in(year, local.month());
        let in_days = self.days_of_month.is_empty()
            || self.days_of_month.iter().any(|range| day_in(*range, last, day));
        let in_times = self.times.is_empty()
            || self.times.iter().any(|(from, to)| (*from..*to).contains(&minute));
        in_times
            && in_days
            && among(&self.weekdays, weekday)
            && among(&self.months, month)
            && among(&self.years, year)
    }
}

/// Whether `day` of a month with `last` days is in the range, clamped to the month.
fn day_in((from, to): (i32, i32), last: i32, day: i32) -> bool {
    let real = |n: i32| if n < 0 { last + n + 1 } else { n };
    if real(from) > last {
        return false;
    }
    let (from, to) = (real(from).max(1), real(to).clamp(1, last));
    (from..=to).contains(&day)
}

fn days_in(year: i32, month: u32) -> i32 {
    let first = NaiveDate::from_ymd_opt(year, month, 1);
    let next = if month == 12 {
        NaiveDate::from_ymd_opt(year + 1, 1, 1)
    } else {
        NaiveDate::from_ymd_opt(year, month + 1, 1)
    };
    match (first, next) {
        (Some(first), Some(next)) => i32::try_from((next - first).num_days()).unwrap_or(31),
        _ => 31,
    }
}

/// Minutes since midnight of `HH:MM`; `24:00` is the end of the day.
pub(crate) fn minute_of(text: &str) -> Result<u32, String> {
    let complaint = || format!("couldn't parse timestamp {text}, invalid format");
    let (hour, minute) = text.split_once(':').ok_or_else(complaint)?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| plain).ok_or_else(complaint)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    if (hour < 24 && minute < 60) || (hour == 24 && minute == 0) {
        return Ok(hour * 60 + minute);
    }
    Err(complaint())
}

/// `sunday`, or `monday:friday`.
pub(crate) fn weekdays(text: &str) -> Result<(i32, i32), String> {
    ends(text, |word| {
        position(&WEEKDAYS, word).ok_or_else(|| format!("{word} is not a valid weekday"))
    })
}

/// `may`, `5`, or `may:8`.
pub(crate) fn months(text: &str) -> Result<(i32, i32), String> {
    ends(text, |word| {
        let number = word.parse::<i32>().ok().filter(|n| (1..=12).contains(n));
        let named = position(&MONTHS, word).map(|i| i + 1);
        number.or(named).ok_or_else(|| format!("{word} is not a valid month"))
    })
}

/// `2026`, or `2026:2028`.
pub(crate) fn years(text: &str) -> Result<(i32, i32), String> {
    ends(text, |word| word.parse().map_err(|_| format!("{word} is not a valid year")))
}

/// `1`, `-1`, or `1:-1`.
pub(crate) fn days_of_month(text: &str) -> Result<(i32, i32), String> {
    let day = |word: &str| {
        let day = word.parse::<i32>().ok().filter(|n| *n != 0 && (-31..=31).contains(n));
        day.ok_or_else(|| format!("{word} is not a valid day of the month: out of range"))
    };
    let (from, to) = match text.split_once(':') {
        Some((from, to)) => (day(from.trim())?, day(to.trim())?),
        None => (day(text.trim())?, day(text.trim())?),
    };
    if from < 0 && to > 0 {
        return Err("end day must be negative if start day is negative".to_owned());
    }
    // In the longest month: only there can the end be sure to lie before the beginning.
    let real = |n: i32| if n < 0 { 31 + n + 1 } else { n };
    if real(from) > real(to) {
        return Err(format!("end day {to} is always before start day {from}"));
    }
    Ok((from, to))
}

/// An IANA name, `UTC` or `Local`.
pub(crate) fn zone(name: &str, local: &str) -> Result<Tz, String> {
    let name = match name {
        "Local" => local,
        name => name,
    };
    name.parse().map_err(|_| format!("unknown time zone {name}"))
}

fn ends(text: &str, read: impl Fn(&str) -> Result<i32, String>) -> Result<(i32, i32), String> {
    let lower = text.trim().to_lowercase();
    let (from, to) = match lower.split_once(':') {
        Some((from, to)) => (read(from)?, read(to)?),
        None => (read(&lower)?, read(&lower)?),
    };
    if from > to {
        return Err(format!("start of {text} cannot be after its end"));
    }
    Ok((from, to))
}

fn position(words: &[&str], word: &str) -> Option<i32> {
    i32::try_from(words.iter().position(|known| *known == word)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time = chrono::DateTime::parse_from_rfc3339(text).unwrap();
        Timestamp(time.timestamp_nanos_opt().unwrap())
    }

    #[test]
    fn office_hours_hold_on_working_days_in_their_zone() {
        let office = Interval {
            times: vec![(minute_of("09:00").unwrap(), minute_of("17:00").unwrap())],
            weekdays: vec![weekdays("Monday:friday").unwrap()],
            zone: Some(zone("Europe/Berlin", "UTC").unwrap()),
            ..Interval::default()
        };
        // 2026-11-23 is a Monday; winter time is UTC+1, summer time UTC+2.
        assert!(office.contains(at("2026-11-23T08:00:00Z")));
        assert!(!office.contains(at("2026-11-23T07:59:59Z")));
        assert!(!office.contains(at("2026-11-23T16:00:00Z")));
        assert!(office.contains(at("2026-07-06T07:00:00Z")));
        assert!(!office.contains(at("2026-07-06T15:00:00Z")));
        assert!(!office.contains(at("2026-11-22T10:00:00Z")));
    }

    #[test]
    fn the_end_of_the_month_is_clamped() {
        let days = |text| Interval {
            days_of_month: vec![days_of_month(text).unwrap()],
            ..Interval::default()
        };
        assert!(days("-1").contains(at("2028-02-29T12:00:00Z")));
        assert!(!days("-1").contains(at("2028-02-28T12:00:00Z")));
        assert!(days("-1").contains(at("2026-02-28T23:59:59Z")));
        assert!(days("29:31").contains(at("2026-01-30T00:00:00Z")));
        assert!(!days("29:31").contains(at("2026-02-28T00:00:00Z")));
        assert!(days("-3:-1").contains(at("2026-04-28T00:00:00Z")));
        assert!(!days("-3:-1").contains(at("2026-04-27T00:00:00Z")));
    }

    #[test]
    fn bounds_are_read_and_checked() {
        assert_eq!(minute_of("24:00"), Ok(1_440));
        assert_eq!((months("may:8"), years("2026")), (Ok((5, 8)), Ok((2026, 2026))));
        for bad in ["24:01", "9:00", "12:60", "noon", "-1:00"] {
            assert!(minute_of(bad).is_err(), "{bad}");
        }
        for bad in ["0", "32", "5:1", "-1:5", "-1:-5", "x"] {
            assert!(days_of_month(bad).is_err(), "{bad}");
        }
        assert!(weekdays("friday:monday").is_err() && weekdays("someday").is_err());
        assert!(months("13").is_err() && zone("Mars/Olympus", "UTC").is_err());
    }

    #[test]
    fn an_hour_skipped_by_summer_time_is_never() {
        let night = Interval {
            times: vec![(120, 180)],
            zone: Some(Tz::Europe__Berlin),
            ..Interval::default()
        };
        // 2026-03-29: 02:00 to 03:00 does not exist. 2026-10-25: it exists twice.
        assert!(!night.contains(at("2026-03-29T00:30:00Z")));
        assert!(!night.contains(at("2026-03-29T01:00:00Z")));
        assert!(night.contains(at("2026-10-25T00:30:00Z")));
        assert!(night.contains(at("2026-10-25T01:30:00Z")));
    }
}

//! Instants, ranges and the seam through which wall-clock time enters. Read by every crate.

use std::fmt;

/// Nanoseconds in one millisecond.
pub const NS_PER_MS: i64 = 1_000_000;
/// Nanoseconds in one second.
pub const NS_PER_S: i64 = 1_000_000_000;

/// An instant: nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The instant `ms` milliseconds after the epoch, saturating at the ends of the i64 range.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(NS_PER_MS))
    }

    /// The instant `s` seconds after the epoch, saturating at the ends of the i64 range.
    #[must_use]
    pub const fn from_s(s: i64) -> Self {
        Self(s.saturating_mul(NS_PER_S))
    }

    /// Milliseconds since the epoch, floored.
    #[must_use]
    pub const fn ms(self) -> i64 {
        self.0.div_euclid(NS_PER_MS)
    }

    /// Seconds since the epoch, floored.
    #[must_use]
    pub const fn s(self) -> i64 {
        self.0.div_euclid(NS_PER_S)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with nine decimals, as `2026-11-23T04:46:21.000000000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second_of_day) = (self.s().div_euclid(86_400), self.s().rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
            second_of_day / 3_600,
            second_of_day / 60 % 60,
            second_of_day % 60,
            self.0.rem_euclid(NS_PER_S)
        )
    }
}

/// Year, month (1 to 12) and day (1 to 31) of a day count since the epoch, proleptic Gregorian.
///
/// Source: H. Hinnant, "chrono-compatible low-level date algorithms".
#[must_use]
pub const fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Days since the epoch of a proleptic Gregorian date: the inverse of [`civil_from_days`].
#[must_use]
pub const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A stretch of time, `start` inclusive, `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First instant inside.
    pub start: Timestamp,
    /// First instant after.
    pub end: Timestamp,
}

impl TimeRange {
    /// Everything there is.
    pub const ALL: Self = Self { start: Timestamp(i64::MIN), end: Timestamp(i64::MAX) };

    /// The range from `start` up to, but not including, `end`.
    #[must_use]
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether any instant of the closed interval `[min, max]` lies inside.
    #[must_use]
    pub fn overlaps(&self, min: Timestamp, max: Timestamp) -> bool {
        min < self.end && self.start <= max
    }
}

/// Where wall-clock time comes from: the system in production, a script in tests and replays.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_survive_a_round_trip_and_print_as_rfc_3339() {
        for days in (-800_000..800_000).step_by(17) {
            let (y, m, d) = civil_from_days(days);
            assert_eq!(days_from_civil(y, m, d), days);
        }
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(Timestamp::from_s(1_709_164_800).to_string(), "2024-02-29T00:00:00.000000000Z");
    }

    #[test]
    fn a_range_holds_its_start_but_not_its_end() {
        let range = TimeRange::new(Timestamp(1), Timestamp(3));
        assert!(range.contains(Timestamp(1)) && !range.contains(Timestamp(3)));
        assert!(range.overlaps(Timestamp(-5), Timestamp(1)));
        assert!(!range.overlaps(Timestamp(3), Timestamp(9)));
    }
}

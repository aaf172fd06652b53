//! Calendar ticks of a time axis, aware of midnights and of clock changes; and times as text.

use model::time::{civil_from_days, days_from_civil};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A time zone over the range shown: offsets from UTC and when they change. Supplied by the caller; there is no zone
/// database here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// (instant from which it holds, offset), both ms, ascending; before the first the first offset holds.
    offsets: Vec<(i64, i64)>,
}

impl Zone {
    /// UTC.
    #[must_use]
    pub const fn utc() -> Self {
        Self { offsets: Vec::new() }
    }

    /// A zone that never changes, `offset_ms` ahead of UTC.
    #[must_use]
    pub fn fixed(offset_ms: i64) -> Self {
        Self { offsets: vec![(i64::MIN, offset_ms)] }
    }

    /// A zone with these changes.
    #[must_use]
    pub fn new(mut offsets: Vec<(i64, i64)>) -> Self {
        offsets.sort_unstable();
        Self { offsets }
    }

    /// Offset from UTC at an instant, ms.
    #[must_use]
    pub fn offset_ms(&self, at_ms: i64) -> i64 {
        let after = self.offsets.partition_point(|(from, _)| *from <= at_ms);
        self.offsets.get(after.saturating_sub(1)).map_or(0, |(_, offset_ms)| *offset_ms)
    }

    /// Local wall-clock ms of an instant.
    #[must_use]
    pub fn local(&self, at_ms: i64) -> i64 {
        at_ms + self.offset_ms(at_ms)
    }

    /// The instant whose wall clock shows `local_ms`; of two the earlier, and for skipped times the change itself.
    #[must_use]
    pub fn instant(&self, local_ms: i64) -> i64 {
        let guess = local_ms - self.offset_ms(local_ms - self.offset_ms(local_ms));
        if self.local(guess) == local_ms {
            let earlier = local_ms - self.offset_ms(guess - DAY_MS);
            return if self.local(earlier) == local_ms { earlier.min(guess) } else { guess };
        }
        let change = self
            .offsets
            .iter()
            .find(|(from, _)| *from > guess - DAY_MS && self.local(*from) > local_ms);
        change.map_or(guess, |(from, _)| *from)
    }
}

/// One tick of a time axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeTick {
    /// Instant, ms since the epoch.
    pub at_ms: i64,
    /// Label: time of day, or the date at midnight.
    pub label: String,
    /// Whether a new day, month or year begins here.
    pub major: bool,
}

#[derive(Clone, Copy)]
enum Step {
    Ms(i64),
    Months(i64),
}

const STEPS: [Step; 29] = [
    Step::Ms(1),
    Step::Ms(5),
    Step::Ms(20),
    Step::Ms(100),
    Step::Ms(500),
    Step::Ms(SECOND_MS),
    Step::Ms(2 * SECOND_MS),
    Step::Ms(5 * SECOND_MS),
    Step::Ms(10 * SECOND_MS),
    Step::Ms(15 * SECOND_MS),
    Step::Ms(30 * SECOND_MS),
    Step::Ms(MINUTE_MS),
    Step::Ms(2 * MINUTE_MS),
    Step::Ms(5 * MINUTE_MS),
    Step::Ms(10 * MINUTE_MS),
    Step::Ms(15 * MINUTE_MS),
    Step::Ms(30 * MINUTE_MS),
    Step::Ms(HOUR_MS),
    Step::Ms(2 * HOUR_MS),
    Step::Ms(3 * HOUR_MS),
    Step::Ms(6 * HOUR_MS),
    Step::Ms(12 * HOUR_MS),
    Step::Ms(DAY_MS),
    Step::Ms(2 * DAY_MS),
    Step::Ms(7 * DAY_MS),
    Step::Months(1),
    Step::Months(3),
    Step::Months(6),
    Step::Months(12),
];

impl Step {
    const fn about_ms(self) -> i64 {
        match self {
            Self::Ms(ms) => ms,
            Self::Months(months) => months * 30 * DAY_MS,
        }
    }
}

/// At most `n_max` ticks in `from_ms..=to_ms`, on round wall-clock times of `zone`.
#[must_use]
pub fn ticks(from_ms: i64, to_ms: i64, n_max: usize, zone: &Zone) -> Vec<TimeTick> {
    let n_max = i64::try_from(n_max.max(1)).unwrap_or(1);
    let span_ms = to_ms.saturating_sub(from_ms);
    let fits = |step: &Step| span_ms / step.about_ms() < n_max;
    let step = STEPS.iter().copied().find(fits).unwrap_or_else(|| {
        let years = span_ms / (365 * DAY_MS) / n_max + 1;
        Step::Months(12 * years)
    });
    let locals = match step {
        Step::Ms(ms) => even(zone.local(from_ms), zone.local(to_ms), ms),
        Step::Months(months) => monthly(zone.local(from_ms), zone.local(to_ms), months),
    };
    let mut ticks: Vec<TimeTick> = Vec::with_capacity(locals.len());
    for local_ms in locals {
        let at_ms = zone.instant(local_ms);
        let repeated = ticks.last().is_some_and(|last| last.at_ms >= at_ms);
        if !repeated && (from_ms..=to_ms).contains(&at_ms) {
            ticks.push(TimeTick {
                at_ms,
                label: label(local_ms, step),
                major: local_ms % DAY_MS == 0,
            });
        }
    }
    ticks
}

fn even(from_ms: i64, to_ms: i64, step_ms: i64) -> Vec<i64> {
    // Weeks begin on Monday; the epoch was a Thursday.
    let shift = if step_ms == 7 * DAY_MS { 4 * DAY_MS } else { 0 };
    let first = from_ms - (from_ms - shift).rem_euclid(step_ms);
    let mut locals = Vec::new();
    let mut at = first;
    while at <= to_ms && locals.len() < 1_000 {
        locals.push(at);
        at += step_ms;
    }
    locals
}

fn monthly(from_ms: i64, to_ms: i64, months: i64) -> Vec<i64> {
    let (year, month, _) = civil_from_days(from_ms.div_euclid(DAY_MS));
    let first = year * 12 + month - 1;
    let mut at = first - first.rem_euclid(months);
    let mut locals = Vec::new();
    loop {
        let day = days_from_civil(at.div_euclid(12), at.rem_euclid(12) + 1, 1);
        if day * DAY_MS > to_ms || locals.len() >= 1_000 {
            return locals;
        }
        locals.push(day * DAY_MS);
        at += months;
    }
}

fn label(local_ms: i64, step: Step) -> String {
    let (days, clock) = (local_ms.div_euclid(DAY_MS), local_ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil_from_days(days);
    match step {
        Step::Months(months) if months >= 12 => format!("{year}"),
        Step::Months(_) => format!("{year}-{month:02}"),
        Step::Ms(_) if clock == 0 => format!("{month:02}-{day:02}"),
        Step::Ms(ms) if ms >= MINUTE_MS => clock_text(clock, 0),
        Step::Ms(ms) if ms >= SECOND_MS => clock_text(clock, 1),
        Step::Ms(_) => clock_text(clock, 2),
    }
}

/// Time of day with `detail` 0: minutes, 1: seconds, else milliseconds.
fn clock_text(clock_ms: i64, detail: u8) -> String {
    let (hour, minute) = (clock_ms / HOUR_MS, clock_ms / MINUTE_MS % 60);
    let (second, ms) = (clock_ms / SECOND_MS % 60, clock_ms % SECOND_MS);
    match detail {
        0 => format!("{hour:02}:{minute:02}"),
        1 => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}.{ms:03}"),
    }
}

/// `2026-11-23 04:46:21` of `zone`.
#[must_use]
pub fn date_time(at_ms: i64, zone: &Zone) -> String {
    format!("{} {}", date(at_ms, zone), clock_text(zone.local(at_ms).rem_euclid(DAY_MS), 1))
}

/// `2026-11-23` of `zone`.
#[must_use]
pub fn date(at_ms: i64, zone: &Zone) -> String {
    let (year, month, day) = civil_from_days(zone.local(at_ms).div_euclid(DAY_MS));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `04:46:21` of `zone`.
#[must_use]
pub fn clock(at_ms: i64, zone: &Zone) -> String {
    clock_text(zone.local(at_ms).rem_euclid(DAY_MS), 1)
}

/// `04:46:21.318` of `zone`.
#[must_use]
pub fn clock_with_ms(at_ms: i64, zone: &Zone) -> String {
    clock_text(zone.local(at_ms).rem_euclid(DAY_MS), 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central Europe around two clock changes: 2024-03-31 01:00 UTC forwards, 2024-10-27 01:00 UTC back.
    fn berlin() -> Zone {
        let (spring, autumn) = (1_711_846_800_000, 1_729_990_800_000);
        Zone::new(vec![(i64::MIN, HOUR_MS), (spring, 2 * HOUR_MS), (autumn, HOUR_MS)])
    }

    fn labels(from_ms: i64, to_ms: i64, n: usize, zone: &Zone) -> Vec<String> {
        ticks(from_ms, to_ms, n, zone).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_fall_on_round_times() {
        let from = 1_700_000_000_000; // 2023-11-14T22:13:20Z
        assert_eq!(
            labels(from, from + 60_000, 6, &Zone::utc()),
            ["22:13:30", "22:13:45", "22:14:00", "22:14:15"]
        );
        assert_eq!(
            labels(from, from + 3 * HOUR_MS, 8, &Zone::utc()),
            ["22:30", "23:00", "23:30", "11-15", "00:30", "01:00"]
        );
        assert_eq!(labels(from, from + 200 * DAY_MS, 8, &Zone::utc()).first().unwrap(), "2023-12");
        assert_eq!(labels(from, from + 4_000 * DAY_MS, 6, &Zone::utc()).first().unwrap(), "2024");
    }

    #[test]
    fn days_of_23_and_25_hours_have_ticks_at_their_midnights() {
        for midnight in [1_711_839_600_000i64, 1_729_980_000_000] {
            let days = ticks(midnight, midnight + 2 * DAY_MS, 3, &berlin());
            assert_eq!(days[0].at_ms, midnight);
            let hours = (days[1].at_ms - days[0].at_ms) / HOUR_MS;
            assert!(hours == 23 || hours == 25, "{hours}");
            assert!(days.iter().all(|tick| tick.major));
        }
    }

    #[test]
    fn hours_around_a_clock_change_ascend_and_never_repeat() {
        for midnight in [1_711_839_600_000i64, 1_729_980_000_000] {
            let hours = ticks(midnight, midnight + 6 * HOUR_MS, 12, &berlin());
            assert!(hours.windows(2).all(|pair| pair[0].at_ms < pair[1].at_ms), "{hours:?}");
        }
    }

    #[test]
    fn times_read_as_wall_clock() {
        assert_eq!(date_time(1_700_000_000_000, &Zone::fixed(8 * HOUR_MS)), "2023-11-15 06:13:20");
        assert_eq!(clock_with_ms(1_700_000_000_318, &Zone::utc()), "22:13:20.318");
    }

    #[test]
    fn any_range_gives_few_ticks() {
        for span in [1, 999, 59_000, DAY_MS, 400 * DAY_MS, 200_000 * DAY_MS] {
            let n = ticks(1_700_000_000_000, 1_700_000_000_000 + span, 8, &Zone::utc()).len();
            assert!(n <= 9, "{span}: {n}");
        }
        assert!(ticks(5, 1, 8, &Zone::utc()).is_empty());
    }
}

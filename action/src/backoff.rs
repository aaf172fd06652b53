//! How long to wait before a message is tried again. Pure: jitter follows from the message's id, so a
//! run replays exactly, and two messages that failed together do not come back together.

use std::time::Duration;

use model::time::{NS_PER_S, Timestamp, days_from_civil};

/// Wait after attempt number `attempt` (from 1): doubles from `min` to `max`, less up to half of itself.
pub(crate) fn wait(seed: u64, attempt: u32, min: Duration, max: Duration) -> Duration {
    let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = min.saturating_mul(factor).min(max);
    let unit = f64::from(u32::try_from(mix(seed ^ u64::from(attempt)) >> 32).unwrap_or(0));
    full.mul_f64(1.0 - unit / f64::from(u32::MAX) / 2.0)
}

/// SplitMix64's finaliser: every bit of the input reaches every bit of the output.
const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Reads `Retry-After`: seconds, or a date as HTTP writes it today (`Sun, 06 Nov 1994 08:49:37 GMT`).
pub(crate) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at_s = parse_date(header)?;
    Some(Duration::from_secs(u64::try_from(at_s - now.0.div_euclid(NS_PER_S)).unwrap_or(0)))
}

/// Seconds since the epoch of an HTTP date.
fn parse_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (h, m, s) = (clock.next()??, clock.next()??, clock.next()??);
    let plausible = (1..=31).contains(&day) && (1970..=9999).contains(&year);
    let in_day = (0..24).contains(&h) && (0..60).contains(&m) && (0..=60).contains(&s);
    let whole = words.next() == Some("GMT") && words.next().is_none() && clock.next().is_none();
    (plausible && in_day && whole)
        .then(|| days_from_civil(year, month, day) * 86_400 + h * 3_600 + m * 60 + s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_with_at_most_half_taken_off() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(300));
        for seed in 0..50 {
            for (attempt, full_s) in
                [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (40, 300), (u32::MAX, 300)]
            {
                let (got, full) = (wait(seed, attempt, min, max), Duration::from_secs(full_s));
                assert!(full / 2 <= got && got <= full, "{attempt}: {got:?}");
            }
            assert_eq!(wait(seed, 3, min, max), wait(seed, 3, min, max));
        }
        assert_ne!(wait(1, 3, min, max), wait(2, 3, min, max));
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = Timestamp::from_s(784_111_777);
        let seconds = |header| retry_after(header, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
        for bad in [
            "",
            "soon",
            "-1",
            "1.5",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}

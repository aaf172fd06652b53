//! How long to wait between two tries.

use std::time::Duration;

/// Doubles from `min` to `max`; each pause is drawn from its upper half, so that agents that lost the same collector do
/// not return to it together.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max, state: seed }
    }

    /// The pause before try number `tries` (1 is the first repetition); at least `after`, which is the collector's own
    /// wish. A wish beyond an hour is taken for an hour.
    pub(crate) fn pause(&mut self, tries: u32, after: Option<Duration>) -> Duration {
        let doubled = self.min.saturating_mul(1 << tries.saturating_sub(1).min(20));
        let pause = doubled.min(self.max).mul_f64(0.5 + self.random() / 2.0);
        pause.max(after.unwrap_or_default().min(Duration::from_hours(1)))
    }

    /// Uniform in [0, 1). SplitMix64: good enough for jitter, and a seed replays it.
    fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_honour_the_wish() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 7);
        for tries in [1, 2, 3, 7, 40, u32::MAX] {
            let full = (0.5 * 2_f64.powi(tries.min(30) as i32 - 1)).min(30.0);
            let pause = backoff.pause(tries, None).as_secs_f64();
            assert!((full / 2.0..=full).contains(&pause), "{tries}: {pause} of {full}");
        }
        assert_eq!(backoff.pause(1, Some(Duration::from_secs(9))), Duration::from_secs(9));
        assert_eq!(backoff.pause(1, Some(Duration::MAX)), Duration::from_hours(1));
    }
}

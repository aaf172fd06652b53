//! A fleet of hosts that look like `node_exporter`: labels and values from a seed, one scrape after the other.
//!
//! A target has 500 series: 45 % constant, 20 % integer counters, 10 % CPU seconds, 9 % byte gauges, 13 % small gauges,
//! 3 % noise. Half of the targets have 3 ms of jitter on their scrapes.

mod template;

use template::{Shape, TEMPLATE_LEN, template};

/// Labels that every series has besides its name, as a relabelled scrape has them.
const COMMON: [(&str, &[&str]); 5] = [
    ("cluster", &["prod-a", "prod-b", "stage"]),
    ("datacenter", &["fra1", "iad2", "sin1", "syd1"]),
    ("environment", &["production", "staging"]),
    ("region", &["eu-central-1", "us-east-1", "ap-southeast-1", "ap-southeast-2"]),
    ("team", &["payments", "search", "platform", "storage", "identity"]),
];

/// A series of a fleet.
pub struct Series {
    /// Metric name.
    pub name: &'static str,
    /// Labels without the name, sorted; 7 to 9 of them.
    pub labels: Vec<(&'static str, String)>,
    /// Whether its values only grow.
    pub is_counter: bool,
    /// Which target it belongs to; targets lie one after the other.
    pub target: usize,
    shape: Shape,
    rng: Rng,
    state: i64,
}

/// A fleet, at one moment.
pub struct Fleet {
    /// By target, then in the order of the target's page.
    pub series: Vec<Series>,
    interval_ms: i64,
    start_ms: i64,
}

impl Fleet {
    /// `n_series` series, rounded up to whole targets, scraped every `interval_ms` from `start_ms` on.
    #[must_use]
    pub fn new(n_series: usize, interval_ms: i64, start_ms: i64) -> Self {
        let templates = template();
        let mut series = Vec::new();
        for target in 0..n_series.div_ceil(TEMPLATE_LEN) {
            for (place, template) in templates.iter().enumerate() {
                let mut rng = Rng((target * TEMPLATE_LEN + place) as u64);
                let mut labels: Vec<_> = COMMON
                    .iter()
                    .map(|(name, values)| (*name, values[target % values.len()].to_owned()))
                    .collect();
                labels.push(("instance", format!("host-{target:05}.example:9100")));
                labels.push(("job", "node".to_owned()));
                labels.extend(template.labels.iter().cloned());
                labels.sort();
                let (shape, is_counter) = (template.shape, template.shape.is_counter());
                let state = shape.start(&mut rng);
                let name = template.name;
                series.push(Series { name, labels, is_counter, target, shape, rng, state });
            }
        }
        Self { series, interval_ms, start_ms }
    }

    /// Number of targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.series.len() / TEMPLATE_LEN
    }

    /// The series of one target.
    #[must_use]
    pub fn target(&self, target: usize) -> &[Series] {
        &self.series[target * TEMPLATE_LEN..(target + 1) * TEMPLATE_LEN]
    }

    /// When target `target` is scraped the `k`-th time, in ms since the epoch; ascends with `k`.
    #[must_use]
    pub fn time_ms(&self, target: usize, k: i64) -> i64 {
        let offset = (target as i64 * 7_919) % self.interval_ms;
        let mut rng = Rng((target as u64) << 32 | k.cast_unsigned());
        let jitter = if target.is_multiple_of(2) { 0 } else { rng.below(7) - 3 };
        self.start_ms + k * self.interval_ms + offset + jitter
    }

    /// Goes on to the next scrape.
    pub fn advance(&mut self) {
        for series in &mut self.series {
            series.shape.advance(&mut series.state, &mut series.rng);
        }
    }
}

impl Series {
    /// Its value now.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.shape.value(self.state)
    }
}

/// Numbers that look random and depend on the seed alone (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to `limit`, exclusive; `limit` is above zero.
    pub fn below(&mut self, limit: i64) -> i64 {
        (self.bits() % limit.unsigned_abs()).cast_signed()
    }

    /// One of `of`, which is not empty.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.bits() % of.len() as u64).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fleets_are_alike_and_counters_never_fall() {
        let (mut one, mut two) = (Fleet::new(900, 10_000, 0), Fleet::new(900, 10_000, 0));
        assert_eq!((one.targets(), one.series.len()), (2, 1_000));
        let mut last: Vec<f64> = one.series.iter().map(Series::value).collect();
        let mut constant = vec![true; last.len()];
        for k in 1..50 {
            one.advance();
            two.advance();
            assert!(one.time_ms(1, k) > one.time_ms(1, k - 1));
            for (i, (a, b)) in one.series.iter().zip(&two.series).enumerate() {
                assert_eq!(a.value().to_bits(), b.value().to_bits());
                assert!(!a.is_counter || a.value() >= last[i], "{}", a.name);
                constant[i] &= a.value() == last[i];
                last[i] = a.value();
            }
        }
        let share = constant.iter().filter(|is| **is).count() as f64 / constant.len() as f64;
        assert!((0.45..0.60).contains(&share), "{share} of the series never changed");
    }

    #[test]
    fn labels_are_sorted_and_no_two_series_are_the_same() {
        let fleet = Fleet::new(1_000, 10_000, 0);
        let mut seen = std::collections::HashSet::new();
        for series in &fleet.series {
            assert!(series.labels.is_sorted() && (7..=9).contains(&series.labels.len()));
            assert!(seen.insert((series.name, &series.labels)), "{} twice", series.name);
        }
    }
}

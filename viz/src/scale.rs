//! Linear maps between values and pixels, and the few casts from doubles to integers that drawing needs.

/// A linear map of the domain `from..to` onto pixels `start..end` (which may run backwards, as y does).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// A scale. An empty or non-finite domain is widened, so that the map and its inverse always exist.
    #[must_use]
    pub fn new((from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        let from = if from.is_finite() { from } else { 0.0 };
        let to = if to.is_finite() && to > from { to } else { from + 1.0 };
        Self { from, to, start, end }
    }

    /// The pixel of `value`.
    #[must_use]
    pub fn pixel(&self, value: f64) -> f64 {
        self.start + (value - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// The value at `pixel`.
    #[must_use]
    pub fn value(&self, pixel: f64) -> f64 {
        let width = self.end - self.start;
        if width == 0.0 {
            return self.from;
        }
        self.from + (pixel - self.start) / width * (self.to - self.from)
    }

    /// Both ends of the domain.
    #[must_use]
    pub const fn domain(&self) -> (f64, f64) {
        (self.from, self.to)
    }
}

/// The whole number at or below `value`; saturates, NaN gives 0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, which is what a pixel wants"
)]
pub const fn floor(value: f64) -> i64 {
    value.floor() as i64
}

/// [`floor`] for counts and indexes: negative values give 0.
#[must_use]
pub fn index(value: f64) -> usize {
    usize::try_from(floor(value)).unwrap_or(0)
}

/// A count as a number to draw with.
#[must_use]
pub const fn float(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_and_values_are_inverse() {
        let scale = Scale::new((10.0, 20.0), (100.0, 0.0));
        assert_eq!(scale.pixel(10.0), 100.0);
        assert_eq!(scale.pixel(15.0), 50.0);
        assert!((scale.value(scale.pixel(13.7)) - 13.7).abs() < 1e-12);
    }

    #[test]
    fn an_empty_domain_is_widened() {
        for domain in [(5.0, 5.0), (5.0, 1.0), (5.0, f64::NAN), (f64::INFINITY, f64::INFINITY)] {
            let scale = Scale::new(domain, (0.0, 100.0));
            assert!(scale.pixel(5.0).is_finite(), "{domain:?}");
        }
        assert_eq!(index(-3.0), 0);
        assert_eq!(index(f64::NAN), 0);
    }
}

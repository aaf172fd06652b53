//! What lies under the pointer.

/// What a chart has at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hit {
    /// Index of the nearest time of the data.
    pub time_idx: usize,
    /// That instant, ms since the epoch.
    pub at_ms: i64,
    /// Its pixel.
    pub x: f64,
    /// Series that have a value there, in the order of the data.
    pub values: Vec<HitValue>,
    /// Index into `values` of the one nearest to the pointer.
    pub nearest: Option<usize>,
}

/// One series' value under the pointer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HitValue {
    /// Index of the series in the data.
    pub series_idx: usize,
    /// Its own value, not the sum of a stack.
    pub value: f64,
    /// The pixel it is drawn at.
    pub y: f64,
}

/// Index of the time nearest to `at_ms`; `None` when there are no times. `times_ms` ascends.
#[must_use]
pub fn nearest_time(times_ms: &[i64], at_ms: i64) -> Option<usize> {
    let after = times_ms.partition_point(|t| *t < at_ms);
    let distance = |i: &usize| times_ms.get(*i).map(|t| t.abs_diff(at_ms));
    [after.saturating_sub(1), after]
        .into_iter()
        .filter(|i| *i < times_ms.len())
        .min_by_key(|i| distance(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_time_is_found_at_any_place() {
        let times = [10, 20, 40];
        for (at, idx) in [(-5, 0), (10, 0), (14, 0), (16, 1), (29, 1), (31, 2), (99, 2)] {
            assert_eq!(nearest_time(&times, at), Some(idx), "{at}");
        }
        assert_eq!(nearest_time(&[], 1), None);
    }
}

//! Sums of series, one upon the other.

/// For each series the running sum up to and including it.
///
/// An absent value (any NaN) counts as nothing; an instant at which every series is absent stays absent, so that a gap is
/// drawn as a gap and never as zero. All series have the same length.
#[must_use]
pub fn sums(series: &[&[f64]]) -> Vec<Vec<f64>> {
    let n_times = series.iter().map(|values| values.len()).max().unwrap_or(0);
    let at = |values: &[f64], i: usize| values.get(i).copied().filter(|v| !v.is_nan());
    let mut running: Vec<Option<f64>> =
        (0..n_times).map(|i| series.iter().find_map(|values| at(values, i)).map(|_| 0.0)).collect();
    let add = |values: &&[f64]| {
        for (i, sum) in running.iter_mut().enumerate() {
            *sum = sum.map(|sum| sum + at(values, i).unwrap_or(0.0));
        }
        running.iter().map(|sum| sum.unwrap_or(f64::NAN)).collect()
    };
    series.iter().map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_upwards_and_gaps_stay_gaps() {
        let nan = f64::NAN;
        let stacked = sums(&[&[1.0, nan, 3.0, nan], &[10.0, 20.0, nan, nan]]);
        assert_eq!(stacked[0][..3], [1.0, 0.0, 3.0]);
        assert_eq!(stacked[1][..3], [11.0, 20.0, 3.0]);
        assert!(stacked[0][3].is_nan() && stacked[1][3].is_nan());
        assert!(sums(&[]).is_empty());
    }
}

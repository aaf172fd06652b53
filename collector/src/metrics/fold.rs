//! Samples of one series in one millisecond, found without sorting and without a hash map's bookkeeping.

use store::Samples;

/// An empty place of the table.
const NONE: u32 = u32::MAX;

/// Rows that a later row of the same series and time replaces. Ascending.
pub(crate) fn earlier_twins(samples: &Samples) -> Vec<usize> {
    let n_rows = samples.len();
    let mut twins = Vec::new();
    if n_rows < 2 {
        return twins;
    }
    // Half empty, so that a look-up ends after a step or two.
    let mask = (n_rows * 2).next_power_of_two() - 1;
    let mut table = vec![NONE; mask + 1];
    for row in 0..n_rows {
        let mut at = place(samples, row) & mask;
        while let Some(earlier) = usize::try_from(table[at]).ok().filter(|row| *row < n_rows) {
            if samples.series[earlier] == samples.series[row]
                && samples.times[earlier] == samples.times[row]
            {
                twins.push(earlier);
                break;
            }
            at = (at + 1) & mask;
        }
        // A body of 32 MiB has no room for 2^32 samples; beyond that doubles would merely be kept.
        table[at] = u32::try_from(row).unwrap_or(NONE);
    }
    twins.sort_unstable();
    twins
}

/// Removes `rows`, ascending.
pub(crate) fn remove(samples: &mut Samples, rows: &[usize]) {
    if rows.is_empty() {
        return;
    }
    retain(&mut samples.series, rows);
    retain(&mut samples.times, rows);
    retain(&mut samples.values, rows);
    retain(&mut samples.starts, rows);
    retain(&mut samples.flags, rows);
}

fn retain<T>(column: &mut Vec<T>, without: &[usize]) {
    let (mut row, mut without) = (0, without.iter().peekable());
    column.retain(|_| {
        let is_kept = without.next_if(|gone| **gone == row).is_none();
        row += 1;
        is_kept
    });
}

fn place(samples: &Samples, row: usize) -> usize {
    let series = u64::from(samples.series[row].slot());
    let mixed = (series ^ samples.times[row].cast_unsigned().rotate_left(32))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The high bits are the mixed ones.
    usize::try_from(mixed >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::prop;
    use proptest::{prop_assert_eq, proptest};
    use store::SeriesRef;

    use super::*;

    proptest! {
        #[test]
        fn the_last_of_each_series_and_time_stays(
            rows in prop::collection::vec((0_u32..6, 0_u32..2, -3_i64..4), 0..60)
        ) {
            let mut samples = Samples::default();
            for (i, (slot, generation, time)) in rows.iter().enumerate() {
                samples.series.push(SeriesRef::new(*slot, *generation));
                samples.times.push(*time);
                samples.values.push(i as f64);
                samples.starts.push(0);
                samples.flags.push(0);
            }
            let is_last = |i: &usize| !rows[i + 1..].contains(&rows[*i]);
            let expected: Vec<f64> = (0..rows.len()).filter(is_last).map(|i| i as f64).collect();
            let twins = earlier_twins(&samples);
            prop_assert_eq!(twins.len(), rows.len() - expected.len());
            remove(&mut samples, &twins);
            prop_assert_eq!(&samples.values, &expected);
            prop_assert_eq!(samples.series.len(), expected.len());
        }
    }
}

//! Functions of windows that hold whole buckets instead of samples: the same answers, from fewer numbers.

use crate::promql::eval::column::Cell;
use crate::promql::eval::rate;
use crate::promql::eval::window::Window;
use crate::promql::source::Bucket;

/// The function `name` of a window with buckets; a source hands out buckets to no other than these.
pub(super) fn cell(name: &str, window: &Window<'_>) -> Cell {
    let Some(whole) = joined(&window.track.buckets[window.buckets.clone()]) else {
        return Cell::None;
    };
    let float = match name {
        "rate" => return rate::of_bucket(window, &whole, true),
        "increase" => return rate::of_bucket(window, &whole, false),
        "count_over_time" => Some(whole.count as f64),
        "last_over_time" => Some(whole.last),
        "min_over_time" => Some(whole.min),
        "max_over_time" => Some(whole.max),
        "sum_over_time" => whole.sum.map(|(sum, low)| sum + low),
        "avg_over_time" => {
            let count = whole.count as f64;
            whole.sum.map(|(sum, low)| sum / count + low / count)
        }
        _ => None,
    };
    float.into()
}

/// Neighbouring buckets as one.
fn joined(buckets: &[Bucket]) -> Option<Bucket> {
    let (first, rest) = buckets.split_first()?;
    let mut whole = *first;
    rest.iter().for_each(|bucket| whole.join(bucket));
    Some(whole)
}

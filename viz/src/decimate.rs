//! M4: at most four points a pixel column, none of which a screen could do without.

use crate::painter::Point;
use crate::scale::floor;

/// Thins points to the first, lowest, highest and last of each column of `column_px` pixels, in their own order.
///
/// `points` ascend in x. Fewer than two points a column are returned as they are. Extremes are never lost: a peak of
/// one sample stays visible at any zoom. Applying it twice changes nothing.
#[must_use]
pub fn m4(points: &[Point], column_px: f64) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let columns = ((last.x - first.x) / column_px).max(1.0);
    if crate::scale::float(points.len()) < 2.0 * columns {
        return points.to_vec();
    }
    let mut thinned = Vec::new();
    let column = |point: &Point| floor(point.x / column_px);
    for run in points.chunk_by(|a, b| column(a) == column(b)) {
        keep(run, &mut thinned);
    }
    thinned
}

/// Appends what represents the points of one column.
fn keep(run: &[Point], thinned: &mut Vec<Point>) {
    let (mut low, mut high) = (0, 0);
    for (i, point) in run.iter().enumerate() {
        if point.y < run[low].y {
            low = i;
        }
        if point.y > run[high].y {
            high = i;
        }
    }
    let mut kept = [0, low.min(high), low.max(high), run.len() - 1].map(Some);
    for i in 1..kept.len() {
        if kept[..i].contains(&kept[i]) {
            kept[i] = None;
        }
    }
    thinned.extend(kept.into_iter().flatten().map(|i| run[i]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(n: usize) -> Vec<Point> {
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(state >> 33).unwrap()) / 1e9
        };
        (0..n)
            .map(|i| Point::new(crate::scale::float(i) * 1000.0 / crate::scale::float(n), next()))
            .collect()
    }

    fn extremes(points: &[Point]) -> (f64, f64) {
        let ys = || points.iter().map(|point| point.y);
        (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max))
    }

    #[test]
    fn extremes_survive_and_the_result_is_small() {
        let points = noisy(100_000);
        let thinned = m4(&points, 1.0);
        assert!(thinned.len() <= 4 * 1_001, "{}", thinned.len());
        assert_eq!(extremes(&thinned), extremes(&points));
        assert_eq!((thinned.first(), thinned.last()), (points.first(), points.last()));
        assert!(thinned.windows(2).all(|pair| pair[0].x <= pair[1].x));
    }

    #[test]
    fn a_lonely_peak_stays() {
        let mut points: Vec<Point> =
            (0..50_000).map(|i| Point::new(f64::from(i) / 50.0, 1.0)).collect();
        points[31_415].y = 99.0;
        assert!(m4(&points, 1.0).iter().any(|point| point.y == 99.0));
    }

    #[test]
    fn twice_is_once_and_few_points_stay_raw() {
        let once = m4(&noisy(20_000), 1.0);
        assert_eq!(m4(&once, 1.0), once);
        let few = noisy(300);
        assert_eq!(m4(&few, 1.0), few);
        assert!(m4(&[], 1.0).is_empty());
    }
}

//! The frame of a chart: its domain, its axes, and the stretches without data.

use super::{Data, Style, time};
use crate::painter::{Rect, Size};
use crate::scale::{Scale, float, index};
use crate::svg::estimate;
use crate::tick::{Ticks, widen};
use crate::time_axis::{self, TimeTick};

/// Height of axis labels in pixels.
pub(super) const LABEL_PX: f64 = 11.0;

/// Gaps narrower than this are not hatched.
const GAP_PX_MIN: f64 = 6.0;

/// Scales, ticks and the rectangle they enclose.
pub(super) struct Axes {
    pub(super) plot: Rect,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) y_ticks: Ticks,
    pub(super) y_labels: Vec<String>,
    pub(super) x_ticks: Vec<TimeTick>,
}

pub(super) fn axes(data: &Data, drawn: &[(usize, Vec<f64>)], size: Size) -> Axes {
    let (top, bottom, right) = (8.0, 20.0, 12.0);
    let height = (size.height - top - bottom).max(1.0);
    let (low, high) = domain(data, drawn);
    let n_ticks = index(height / 28.0).clamp(2, 6);
    let step = data.unit.ticks(low, high, n_ticks).step;
    let (low, high) = if data.y_max.is_some_and(|max| max >= high) {
        (low, high)
    } else {
        widen(low, high, step)
    };
    let y_ticks = data.unit.ticks(low, high, n_ticks);
    let y_labels = data.unit.labels(&y_ticks);
    let widest = y_labels.iter().map(|label| estimate(label, LABEL_PX)).fold(20.0, f64::max);
    let left = (widest + 10.0).min(size.width / 2.0);
    let plot = Rect { x: left, y: top, width: (size.width - left - right).max(1.0), height };
    let (from_ms, to_ms) = data.range_ms;
    let x = Scale::new((time(from_ms), time(to_ms)), (plot.x, plot.right()));
    let y = Scale::new((low, high), (plot.bottom(), plot.y));
    let n_max = index(plot.width / 76.0).clamp(1, 12);
    let mut x_ticks = time_axis::ticks(from_ms, to_ms, n_max, &data.zone);
    drop_overlapping(&mut x_ticks, &x, plot, size.width);
    Axes { plot, x, y, y_ticks, y_labels, x_ticks }
}

/// Labels never overlap and never leave the picture: the offender is dropped, not squeezed.
fn drop_overlapping(ticks: &mut Vec<TimeTick>, x: &Scale, plot: Rect, width: f64) {
    let mut free_from = plot.x - 24.0;
    ticks.retain(|tick| {
        let half = estimate(&tick.label, LABEL_PX) / 2.0;
        let at = x.pixel(time(tick.at_ms));
        let fits = at - half >= free_from && at + half <= width;
        if fits {
            free_from = at + half + 10.0;
        }
        fits
    });
}

/// Lowest and highest value to show; holds zero unless the values keep far from it.
fn domain(data: &Data, drawn: &[(usize, Vec<f64>)]) -> (f64, f64) {
    let finite = || drawn.iter().flat_map(|(_, values)| values).copied().filter(|v| v.is_finite());
    let limits = data.thresholds.iter().map(|(value, _)| *value).chain(data.y_max);
    let mut low = finite().chain(limits.clone()).fold(f64::INFINITY, f64::min);
    let mut high = finite().chain(limits).fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return (0.0, 1.0);
    }
    let based = data.stacked || data.style != Style::Line;
    if based || (low >= 0.0 && high - low > 0.15 * high) {
        (low, high) = (low.min(0.0), high.max(0.0));
    }
    if high > low {
        return (low, high);
    }
    // One value only: a band around it, from zero when it is positive.
    match low {
        0.0 => (0.0, 1.0),
        v if v > 0.0 => (0.0, v * 2.0),
        v => (v * 2.0, 0.0),
    }
}

/// Where no drawn series has a value, as rectangles of the plot.
pub(super) fn gaps(data: &Data, x: &Scale, plot: Rect) -> Vec<Rect> {
    let visible: Vec<&[f64]> = data
        .series
        .iter()
        .filter(|series| !series.hidden)
        .map(|series| series.values.as_slice())
        .collect();
    let has = |i: &usize| visible.iter().any(|values| values.get(*i).is_some_and(|v| !v.is_nan()));
    let present: Vec<i64> =
        (0..data.times_ms.len()).filter(has).map(|i| data.times_ms[i]).collect();
    let (Some(first), Some(last)) = (present.first(), present.last()) else { return Vec::new() };
    if data.style == Style::Bars || data.step_ms == 0 {
        return Vec::new();
    }
    let inner = present.windows(2).map(|pair| (pair[0], pair[1]));
    let ends = [(data.range_ms.0, *first), (*last, data.range_ms.1)];
    let wide = |(from, to): &(i64, i64)| 2 * (to - from) > 5 * data.step_ms.max(1);
    let rect = |(from, to): (i64, i64)| {
        let left = x.pixel(time(from)).max(plot.x);
        let right = x.pixel(time(to)).min(plot.right());
        Rect { x: left, y: plot.y, width: (right - left).max(0.0), height: plot.height }
    };
    inner.chain(ends).filter(wide).map(rect).filter(|rect| rect.width >= GAP_PX_MIN).collect()
}

/// Strokes at 45 degrees that fill `rect`, as pairs of ends.
pub(super) fn hatch(rect: Rect) -> Vec<[crate::painter::Point; 2]> {
    use crate::painter::Point;
    let distance = 8.0;
    let n = index((rect.width + rect.height) / distance);
    let stroke = |i: usize| {
        // The line x + y = c, cut off at the edges of the rectangle; c is global, so that neighbours continue it.
        let shift = (rect.x + rect.y) % distance;
        let c = rect.x + rect.y - shift + float(i + 1) * distance;
        let left = (c - rect.bottom()).max(rect.x);
        let right = (c - rect.y).min(rect.right());
        (left < right).then(|| [Point::new(left, c - left), Point::new(right, c - right)])
    };
    (0..n).filter_map(stroke).collect()
}

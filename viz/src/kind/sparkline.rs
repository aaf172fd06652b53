//! A small line without axes, as the `d` of two SVG paths.

use crate::decimate::m4;
use crate::painter::{Point, Size};
use crate::scale::{Scale, float};
use crate::svg::path;

/// The two paths of a sparkline; both empty when there is nothing to draw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sparkline {
    /// The line.
    pub line: String,
    /// The area below it, closed.
    pub area: String,
}

/// Lays out `values` at equal distances. The scale holds zero and reaches `y_max` at least; NaN is a gap.
#[must_use]
pub fn layout(values: &[f64], y_max: f64, size: Size) -> Sparkline {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let low = finite().fold(0.0, f64::min);
    let high = finite().fold(y_max, f64::max);
    let last = float(values.len().saturating_sub(1)).max(1.0);
    let x = Scale::new((0.0, last), (0.0, size.width));
    let y = Scale::new((low, high), (size.height - 1.0, 1.0));
    let indexes: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_finite()).collect();
    let mut sparkline = Sparkline::default();
    for run in indexes.chunk_by(|a, b| *b == a + 1) {
        let points: Vec<Point> =
            run.iter().map(|i| Point::new(x.pixel(float(*i)), y.pixel(values[*i]))).collect();
        let points = m4(&points, 1.0);
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let outline = path(&points);
        sparkline.area.push_str(&outline);
        sparkline.area.push_str(&format!(
            "L{:.1} {h}L{:.1} {h}Z",
            last.x,
            first.x,
            h = size.height
        ));
        sparkline.line.push_str(&outline);
    }
    sparkline
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { width: 100.0, height: 20.0 };

    #[test]
    fn runs_are_paths_and_gaps_are_not() {
        let drawn = layout(&[0.0, 1.0, f64::NAN, 0.5, 0.5], 1.0, SIZE);
        assert_eq!(drawn.line, "M0 19L25 1M75 10L100 10");
        assert_eq!(drawn.area.matches('Z').count(), 2);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(layout(&[], 1.0, SIZE), Sparkline::default());
        assert_eq!(layout(&[f64::NAN], 1.0, SIZE), Sparkline::default());
    }
}

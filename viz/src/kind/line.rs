//! Values over time: lines, areas and bars, plain or stacked.
//!
//! A gap in the data is a gap in the picture, hatched when it is wide enough to be seen; nothing is ever drawn as zero that
//! was not measured as zero.

mod draw;
mod frame;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::decimate::m4;
use crate::hit::{Hit, HitValue, nearest_time};
use crate::painter::{Ink, Point, Rect, Size};
use crate::scale::{Scale, float, floor};
use crate::stack;
use crate::table::Table;
use crate::tick::Ticks;
use crate::time_axis::{TimeTick, Zone, date_time};
use crate::unit::Format;

/// A time this near to the pointer is hit however dense the data are.
const NEAR_PX: f64 = 8.0;

/// Series drawn at most; the rest is named in the legend only.
pub const SERIES_MAX: usize = 100;

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    /// Instants, ms since the epoch, ascending.
    pub times_ms: Vec<i64>,
    /// Series, each with one value a time; NaN where there is none.
    pub series: Vec<Series>,
    /// How values are written.
    pub unit: Format,
    /// How they are drawn.
    pub style: Style,
    /// Whether each series stands upon the one before.
    pub stacked: bool,
    /// First and last instant of the x axis, ms since the epoch.
    pub range_ms: (i64, i64),
    /// Expected distance of times, ms; one and a half of it is a gap. 0: never.
    pub step_ms: i64,
    /// The y axis reaches at least this far.
    pub y_max: Option<f64>,
    /// Horizontal lines to compare with.
    pub thresholds: Vec<(f64, Ink)>,
    /// Instants to see beside the values, ms since the epoch, with their names.
    pub marks: Vec<(i64, Ink, String)>,
    /// Zone of the x axis.
    pub zone: Zone,
}

/// One series of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in legend and table.
    pub name: String,
    /// Slot of the palette.
    pub slot: usize,
    /// Another colour than the slot's, for series that have a meaning.
    pub ink: Option<Ink>,
    /// Values, one a time.
    pub values: Vec<f64>,
    /// Left out of picture and scale, kept in legend and table.
    pub hidden: bool,
}

impl Series {
    /// The colour it is drawn in.
    #[must_use]
    pub fn color(&self) -> Ink {
        self.ink.unwrap_or(Ink::Series(self.slot))
    }
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Lines.
    #[default]
    Line,
    /// Lines over a filled area.
    Area,
    /// Bars that begin at their time and are one step wide.
    Bars,
}

/// What the legend says about one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Latest value; NaN when there is none.
    pub last: f64,
    /// Lowest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Highest.
    pub max: f64,
}

/// A series as laid out: what belongs together is one run.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    series_idx: usize,
    /// Values as drawn: sums when stacked.
    drawn: Vec<f64>,
    runs: Vec<Run>,
}

#[derive(Clone, Debug, PartialEq)]
struct Run {
    top: Vec<Point>,
    /// Lower edge of the area; empty for lines.
    bottom: Vec<Point>,
}

/// A chart laid out for one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What is drawn.
    pub data: Arc<Data>,
    /// Where the data are, without axes.
    pub plot: Rect,
    size: Size,
    x: Scale,
    y: Scale,
    y_ticks: Ticks,
    y_labels: Vec<String>,
    x_ticks: Vec<TimeTick>,
    curves: Vec<Curve>,
    gaps: Vec<Rect>,
}

/// Lays a chart out. Any size and any data give a scene that can be drawn.
#[must_use]
pub fn layout(data: Arc<Data>, size: Size) -> Scene {
    let drawn = drawn_values(&data);
    let axes = frame::axes(&data, &drawn, size);
    let curves = drawn.into_iter();
    let mut curves: Vec<Curve> =
        curves.map(|(series_idx, drawn)| Curve { series_idx, drawn, runs: Vec::new() }).collect();
    for i in 0..curves.len() {
        let (below, rest) = curves.split_at_mut(i);
        let floor = below.last().filter(|_| data.stacked).map(|curve| curve.drawn.as_slice());
        rest[0].runs = runs(&data, &rest[0].drawn, floor, (&axes.x, &axes.y));
    }
    let gaps = frame::gaps(&data, &axes.x, axes.plot);
    let frame::Axes { plot, x, y, y_ticks, y_labels, x_ticks } = axes;
    Scene { data, plot, size, x, y, y_ticks, y_labels, x_ticks, curves, gaps }
}

/// Index and values of the series that are drawn, sums when stacked.
fn drawn_values(data: &Data) -> Vec<(usize, Vec<f64>)> {
    let visible = data.series.iter().enumerate().filter(|(_, series)| !series.hidden);
    let visible: Vec<(usize, &[f64])> =
        visible.take(SERIES_MAX).map(|(i, series)| (i, series.values.as_slice())).collect();
    if data.stacked {
        let values: Vec<&[f64]> = visible.iter().map(|(_, values)| *values).collect();
        visible.iter().map(|(i, _)| *i).zip(stack::sums(&values)).collect()
    } else {
        visible.into_iter().map(|(i, values)| (i, values.to_vec())).collect()
    }
}

/// Splits one curve at its gaps and maps it to pixels.
fn runs(data: &Data, drawn: &[f64], floor: Option<&[f64]>, (x, y): (&Scale, &Scale)) -> Vec<Run> {
    let present: Vec<usize> =
        (0..data.times_ms.len().min(drawn.len())).filter(|i| drawn[*i].is_finite()).collect();
    let joined = |a: &usize, b: &usize| {
        let distance_ms = data.times_ms[*b] - data.times_ms[*a];
        let near = data.step_ms == 0 || 2 * distance_ms <= 3 * data.step_ms;
        near && (*b == a + 1 || data.step_ms == 0)
    };
    let px = |i: usize, value: f64| Point::new(x.pixel(time(data.times_ms[i])), y.pixel(value));
    let base = y.domain().0.max(0.0).min(y.domain().1);
    let run = |indexes: &[usize]| {
        let top: Vec<Point> = indexes.iter().map(|i| px(*i, drawn[*i])).collect();
        if data.style == Style::Line && !data.stacked {
            return Run { top: m4(&top, 1.0), bottom: Vec::new() };
        }
        let below = |i: &usize| floor.map_or(base, |floor| floor[*i]);
        let bottom =
            indexes.iter().map(|i| px(*i, if below(i).is_nan() { base } else { below(i) }));
        Run { bottom: bottom.collect(), top }
    };
    present.chunk_by(joined).map(run).collect()
}

/// An instant as a number to scale.
const fn time(ms: i64) -> f64 {
    ms as f64
}

impl Scene {
    /// The instant at a pixel, ms since the epoch, clamped to the range.
    #[must_use]
    pub fn time_at(&self, x: f64) -> i64 {
        let (from, to) = self.data.range_ms;
        floor(self.x.value(x) + 0.5).clamp(from, to.max(from))
    }

    /// The pixel of an instant.
    #[must_use]
    pub fn x_of(&self, at_ms: i64) -> f64 {
        self.x.pixel(time(at_ms))
    }

    /// What lies under `at`; `None` outside the plot or without data.
    #[must_use]
    pub fn hit(&self, at: Point) -> Option<Hit> {
        if !self.plot.contains(at) {
            return None;
        }
        // A bar belongs to the time it begins at.
        let shift = if self.data.style == Style::Bars { self.data.step_ms / 2 } else { 0 };
        let mut hit = self.at(self.time_at(at.x) - shift)?;
        let distance = |value: &HitValue| (value.y - at.y).abs();
        hit.nearest = (0..hit.values.len())
            .min_by(|a, b| distance(&hit.values[*a]).total_cmp(&distance(&hit.values[*b])));
        Some(hit)
    }

    /// What the chart has at the time nearest to `at_ms`; `None` within a gap, where nothing is near.
    #[must_use]
    pub fn at(&self, at_ms: i64) -> Option<Hit> {
        let time_idx = nearest_time(&self.data.times_ms, at_ms)?;
        let distance_ms = (self.data.times_ms[time_idx] - at_ms).abs();
        let px = (self.x_of(at_ms) - self.x_of(self.data.times_ms[time_idx])).abs();
        if self.data.step_ms > 0 && 2 * distance_ms > 3 * self.data.step_ms && px > NEAR_PX {
            return None;
        }
        let at_ms = self.data.times_ms[time_idx];
        let value = |curve: &Curve| {
            let drawn = *curve.drawn.get(time_idx)?;
            let value = *self.data.series[curve.series_idx].values.get(time_idx)?;
            let hit = HitValue { series_idx: curve.series_idx, value, y: self.y.pixel(drawn) };
            (!value.is_nan() && drawn.is_finite()).then_some(hit)
        };
        let values = self.curves.iter().filter_map(value).collect();
        Some(Hit { time_idx, at_ms, x: self.x_of(at_ms), values, nearest: None })
    }

    /// The numbers of the chart: one row a time, newest last.
    #[must_use]
    pub fn table(&self) -> Table {
        let data = &self.data;
        let names = data.series.iter().map(|series| series.name.clone());
        let head = std::iter::once("time".to_owned()).chain(names).collect();
        let row = |(i, at_ms): (usize, &i64)| {
            let cell = |series: &Series| match series.values.get(i) {
                Some(value) if !value.is_nan() => format!("{value}"),
                _ => String::new(),
            };
            let cells = data.series.iter().map(cell);
            std::iter::once(date_time(*at_ms, &data.zone)).chain(cells).collect()
        };
        Table { head, rows: data.times_ms.iter().enumerate().map(row).collect() }
    }
}

/// Latest, lowest, mean and highest of the values that are there.
#[must_use]
pub fn summary(values: &[f64]) -> Summary {
    let present = || values.iter().copied().filter(|v| !v.is_nan());
    let sum: f64 = present().sum();
    Summary {
        last: present().next_back().unwrap_or(f64::NAN),
        min: present().reduce(f64::min).unwrap_or(f64::NAN),
        mean: sum / float(present().count()),
        max: present().reduce(f64::max).unwrap_or(f64::NAN),
    }
}

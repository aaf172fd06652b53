//! Draws a laid-out chart: gaps, grid, data, axes; and on the upper canvas the cursor and the selection.

use super::frame::{LABEL_PX, hatch};
use super::{Curve, Scene, Style};
use crate::hit::Hit;
use crate::painter::{Align, Fill, Ink, Painter, Point, Rect, Stroke, TextStyle};
use crate::scale::float;

/// Rows that names of marks are written in before they are left out.
const MARK_ROWS: usize = 4;

impl Scene {
    /// Draws everything that does not follow the pointer.
    pub fn draw(&self, painter: &mut dyn Painter) {
        for gap in &self.gaps {
            for stroke in hatch(*gap) {
                painter.polyline(&stroke, Stroke::solid(Ink::Grid, 1.0));
            }
        }
        self.draw_grid(painter);
        for curve in self.curves.iter().rev() {
            self.draw_fill(curve, painter);
        }
        for curve in self.curves.iter().rev() {
            self.draw_line(curve, painter);
        }
        self.draw_thresholds(painter);
        self.draw_marks(painter);
        self.draw_labels(painter);
    }

    fn draw_grid(&self, painter: &mut dyn Painter) {
        for value in &self.y_ticks.values {
            let y = crisp(self.y.pixel(*value));
            let ink = if *value == 0.0 { Ink::Axis } else { Ink::Grid };
            let ends = [Point::new(self.plot.x, y), Point::new(self.plot.right(), y)];
            painter.polyline(&ends, Stroke::solid(ink, 1.0));
        }
        for tick in &self.x_ticks {
            let x = crisp(self.x_of(tick.at_ms));
            let ink = if tick.major { Ink::Axis } else { Ink::Grid };
            let ends = [Point::new(x, self.plot.y), Point::new(x, self.plot.bottom())];
            painter.polyline(&ends, Stroke::solid(ink, 1.0));
        }
    }

    fn draw_fill(&self, curve: &Curve, painter: &mut dyn Painter) {
        let series = &self.data.series[curve.series_idx];
        let alpha = if self.data.stacked { 0.55 } else { 0.14 };
        let fill = Fill { ink: series.color(), alpha };
        for run in &curve.runs {
            match self.data.style {
                Style::Bars => {
                    painter.rects(&self.bars(&run.top, &run.bottom), Fill { alpha: 0.85, ..fill });
                }
                Style::Line | Style::Area if run.top.len() > 1 && !run.bottom.is_empty() => {
                    painter.area(&run.top, &run.bottom, fill);
                }
                Style::Line | Style::Area => {}
            }
        }
    }

    fn bars(&self, top: &[Point], bottom: &[Point]) -> Vec<Rect> {
        let (from, _) = self.data.range_ms;
        let step = self.x_of(from + self.data.step_ms) - self.x_of(from);
        let width = if step > 4.0 { step - 1.0 } else { step.max(1.0) };
        let bar = |(top, bottom): (&Point, &Point)| {
            let x = top.x.max(self.plot.x);
            let right = (top.x + width).min(self.plot.right());
            let (y, height) = (top.y, (bottom.y - top.y).max(0.0));
            Rect { x, y, width: (right - x).max(0.0), height }
        };
        top.iter().zip(bottom).map(bar).filter(|bar| bar.height > 0.0).collect()
    }

    fn draw_line(&self, curve: &Curve, painter: &mut dyn Painter) {
        if self.data.style == Style::Bars {
            return;
        }
        let ink = self.data.series[curve.series_idx].color();
        let width = if self.data.stacked { 1.0 } else { 1.5 };
        let mut dots = Vec::new();
        for run in &curve.runs {
            match run.top.as_slice() {
                [dot] => dots.push(square(*dot, 3.0)),
                points => painter.polyline(points, Stroke::solid(ink, width)),
            }
        }
        if !dots.is_empty() {
            painter.rects(&dots, Fill { ink, alpha: 1.0 });
        }
    }

    fn draw_thresholds(&self, painter: &mut dyn Painter) {
        for (value, ink) in &self.data.thresholds {
            let y = crisp(self.y.pixel(*value));
            let ends = [Point::new(self.plot.x, y), Point::new(self.plot.right(), y)];
            painter.polyline(&ends, Stroke { ink: *ink, width: 1.0, dashed: true });
        }
    }

    /// Vertical lines with their names at the top, each beside its line where there is room before the next.
    fn draw_marks(&self, painter: &mut dyn Painter) {
        let (first, last) = self.data.range_ms;
        let mut free = [f64::NEG_INFINITY; MARK_ROWS];
        for (at_ms, ink, name) in &self.data.marks {
            if !(first..=last).contains(at_ms) {
                continue;
            }
            let x = crisp(self.x_of(*at_ms));
            let ends = [Point::new(x, self.plot.y), Point::new(x, self.plot.bottom())];
            painter.polyline(&ends, Stroke { ink: *ink, width: 1.0, dashed: true });
            let width =
                name.chars().map(|c| if c.is_ascii() { 0.58 } else { 1.0 }).sum::<f64>() * LABEL_PX;
            let is_right = x + 4.0 + width <= self.plot.right();
            let left = if is_right { x + 4.0 } else { x - 4.0 - width };
            let Some(row) = free.iter().position(|end| left >= *end) else { continue };
            free[row] = left + width + 6.0;
            let align = if is_right { Align::Start } else { Align::End };
            let at = if is_right { x + 4.0 } else { x - 4.0 };
            #[expect(clippy::cast_precision_loss, reason = "one of a few rows")]
            let y = self.plot.y + LABEL_PX * (0.8 + 1.25 * row as f64);
            painter.text(Point::new(at, y), name, TextStyle { ink: *ink, size: LABEL_PX, align });
        }
    }

    fn draw_labels(&self, painter: &mut dyn Painter) {
        let style = TextStyle { ink: Ink::Muted, size: LABEL_PX, align: Align::End };
        let mut above = f64::INFINITY;
        for (value, label) in self.y_ticks.values.iter().zip(&self.y_labels) {
            let y = self.y.pixel(*value);
            if above - y >= LABEL_PX + 2.0 {
                painter.text(Point::new(self.plot.x - 6.0, y), label, style);
                above = y;
            }
        }
        let style = TextStyle { align: Align::Middle, ..style };
        let y = self.plot.bottom() + LABEL_PX;
        for tick in &self.x_ticks {
            let ink = if tick.major { Ink::Text } else { Ink::Muted };
            painter.text(
                Point::new(self.x_of(tick.at_ms), y),
                &tick.label,
                TextStyle { ink, ..style },
            );
        }
    }

    /// Draws the cursor at what was hit.
    pub fn draw_cursor(&self, hit: &Hit, painter: &mut dyn Painter) {
        let x = crisp(hit.x);
        if x < self.plot.x || x > self.plot.right() + 1.0 {
            return;
        }
        let ends = [Point::new(x, self.plot.y), Point::new(x, self.plot.bottom())];
        painter.polyline(&ends, Stroke::solid(Ink::Muted, 1.0));
        if self.data.style == Style::Bars {
            return;
        }
        for value in &hit.values {
            let at = Point::new(hit.x, value.y);
            let ink = self.data.series[value.series_idx].color();
            painter.rects(&[square(at, 7.0)], Fill { ink: Ink::Surface, alpha: 1.0 });
            painter.rects(&[square(at, 5.0)], Fill { ink, alpha: 1.0 });
        }
    }

    /// Draws the stretch between two pixels as selected.
    pub fn draw_selection(&self, from_x: f64, to_x: f64, painter: &mut dyn Painter) {
        let left = from_x.min(to_x).clamp(self.plot.x, self.plot.right());
        let right = from_x.max(to_x).clamp(self.plot.x, self.plot.right());
        let rect = Rect { x: left, y: self.plot.y, width: right - left, height: self.plot.height };
        painter.rects(&[rect], Fill { ink: Ink::Accent, alpha: 0.16 });
        for x in [left, right] {
            let ends =
                [Point::new(crisp(x), self.plot.y), Point::new(crisp(x), self.plot.bottom())];
            painter.polyline(&ends, Stroke::solid(Ink::Accent, 1.0));
        }
    }

    /// Share of the width that the plot's left edge lies at; places the tooltip.
    #[must_use]
    pub fn fraction(&self, x: f64) -> f64 {
        if self.size.width > 0.0 { x / self.size.width } else { float(0) }
    }
}

/// The middle of a pixel: a one-pixel line there is not blurred.
const fn crisp(v: f64) -> f64 {
    v.floor() + 0.5
}

fn square(at: Point, side: f64) -> Rect {
    Rect { x: at.x - side / 2.0, y: at.y - side / 2.0, width: side, height: side }
}

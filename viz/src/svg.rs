//! A painter whose canvas is SVG text: for tests, pictures and prints.

use std::fmt::Write;

use crate::painter::{Align, Fill, Painter, Point, Rect, Size, Stroke, TextStyle};
use crate::palette::Theme;

/// Collects what is drawn as SVG elements.
#[derive(Debug)]
pub struct Svg {
    theme: Theme,
    size: Size,
    body: String,
}

impl Svg {
    /// An empty picture with the theme's surface as background.
    #[must_use]
    pub const fn new(size: Size, theme: Theme) -> Self {
        Self { theme, size, body: String::new() }
    }

    /// The whole document.
    #[must_use]
    pub fn finish(self) -> String {
        let Size { width, height } = self.size;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#{:06x}\"/>\n{}</svg>\n",
            self.theme.surface, self.body
        )
    }

    fn line(&mut self, text: &str) {
        self.body.push_str(text);
        self.body.push('\n');
    }
}

/// `M` and `L` commands through `points`, one decimal each.
#[must_use]
pub fn path(points: &[Point]) -> String {
    let mut text = String::with_capacity(points.len() * 12);
    for (i, point) in points.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        write!(text, "{command}{} {}", round(point.x), round(point.y))
            .expect("a String takes everything");
    }
    text
}

/// One decimal, and no negative zero.
fn round(v: f64) -> f64 {
    (v * 10.0).round() / 10.0 + 0.0
}

/// The text with `<`, `>`, `&` and `"` as entities.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

impl Painter for Svg {
    fn polyline(&mut self, points: &[Point], stroke: Stroke) {
        let dash = if stroke.dashed { " stroke-dasharray=\"4 3\"" } else { "" };
        let color = self.theme.color(stroke.ink);
        let (path, width) = (path(points), stroke.width);
        self.line(&format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"#{color:06x}\" stroke-width=\"{width}\"{dash}/>"
        ));
    }

    fn area(&mut self, top: &[Point], bottom: &[Point], fill: Fill) {
        let outline: Vec<Point> = top.iter().chain(bottom.iter().rev()).copied().collect();
        let color = self.theme.color(fill.ink);
        let (path, alpha) = (path(&outline), fill.alpha);
        self.line(&format!("<path d=\"{path}Z\" fill=\"#{color:06x}\" fill-opacity=\"{alpha}\"/>"));
    }

    fn rects(&mut self, rects: &[Rect], fill: Fill) {
        let color = self.theme.color(fill.ink);
        for rect in rects {
            self.line(&format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#{color:06x}\" fill-opacity=\"{}\"/>",
                round(rect.x),
                round(rect.y),
                round(rect.width),
                round(rect.height),
                fill.alpha
            ));
        }
    }

    fn text(&mut self, at: Point, text: &str, style: TextStyle) {
        let anchor = match style.align {
            Align::Start => "start",
            Align::Middle => "middle",
            Align::End => "end",
        };
        let color = self.theme.color(style.ink);
        self.line(&format!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" font-family=\"system-ui, sans-serif\" text-anchor=\"{anchor}\" \
             dominant-baseline=\"central\" fill=\"#{color:06x}\">{}</text>",
            round(at.x),
            round(at.y),
            style.size,
            escape(text)
        ));
    }

    fn measure(&self, text: &str, style: TextStyle) -> f64 {
        estimate(text, style.size)
    }
}

/// Width of a text in pixels without a font: digits and letters a little over half the height, wide glyphs all of it.
#[must_use]
pub fn estimate(text: &str, size: f64) -> f64 {
    text.chars().map(|c| if u32::from(c) >= 0x2e80 { size } else { size * 0.58 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::painter::Ink;
    use crate::palette::LIGHT;

    #[test]
    fn hostile_text_stays_text() {
        let mut svg = Svg::new(Size { width: 10.0, height: 10.0 }, LIGHT);
        let style = TextStyle { ink: Ink::Text, size: 11.0, align: Align::Start };
        svg.text(Point::new(0.0, 0.0), "<img onerror=\"x\">&\u{0}", style);
        let text = svg.finish();
        assert!(text.contains("&lt;img onerror=&quot;x&quot;&gt;&amp; </text>"), "{text}");
    }
}

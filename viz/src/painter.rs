//! Where a scene is drawn: Canvas2D in the browser, SVG text everywhere else.

/// A place in CSS pixels, y downwards. `NaN` never occurs in what a painter is given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
}

impl Point {
    /// The point at `x` and `y`.
    #[must_use]
    pub const fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }
}

/// A rectangle in CSS pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width, not negative.
    pub width: f64,
    /// Height, not negative.
    pub height: f64,
}

impl Rect {
    /// Right edge.
    #[must_use]
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// Bottom edge.
    #[must_use]
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// Whether `at` lies inside or on the edge.
    #[must_use]
    pub fn contains(&self, at: Point) -> bool {
        (self.x..=self.right()).contains(&at.x) && (self.y..=self.bottom()).contains(&at.y)
    }
}

/// Size of a picture in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A colour by meaning; the theme gives the actual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// A slot of the palette, below [`crate::palette::SLOTS`].
    Series(usize),
    /// Chart background.
    Surface,
    /// Ordinary text.
    Text,
    /// Axis labels.
    Muted,
    /// Grid lines and hatching.
    Grid,
    /// The zero line, the frame.
    Axis,
    /// Well.
    Ok,
    /// Worse than it should be.
    Warn,
    /// Failed.
    Error,
    /// Selection and cursor.
    Accent,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stroke {
    /// Colour.
    pub ink: Ink,
    /// Width in pixels.
    pub width: f64,
    /// Whether dashed.
    pub dashed: bool,
}

impl Stroke {
    /// A solid line.
    #[must_use]
    pub const fn solid(ink: Ink, width: f64) -> Self {
        Self { ink, width, dashed: false }
    }
}

/// How an area is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// Colour.
    pub ink: Ink,
    /// Opacity, 0 to 1.
    pub alpha: f64,
}

/// Where the given point lies in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// At its left.
    #[default]
    Start,
    /// In its middle.
    Middle,
    /// At its right.
    End,
}

/// How a text is drawn; the point is at half its height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextStyle {
    /// Colour.
    pub ink: Ink,
    /// Height in pixels.
    pub size: f64,
    /// Horizontal place of the point.
    pub align: Align,
}

/// Where a scene is drawn.
pub trait Painter {
    /// Draws a line through `points`.
    fn polyline(&mut self, points: &[Point], stroke: Stroke);
    /// Fills between two lines; both run left to right.
    fn area(&mut self, top: &[Point], bottom: &[Point], fill: Fill);
    /// Fills rectangles.
    fn rects(&mut self, rects: &[Rect], fill: Fill);
    /// Writes a text.
    fn text(&mut self, at: Point, text: &str, style: TextStyle);
    /// Width of a text in pixels.
    fn measure(&self, text: &str, style: TextStyle) -> f64;
}

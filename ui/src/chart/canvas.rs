//! The painter of the browser: Canvas2D, in device pixels.

use leptos::html::Div;
use leptos::prelude::*;
use viz::painter::{Align, Fill, Ink, Painter, Point, Rect, Stroke, TextStyle};
use viz::palette::Theme;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement, ResizeObserver};

/// Device pixels a canvas has at most in each direction.
const SIDE_PX_MAX: f64 = 4096.0;

/// Canvas2D in a theme.
pub(super) struct CanvasPainter<'a> {
    context: &'a CanvasRenderingContext2d,
    theme: &'a Theme,
}

impl CanvasPainter<'_> {
    fn color(&self, ink: Ink) -> String {
        format!("#{:06x}", self.theme.color(ink))
    }

    fn trace<'p>(&self, points: impl Iterator<Item = &'p Point>) {
        for (i, point) in points.enumerate() {
            if i == 0 {
                self.context.move_to(point.x, point.y);
            } else {
                self.context.line_to(point.x, point.y);
            }
        }
    }

    fn font(&self, style: TextStyle) {
        self.context.set_font(&format!("{}px system-ui, sans-serif", style.size));
    }
}

impl Painter for CanvasPainter<'_> {
    fn polyline(&mut self, points: &[Point], stroke: Stroke) {
        self.context.begin_path();
        self.trace(points.iter());
        self.context.set_stroke_style_str(&self.color(stroke.ink));
        self.context.set_line_width(stroke.width);
        if stroke.dashed {
            let dash = js_sys::Array::of2(&4.into(), &3.into());
            drop(self.context.set_line_dash(&dash));
        }
        self.context.stroke();
        if stroke.dashed {
            drop(self.context.set_line_dash(&js_sys::Array::new()));
        }
    }

    fn area(&mut self, top: &[Point], bottom: &[Point], fill: Fill) {
        self.context.begin_path();
        self.trace(top.iter().chain(bottom.iter().rev()));
        self.context.close_path();
        self.context.set_fill_style_str(&self.color(fill.ink));
        self.context.set_global_alpha(fill.alpha);
        self.context.fill();
        self.context.set_global_alpha(1.0);
    }

    fn rects(&mut self, rects: &[Rect], fill: Fill) {
        self.context.set_fill_style_str(&self.color(fill.ink));
        self.context.set_global_alpha(fill.alpha);
        for rect in rects {
            self.context.fill_rect(rect.x, rect.y, rect.width, rect.height);
        }
        self.context.set_global_alpha(1.0);
    }

    fn text(&mut self, at: Point, text: &str, style: TextStyle) {
        self.font(style);
        self.context.set_fill_style_str(&self.color(style.ink));
        self.context.set_text_baseline("middle");
        self.context.set_text_align(match style.align {
            Align::Start => "left",
            Align::Middle => "center",
            Align::End => "right",
        });
        drop(self.context.fill_text(text, at.x, at.y));
    }

    fn measure(&self, text: &str, style: TextStyle) -> f64 {
        self.font(style);
        self.context.measure_text(text).map_or(0.0, |metrics| metrics.width())
    }
}

/// Clears the canvas, fits it to `size` and the screen's pixels, and lets `draw` draw.
pub(super) fn paint(
    canvas: &HtmlCanvasElement,
    size: (f64, f64),
    theme: &Theme,
    draw: impl FnOnce(&mut CanvasPainter<'_>),
) {
    let Some(context) = canvas.get_context("2d").ok().flatten() else { return };
    let context: CanvasRenderingContext2d = context.unchecked_into();
    let ratio = window().device_pixel_ratio().max(1.0);
    let fit = |side: f64| {
        let px = (side * ratio).round().clamp(1.0, SIDE_PX_MAX);
        u32::try_from(viz::scale::floor(px)).unwrap_or(1)
    };
    let (width, height) = (fit(size.0), fit(size.1));
    if canvas.width() != width || canvas.height() != height {
        canvas.set_width(width);
        canvas.set_height(height);
    }
    drop(context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0));
    context.clear_rect(0.0, 0.0, size.0, size.1);
    context.set_line_join("round");
    draw(&mut CanvasPainter { context: &context, theme });
}

/// Keeps `size` equal to the size of an element, after layout and never during it.
pub(crate) fn observe(frame: NodeRef<Div>, size: RwSignal<(f64, f64)>) {
    Effect::new(move |_| {
        let Some(element) = frame.get() else { return };
        let watched: Element = element.clone().unchecked_into();
        let changed = move |_: js_sys::Array, observer: ResizeObserver| {
            let (width, height) =
                (f64::from(watched.client_width()), f64::from(watched.client_height()));
            if !watched.is_connected() {
                observer.disconnect();
            } else if size.try_get_untracked().is_some_and(|known| known != (width, height)) {
                size.set((width, height));
            }
        };
        let changed = Closure::<dyn FnMut(js_sys::Array, ResizeObserver)>::new(changed);
        if let Ok(observer) = ResizeObserver::new(changed.into_js_value().unchecked_ref()) {
            observer.observe(&element);
        }
    });
}

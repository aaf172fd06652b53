//! Draws without a screen: scales, ticks, units, colours, decimation, and charts as scenes.
//!
//! Used by `ui` (Canvas) and by `server` (SVG text). Knows no DOM, no clock, no I/O: a scene is a pure function of its
//! data, so that every picture can be tested as text.

pub mod decimate;
pub mod hit;
pub mod kind;
pub mod painter;
pub mod palette;
pub mod scale;
pub mod stack;
pub mod svg;
pub mod table;
pub mod tick;
pub mod time_axis;
pub mod token;
pub mod unit;

//! Headrope: viz.

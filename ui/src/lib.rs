//! Headrope: ui.

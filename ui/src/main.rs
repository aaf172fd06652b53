//! Headrope: ui.
fn main() {}

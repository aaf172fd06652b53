//! Headrope: collector.

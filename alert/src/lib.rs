//! Headrope: alert.

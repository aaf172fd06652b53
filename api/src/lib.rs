//! Headrope: api.

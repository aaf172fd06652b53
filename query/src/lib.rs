//! Headrope: query.

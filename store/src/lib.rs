//! Headrope: store.

//! Headrope: template.

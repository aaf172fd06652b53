//! Headrope: server.

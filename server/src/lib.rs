//! Puts Headrope together: configuration, wiring, HTTP. Holds no logic beyond mapping.
//!
//! The binary `headrope` is a thin shell over this library; tests start the binary, not the library.

mod allocator;
pub mod cli;
pub mod clock;
pub mod config;
pub mod http;
pub mod listen;
pub mod log;
pub mod own;
pub mod query_log;
pub mod serve;
pub mod settings;
pub mod wire;

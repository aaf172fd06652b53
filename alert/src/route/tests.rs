//! Routing on a simulated clock: hours of waiting take no time.

mod config;
mod scenario;
mod shell;

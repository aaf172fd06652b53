//! Rules at work on a simulated clock, with a scripted source in place of the query engine.

mod cases;
mod files;
mod machine;
mod promtool;
mod running;

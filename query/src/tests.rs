//! Whole-crate tests over a real store: what is asked while rows are in memory, after a flush, and half and half, must
//! be answered alike.

mod cases;
mod fixture;
mod golden;
mod kept;
mod logs;
mod prometheus;
mod rollups;
mod sql;
mod traces;
mod twins;

//! Kinds of pictures. Each is pure: data and size in, scene out.

pub mod line;
pub mod sparkline;
pub mod waterfall;

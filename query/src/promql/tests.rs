//! PromQL as a whole: the reference's cases, our own cases, messages, printing, hostile input, agreement of query kinds.

mod cases;
mod evaluation;
mod hostile;
mod messages;
mod printing;
mod stats;

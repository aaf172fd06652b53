//! Text that refuses to grow beyond its bound: all output and every text a function builds.

use std::fmt;

use crate::OUTPUT_BYTES_MAX;

/// At most [`OUTPUT_BYTES_MAX`] bytes of text.
#[derive(Debug, Default)]
pub(crate) struct Sink(String);

impl Sink {
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() > OUTPUT_BYTES_MAX - self.0.len() {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

//! Request bodies made before anything is measured: a file of them, and where each begins.

mod logs;
mod metrics;
mod spans;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

pub use logs::logs;
pub use metrics::{Load, Protocol, metrics, recorded};
pub use spans::spans;

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where its body begins in the file.
    pub offset: u64,
    /// Bytes of its body.
    pub len: usize,
    /// Samples, records or spans in it.
    pub items: u64,
}

/// Requests of one kind, by client; each client sends its own in order.
pub struct Stream {
    /// Path they are posted to.
    pub path: &'static str,
    /// Header lines.
    pub headers: &'static str,
    /// Requests of each client.
    pub clients: Vec<Vec<Request>>,
    /// Bytes the items would have as JSON text or as floats and times, where that is a useful figure; else 0.
    pub plain_bytes: u64,
    file: File,
}

impl Stream {
    /// Items in all requests.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.clients.iter().flatten().map(|request| request.items).sum()
    }

    /// Bytes of all bodies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.clients.iter().flatten().map(|request| request.len as u64).sum()
    }

    /// The body of `request` into `body`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn body(&self, request: Request, body: &mut Vec<u8>) -> Result<()> {
        body.resize(request.len, 0);
        Ok(self.file.read_exact_at(body, request.offset)?)
    }
}

/// Collects bodies into a file without a name.
struct Bodies {
    out: BufWriter<File>,
    at: u64,
    clients: Vec<Vec<Request>>,
}

impl Bodies {
    fn new(dir: &Path, n_clients: usize) -> Result<Self> {
        let file = tempfile::tempfile_in(dir).with_context(|| dir.display().to_string())?;
        let out = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { out, at: 0, clients: vec![Vec::new(); n_clients] })
    }

    fn push(&mut self, client: usize, body: &[u8], items: u64) -> Result<()> {
        self.out.write_all(body)?;
        self.clients[client].push(Request { offset: self.at, len: body.len(), items });
        self.at += body.len() as u64;
        Ok(())
    }

    fn finish(self, path: &'static str, headers: &'static str, plain_bytes: u64) -> Result<Stream> {
        let file = self.out.into_inner().map_err(|error| error.into_error())?;
        Ok(Stream { path, headers, clients: self.clients, plain_bytes, file })
    }
}

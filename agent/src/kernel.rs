//! Reading the kernel's files: kept descriptors, `pread` from the start, one reused buffer.
//!
//! Every path lies below a configurable root, so that a fixture tree can stand in for hardware we do not have.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Config;

pub(crate) mod text;

/// Longest file accepted, in bytes: above it a kernel file is not what we think it is.
const FILE_BYTES_MAX: usize = 16 << 20;
const BUFFER_BYTES: usize = 64 << 10;

/// Where the kernel's and the host's trees are mounted.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    proc: PathBuf,
    sys: PathBuf,
    root: PathBuf,
}

impl Roots {
    pub(crate) fn new(config: &Config) -> Self {
        Self { proc: config.proc.clone(), sys: config.sys.clone(), root: config.root.clone() }
    }

    pub(crate) fn proc(&self, path: &str) -> PathBuf {
        self.proc.join(path)
    }

    pub(crate) fn sys(&self, path: &str) -> PathBuf {
        self.sys.join(path)
    }

    /// The host's `path`, given absolute.
    pub(crate) fn host(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file of the observed process's view (`mountinfo`, `net/dev`): ours, or that of the host's process 1 when we
    /// sit in a container, whose own view would be that of the container.
    pub(crate) fn view(&self, path: &str) -> PathBuf {
        let process = if self.contained() { "1" } else { "self" };
        self.proc.join(process).join(path)
    }

    /// Whether the host is seen from inside a container.
    pub(crate) fn contained(&self) -> bool {
        self.root != Path::new("/")
    }

    /// Whether netlink shows the same kernel and namespace as `proc` does.
    pub(crate) fn live(&self) -> bool {
        self.proc == Path::new("/proc") && !self.contained()
    }
}

/// The one buffer all kernel files are read into.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; BUFFER_BYTES])
    }
}

/// A file that is read again and again from its start. Opened on first use, and anew when the kernel has removed what
/// was behind it.
#[derive(Debug)]
pub(crate) struct KernelFile {
    path: PathBuf,
    file: Option<File>,
}

impl KernelFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// The whole present content.
    ///
    /// # Errors
    /// As `open` and `pread`; `FileTooLarge` beyond 16 MiB.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut Buffer) -> io::Result<&'b [u8]> {
        let kept = self.file.is_some();
        match self.fill(buffer) {
            Err(error) if kept && error.kind() != io::ErrorKind::FileTooLarge => {
                // The device or process behind the descriptor is gone; its path may name a new one.
                self.file = None;
                let len = self.fill(buffer)?;
                Ok(&buffer.0[..len])
            }
            other => other.map(|len| &buffer.0[..len]),
        }
    }

    /// Closes the descriptor; the next read opens the path again.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    fn fill(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        let mut len = 0;
        loop {
            if len == buffer.0.len() {
                if len >= FILE_BYTES_MAX {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                buffer.0.resize(len * 2, 0);
            }
            match file.read_at(&mut buffer.0[len..], len as u64) {
                Ok(0) => return Ok(len),
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.file = None;
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_shows_its_present_content_and_survives_replacement() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("stat");
        let (mut file, mut buffer) = (KernelFile::new(path.clone()), Buffer::new());
        assert_eq!(
            file.read(&mut buffer).expect_err("not there yet").kind(),
            io::ErrorKind::NotFound
        );
        for content in [vec![b'a'; 3], Vec::new(), vec![b'b'; BUFFER_BYTES * 3 + 1]] {
            std::fs::write(&path, &content).expect("written");
            assert_eq!(file.read(&mut buffer).expect("read"), content);
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        let mut file = KernelFile::new("/dev/zero".into());
        let error = file.read(&mut Buffer::new()).expect_err("it never ends");
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}

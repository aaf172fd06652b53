//! What was read of sidecars and footers, kept for the next query: least recently used goes first. Segments never change,
//! so nothing here ever goes stale.

use std::any::Any;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Bytes kept until told otherwise.
const LIMIT_DEFAULT: u64 = 64 << 20;

/// One a process: its budget is the process's.
pub(crate) static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::new(LIMIT_DEFAULT));

/// Values by file and kind, up to a number of bytes.
pub(crate) struct Cache {
    state: Mutex<State>,
}

/// File, kind, and which of the kind. Byte for byte: as paths, `a//b` and `a/b` would be one, and not all names are paths.
type Key = (OsString, &'static str, usize);

#[derive(Default)]
struct State {
    entries: HashMap<Key, Entry>,
    bytes: u64,
    limit: u64,
    /// Goes up with every use.
    clock: u64,
}

struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    used: u64,
}

impl Cache {
    pub(crate) fn new(limit: u64) -> Self {
        Self { state: Mutex::new(State { limit, ..State::default() }) }
    }

    /// The value of `kind` for `file`: as kept, else as `load` gives it with its size in bytes. What `load` cannot give is
    /// not remembered. Blocks as `load` does, but nobody else.
    pub(crate) fn value<T: Any + Send + Sync>(
        &self,
        file: &Path,
        kind: &'static str,
        load: impl FnOnce() -> Option<(T, usize)>,
    ) -> Option<Arc<T>> {
        let key = (file.as_os_str().to_owned(), kind, 0);
        if let Some(found) = self.state().find(&key)
            && let Ok(value) = found.downcast()
        {
            return Some(value);
        }
        let (value, bytes) = load()?;
        let value = Arc::new(value);
        self.state().keep(key, Arc::clone(&value) as Arc<dyn Any + Send + Sync>, bytes as u64);
        Some(value)
    }

    /// The `nth` value of `kind` for `file`, if it is kept.
    pub(crate) fn find<T: Any + Send + Sync>(
        &self,
        file: &Path,
        kind: &'static str,
        nth: usize,
    ) -> Option<Arc<T>> {
        self.state().find(&(file.as_os_str().to_owned(), kind, nth))?.downcast().ok()
    }

    /// Keeps a value of `bytes` as the `nth` of `kind` for `file`.
    pub(crate) fn keep<T: Any + Send + Sync>(
        &self,
        file: &Path,
        (kind, nth): (&'static str, usize),
        value: Arc<T>,
        bytes: usize,
    ) {
        self.state().keep((file.as_os_str().to_owned(), kind, nth), value, bytes as u64);
    }

    /// Bytes that may be kept.
    pub(crate) fn limit(&self) -> u64 {
        self.state().limit
    }

    /// Changes how many bytes are kept; what is above goes at once.
    pub(crate) fn set_limit(&self, bytes: u64) {
        let mut state = self.state();
        state.limit = bytes;
        state.shrink();
    }

    /// Bytes kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&mut self, key: &Key) -> Option<Arc<dyn Any + Send + Sync>> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.value))
    }

    fn keep(&mut self, key: Key, value: Arc<dyn Any + Send + Sync>, bytes: u64) {
        // The key and the entry itself count as well.
        let bytes = bytes + 256;
        self.clock += 1;
        let entry = Entry { value, bytes, used: self.clock };
        let before = self.entries.insert(key, entry);
        self.bytes += bytes;
        self.bytes -= before.map_or(0, |before| before.bytes);
        self.shrink();
    }

    /// Leaves some room when it was full, so that not every use has to look for what is oldest.
    fn shrink(&mut self) {
        if self.bytes <= self.limit {
            return;
        }
        let mut by_use: Vec<(u64, Key)> =
            self.entries.iter().map(|(key, entry)| (entry.used, key.clone())).collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in by_use {
            if self.bytes <= self.limit - self.limit / 8 {
                break;
            }
            self.bytes -= self.entries.remove(&key).map_or(0, |entry| entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let cache = Cache::new(10_000);
        let load = |name: &str, bytes: usize| {
            cache.value(Path::new(name), "n", || Some((bytes, bytes))).map(|value| *value)
        };
        assert_eq!(load("a", 4_000), Some(4_000));
        assert_eq!(load("b", 4_001), Some(4_001));
        assert_eq!(load("a", 1), Some(4_000), "kept");
        assert_eq!(load("c", 4_002), Some(4_002));
        assert_eq!(load("a", 1), Some(4_000), "used more recently than b");
        assert_eq!(load("b", 2), Some(2), "gone");
        cache.set_limit(0);
        assert_eq!(cache.bytes(), 0);
        assert!(cache.value(Path::new("x"), "n", || None::<(usize, usize)>).is_none());
    }

    #[test]
    fn names_that_are_one_path_are_two_names() {
        let cache = Cache::new(10_000);
        for (n, name) in ["a/b", "a//b", "a/./b", "a/b/"].into_iter().enumerate() {
            assert!(cache.find::<usize>(Path::new(name), "made", 0).is_none(), "{name}");
            cache.keep(Path::new(name), ("made", 0), Arc::new(n), 1);
        }
    }
}

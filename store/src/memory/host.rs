//! How much memory there is: the host's, a control group's, or what the configuration says.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Percent of what the system gives us that we take when nobody says otherwise.
const DEFAULT_PERCENT: u64 = 60;
const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// Bytes the process may take: a size such as `512MiB`, or `auto` for 60 % of what host and control group allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryLimit {
    /// 60 % of the smaller of the host's memory and the control group's limit.
    #[default]
    Auto,
    /// This many bytes.
    Bytes(u64),
}

impl MemoryLimit {
    /// The limit in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Auto => default_limit(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a whole number and MiB or GiB, as 512MiB, or auto")]
pub struct ParseMemoryLimitError(String);

impl FromStr for MemoryLimit {
    type Err = ParseMemoryLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let bytes = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim_start())
            .zip(number.parse::<u64>().ok())
            .and_then(|((_, shift), number)| number.checked_mul(1 << shift));
        bytes.map(Self::Bytes).ok_or_else(|| ParseMemoryLimitError(text.to_owned()))
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Bytes(bytes) => {
                let whole = |(_, shift): &&(&str, u32)| {
                    *bytes >= 1 << shift && bytes.is_multiple_of(1 << shift)
                };
                let (unit, shift) = UNITS.iter().find(whole).unwrap_or(&UNITS[4]);
                write!(f, "{}{unit}", bytes >> shift)
            }
        }
    }
}

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// 60 % of the smaller of the host's memory and the limit of our control group; 1 GiB where neither is told.
fn default_limit() -> u64 {
    let root = Path::new("/");
    let smaller = host_bytes(root).into_iter().chain(group_bytes(root)).min();
    smaller.map_or(1 << 30, |bytes| bytes / 100 * DEFAULT_PERCENT)
}

/// `MemTotal` of `/proc/meminfo`.
fn host_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit on the way from our control group to the root, of version 2 or 1.
fn group_bytes(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| limit_of(root, line)).min()
}

/// What a line `number:controllers:path` of `/proc/self/cgroup` leads to.
fn limit_of(root: &Path, line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let mount = root.join(mount);
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    // Inside a container the path may be the host's, while the mount shows our group as its root.
    let limits = group.ancestors().take_while(|dir| dir.starts_with(&mount)).filter_map(|dir| {
        // `max` and the absurd numbers of version 1 say that there is no limit.
        let text = fs::read_to_string(dir.join(file)).ok()?;
        text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_what_they_print() {
        for text in ["auto", "512MiB", "2GiB", "1KiB", "7B", "3TiB"] {
            assert_eq!(text.parse::<MemoryLimit>().unwrap().to_string(), text);
        }
        assert_eq!("512 MiB".parse(), Ok(MemoryLimit::Bytes(512 << 20)));
        for bad in ["", "512", "MiB", "1.5GiB", "-1GiB", "512MB", "99999999999TiB"] {
            assert!(bad.parse::<MemoryLimit>().is_err(), "{bad}");
        }
    }

    fn check(files: &[(&str, &str)], expected: (Option<u64>, Option<u64>)) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!((host_bytes(root.path()), group_bytes(root.path())), expected, "{files:?}");
    }

    #[test]
    fn the_smallest_limit_above_us_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        check(&[meminfo], (Some(1_024_000), None));
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        let max = ("sys/fs/cgroup/a/b/memory.max", "max\n");
        check(&[meminfo, v2, max], (Some(1_024_000), None));
        check(&[v2, max, ("sys/fs/cgroup/a/memory.max", "700\n")], (None, Some(700)));
        let v1 = ("proc/self/cgroup", "5:cpu:/x\n4:memory:/x\n0::/\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        check(&[v1, none], (None, None));
        check(
            &[v1, none, ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "900\n")],
            (None, Some(900)),
        );
        // In a container the named group is not there, and the mount's root is ours.
        check(&[v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "800\n")], (None, Some(800)));
    }
}

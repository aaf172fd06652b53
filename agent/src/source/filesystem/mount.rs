//! Which mounts are shown: one per device, none of those that hold no data of the host.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::kernel::text;
use crate::source::ROWS_MAX;

/// File systems that store nothing, are always full by nature, or show the space of another one.
const PSEUDO: [&str; 37] = [
    "autofs",
    "bdev",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "pipefs",
    "proc",
    "procfs",
    "pstore",
    "ramfs",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sockfs",
    "squashfs",
    "sysfs",
    "tracefs",
    "udf",
    "fuse.lxcfs",
];
/// Temporary file systems are shown, for a full one breaks programs, but not those of kernel, containers and sessions.
const QUIET: [&str; 6] =
    ["/proc", "/sys", "/run/user", "/run/credentials", "/var/lib/docker", "/var/lib/containers"];

/// One line of `mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// As the kernel names it: `/dev/sda1`, `server:/export`.
    pub device: Arc<str>,
    /// Where it is mounted, on the host.
    pub path: PathBuf,
    /// The same as text.
    pub name: Arc<str>,
    /// Type, as `ext4`.
    pub kind: Arc<str>,
    /// `rw` or `ro`.
    pub mode: &'static str,
    /// `major:minor`.
    number: Vec<u8>,
}

/// The mounts that are shown, in the order of their paths.
pub(super) fn shown(content: &[u8]) -> Vec<Mount> {
    // A later mount on the same path hides the earlier.
    let visible: BTreeMap<_, _> = text::lines(content)
        .filter_map(Mount::parse)
        .map(|mount| (mount.path.clone(), mount))
        .collect();
    // Of a device mounted at several places, the shortest path stands for it.
    let mut devices: BTreeMap<Vec<u8>, Mount> = BTreeMap::new();
    for mount in visible.into_values().filter(Mount::is_shown) {
        let len = mount.name.len();
        let kept = devices.entry(mount.number.clone()).or_insert_with(|| mount.clone());
        if len < kept.name.len() {
            *kept = mount;
        }
    }
    let mut mounts: Vec<_> = devices.into_values().collect();
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    mounts.truncate(ROWS_MAX);
    mounts
}

impl Mount {
    /// `36 35 98:0 /in-device /path rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = text::fields(line);
        let number = fields.nth(2)?.to_vec();
        let path = unescape(fields.nth(1)?);
        let options = fields.next()?;
        let mut after = fields.skip_while(|field| *field != b"-").skip(1);
        let (kind, device) = (after.next()?, unescape(after.next()?));
        let read_only = |options: &[u8]| options.split(|byte| *byte == b',').any(|o| o == b"ro");
        let mode =
            if read_only(options) || after.next().is_some_and(read_only) { "ro" } else { "rw" };
        let shared = |bytes: &[u8]| -> Arc<str> { String::from_utf8_lossy(bytes).into() };
        Some(Self {
            device: shared(&device),
            name: shared(&path),
            path: std::ffi::OsString::from_vec(path).into(),
            kind: shared(kind),
            mode,
            number,
        })
    }

    fn is_shown(&self) -> bool {
        if !self.path.is_absolute() {
            return false;
        }
        match &*self.kind {
            // Where `/` is an overlay we are in a container, and that is all the space there is.
            "overlay" => &*self.name == "/",
            "tmpfs" => self.mode == "rw" && !QUIET.iter().any(|quiet| self.path.starts_with(quiet)),
            kind => !PSEUDO.contains(&kind),
        }
    }
}

/// Blanks and the like are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digit = |at: usize| {
            tail.get(at).filter(|b| (b'0'..=b'7').contains(*b)).map(|b| u32::from(b - b'0'))
        };
        let code = match (first, digit(0), digit(1), digit(2)) {
            (b'\\', Some(a), Some(b), Some(c)) => u8::try_from(a * 64 + b * 8 + c).ok(),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mount_stands_for_a_device_and_pseudo_file_systems_are_left_out() {
        let text = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /proc rw - proc proc rw\n\
            3 1 8:1 /srv /srv rw shared:1 master:2 - ext4 /dev/sda1 rw\n\
            4 1 0:9 / /mnt/with\\040blank ro,noatime - nfs4 srv:/x\\134y rw\n\
            5 1 0:7 / /tmp rw - tmpfs tmpfs rw\n6 1 0:8 / /run/user/0 rw - tmpfs tmpfs rw\n\
            7 1 0:10 / /var/lib/docker/overlay2/x rw - overlay overlay rw\n\
            8 1 8:2 / /old rw - ext4 /dev/sdb1 rw\n9 1 8:3 / /old rw - xfs /dev/sdc1 ro\nshort\n1 2 3 - - -\n";
        let mounts = shown(text);
        let rows: Vec<_> =
            mounts.iter().map(|m| (&*m.device, &*m.name, &*m.kind, m.mode)).collect();
        assert_eq!(
            rows,
            [
                ("/dev/sda1", "/", "ext4", "rw"),
                ("srv:/x\\y", "/mnt/with blank", "nfs4", "ro"),
                ("/dev/sdc1", "/old", "xfs", "ro"),
                ("tmpfs", "/tmp", "tmpfs", "rw"),
            ]
        );
    }

    #[test]
    fn escapes_that_are_none_stay() {
        for text in ["\\", "\\1", "\\189", "\\777x", "a\\04"] {
            assert_eq!(unescape(text.as_bytes()), text.as_bytes(), "{text}");
        }
    }
}

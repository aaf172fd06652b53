//! Who this host is: the resource attributes of everything the agent sends. Read once, at start.

use std::path::Path;

use model::semconv;

use crate::Config;
use crate::kernel::Roots;

const ID_BYTES_MAX: usize = 128;

/// The resource.
#[derive(Clone, Debug)]
pub(crate) struct Inventory {
    /// Attributes, in the order they are sent; keys are unique.
    pub resource: Vec<(String, String)>,
    /// The kernel's name of this boot; empty when it has none.
    pub boot_id: String,
}

impl Inventory {
    /// Reads what there is; what cannot be read is left out, but name and id always exist.
    pub(crate) fn read(roots: &Roots, config: &Config) -> Self {
        let host_name = config.host_name.clone().unwrap_or_else(|| host_name(roots));
        let host_id = host_id(roots).unwrap_or_else(|| host_name.clone());
        let system = System::read(roots);
        let boot_id = roots.proc("sys/kernel/random/boot_id");
        let boot_id = std::fs::read_to_string(boot_id).unwrap_or_default();
        let mut inventory = Self { resource: Vec::new(), boot_id };
        inventory.put(semconv::SERVICE_NAME, "headrope-agent");
        inventory.put(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
        inventory.put(semconv::SERVICE_INSTANCE_ID, &host_id);
        inventory.put(semconv::HOST_NAME, &host_name);
        inventory.put(semconv::HOST_ID, &host_id);
        inventory.put("host.arch", arch());
        inventory.put("os.type", std::env::consts::OS);
        let found = [
            ("os.name", system.name),
            ("os.version", system.version),
            ("os.description", system.description),
            ("host.cpu.model.name", cpu_model(roots)),
        ];
        for (key, value) in found {
            if let Some(value) = value {
                inventory.put(key, &value);
            }
        }
        for (key, value) in &config.attributes {
            inventory.put(key, value);
        }
        inventory
    }

    /// `host.name`.
    pub(crate) fn host_name(&self) -> &str {
        let found = self.resource.iter().find(|(key, _)| key == semconv::HOST_NAME);
        found.map_or("", |(_, value)| value)
    }

    /// `host.id`.
    pub(crate) fn host_id(&self) -> &str {
        let found = self.resource.iter().find(|(key, _)| key == semconv::HOST_ID);
        found.map_or("", |(_, value)| value)
    }

    fn put(&mut self, key: &str, value: &str) {
        match self.resource.iter_mut().find(|(present, _)| present == key) {
            Some((_, present)) => value.clone_into(present),
            None => self.resource.push((key.to_owned(), value.to_owned())),
        }
    }
}

/// Rust's name of the architecture as semantic conventions spell it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        "powerpc" => "ppc32",
        other => other,
    }
}

fn host_name(roots: &Roots) -> String {
    // Our own kernel name is that of the container when we sit in one.
    let file = roots.host(Path::new("/etc/hostname"));
    let kernel = roots.proc("sys/kernel/hostname");
    let order = if roots.contained() { [&file, &kernel] } else { [&kernel, &file] };
    let found = order.into_iter().find_map(|path| line(path));
    found.unwrap_or_else(|| "localhost".into())
}

fn host_id(roots: &Roots) -> Option<String> {
    let places = [
        roots.host(Path::new("/etc/machine-id")),
        roots.host(Path::new("/var/lib/dbus/machine-id")),
        roots.sys("class/dmi/id/product_uuid"),
        roots.proc("sys/kernel/random/boot_id"),
    ];
    // An image that was never booted says `uninitialized`: every copy of it would have the same id.
    places.iter().filter_map(|path| line(path)).find(|id| id != "uninitialized")
}

/// First line of a short file, trimmed; `None` when there is none.
fn line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty() && line.len() <= ID_BYTES_MAX).then(|| line.to_owned())
}

fn cpu_model(roots: &Roots) -> Option<String> {
    if roots.live() {
        let mut system = sysinfo::System::new().ok()?;
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        let brand = system.cpus().first()?.brand().trim().to_owned();
        return (!brand.is_empty()).then_some(brand);
    }
    let text = std::fs::read_to_string(roots.proc("cpuinfo")).ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The operating system.
#[derive(Default)]
struct System {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
}

impl System {
    /// `sysinfo` knows only `/`: for a host seen from a container, and for fixtures, `os-release` is read here.
    fn read(roots: &Roots) -> Self {
        if roots.live() {
            let kernel = sysinfo::System::kernel_version().ok();
            let (name, version) =
                (sysinfo::System::name().ok(), sysinfo::System::os_version().ok());
            let words: Vec<_> = name.iter().chain(&version).map(String::as_str).collect();
            let described = (!words.is_empty()).then(|| words.join(" "));
            return Self { description: describe(described, kernel), name, version };
        }
        let places = ["/etc/os-release", "/usr/lib/os-release"];
        let text =
            places.iter().find_map(|p| std::fs::read_to_string(roots.host(Path::new(p))).ok());
        let text = text.unwrap_or_default();
        let kernel = line(&roots.proc("sys/kernel/osrelease"));
        Self {
            name: release_field(&text, "NAME"),
            version: release_field(&text, "VERSION_ID"),
            description: describe(release_field(&text, "PRETTY_NAME"), kernel),
        }
    }
}

fn describe(system: Option<String>, kernel: Option<String>) -> Option<String> {
    match (system, kernel) {
        (Some(system), Some(kernel)) => Some(format!("{system}, kernel {kernel}")),
        (one, other) => one.or(other),
    }
}

fn release_field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("inside the fixture")).expect("created");
        std::fs::write(path, text).expect("written");
    }

    #[test]
    fn a_foreign_root_is_described_by_its_own_files() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| dir.path().join(path);
        write(&at("etc/hostname"), "db-7\n");
        write(&at("etc/machine-id"), "uninitialized\n");
        write(&at("var/lib/dbus/machine-id"), "0123456789abcdef\n");
        write(
            &at("etc/os-release"),
            "NAME=\"Debian GNU/Linux\"\nVERSION_ID='12'\nPRETTY_NAME=\"Debian 12\"\n",
        );
        write(&at("proc/sys/kernel/hostname"), "container\n");
        write(&at("proc/sys/kernel/osrelease"), "6.1.0\n");
        write(&at("proc/cpuinfo"), "processor\t: 0\nmodel name\t: Fast CPU\n");
        let config = Config {
            root: dir.path().into(),
            proc: at("proc"),
            sys: at("sys"),
            attributes: [("os.version".into(), "13".into())].into(),
            ..Config::default()
        };
        let inventory = Inventory::read(&Roots::new(&config), &config);
        let field = |key| inventory.resource.iter().find(|(k, _)| k == key).map(|(_, v)| &**v);
        assert_eq!(field("host.name"), Some("db-7"));
        assert_eq!(field("host.id"), Some("0123456789abcdef"));
        assert_eq!(field("service.instance.id"), field("host.id"));
        assert_eq!(field("os.description"), Some("Debian 12, kernel 6.1.0"));
        assert_eq!(field("os.version"), Some("13"), "the configuration wins");
        assert_eq!(field("host.cpu.model.name"), Some("Fast CPU"));
    }

    #[test]
    fn an_empty_tree_still_has_a_name_and_an_id() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (root, gone) = (dir.path().to_owned(), dir.path().join("gone"));
        let config = Config { root, proc: gone.clone(), sys: gone, ..Config::default() };
        let inventory = Inventory::read(&Roots::new(&config), &config);
        assert_eq!(inventory.host_name(), "localhost");
        assert!(inventory.resource.contains(&("host.id".into(), "localhost".into())));
    }
}

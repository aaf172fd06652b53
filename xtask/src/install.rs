//! Installs what a fresh Debian 12 lacks: Debian packages and the wasm target. Silent when nothing is missing.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// A C compiler: zstd and SQLite's amalgamation are the only C we build.
const BUILD: &[Package] =
    &[Package { name: "gcc", program: "cc" }, Package { name: "libc6-dev", program: "cc" }];
/// The middleware of the demo's shop.
const DEMO: &[Package] = &[
    Package { name: "haproxy", program: "haproxy" },
    Package { name: "postgresql", program: "/usr/lib/postgresql" },
    Package { name: "redis-server", program: "redis-server" },
];
/// What the tests start besides the demo: a browser, Python for the real OpenTelemetry SDK, Prometheus, promtool, amtool, an
/// exporter, and what actions act on.
const TEST: &[Package] = &[
    Package { name: "chromium", program: "chromium" },
    Package { name: "chromium-driver", program: "chromedriver" },
    Package {
        name: "fonts-noto-cjk",
        program: "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    },
    Package {
        name: "python3-venv",
        program: "/usr/lib/python3/dist-packages/ensurepip-placeholder",
    },
    Package { name: "prometheus", program: "prometheus" },
    Package { name: "prometheus-alertmanager", program: "amtool" },
    Package { name: "prometheus-node-exporter", program: "prometheus-node-exporter" },
    Package { name: "supervisor", program: "supervisord" },
    Package { name: "patroni", program: "patroni" },
    Package { name: "etcd-server", program: "etcd" },
];
/// What the bench measures against, and the exporter it records.
const BENCH: &[Package] = &[
    Package { name: "prometheus", program: "prometheus" },
    Package { name: "prometheus-node-exporter", program: "prometheus-node-exporter" },
    Package { name: "victoria-metrics", program: "victoria-metrics" },
];

struct Package {
    name: &'static str,
    /// A program on the path, or with a leading slash a file, whose presence means that the package is there.
    program: &'static str,
}

impl Package {
    fn is_missing(&self) -> bool {
        if self.name == "python3-venv" {
            let mut probe = Command::new("python3");
            probe
                .args(["-c", "import ensurepip, venv"])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            return !probe.status().is_ok_and(|status| status.success());
        }
        match self.program.strip_prefix('/') {
            Some(_) => !std::path::Path::new(self.program).exists(),
            None => !shell::exists(self.program),
        }
    }
}

/// `cargo xtask install WHAT...`
pub(crate) fn install(what: &[String]) -> Result<()> {
    for set in what {
        match set.as_str() {
            "build" => packages(BUILD)?,
            "test" => for_tests()?,
            "demo" => packages(DEMO)?,
            "bench" => packages(BENCH)?,
            other => {
                bail!("no set of packages named `{other}`; there are build, test, demo and bench")
            }
        }
    }
    Ok(())
}

/// Installs what the tests need.
pub(crate) fn for_tests() -> Result<()> {
    packages(DEMO)?;
    packages(TEST)
}

/// Adds the wasm target when rustup has not installed it for us.
pub(crate) fn wasm_target() -> Result<()> {
    let sysroot =
        shell::read(Command::new("rustc").current_dir(shell::root()).args(["--print", "sysroot"]))?;
    let target = std::path::Path::new(sysroot.trim()).join("lib/rustlib/wasm32-unknown-unknown");
    if target.is_dir() {
        return Ok(());
    }
    shell::say("Installing the wasm32 target for the dashboard")?;
    shell::run(Command::new("rustup").current_dir(shell::root()).args(["target", "add", "wasm32-unknown-unknown"]))
        .context("the dashboard needs the target wasm32-unknown-unknown; with a toolchain not from rustup, install its standard library by hand")
}

fn packages(wanted: &[Package]) -> Result<()> {
    let mut missing: Vec<&str> = wanted.iter().filter(|p| p.is_missing()).map(|p| p.name).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    shell::say(&format!("Installing Debian packages: {}", missing.join(" ")))?;
    if !shell::exists("apt-get") {
        bail!("{} missing, and this is no Debian: install them by hand", missing.join(", "));
    }
    quietly(&["update", "-qq"])?;
    let mut args = vec!["install", "-qq", "-y", "--no-install-recommends"];
    args.extend(&missing);
    quietly(&args)
        .with_context(|| format!("install by hand: apt-get install {}", missing.join(" ")))
}

fn quietly(args: &[&str]) -> Result<()> {
    let is_root = shell::read(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if is_root { Command::new("apt-get") } else { Command::new("sudo") };
    if !is_root {
        command.arg("apt-get");
    }
    // Tests start their own servers: a package must not start one as a system service.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").args(args);
    let output = command.stdin(Stdio::null()).output().context("cannot start apt-get")?;
    if !output.status.success() {
        bail!("apt-get {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

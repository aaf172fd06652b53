//! Builds the dashboard: cargo for wasm32, wasm-bindgen as a library, content-hashed names, brotli. Output: `ui/dist`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;
use xxhash_rust::xxh3::xxh3_64;

use crate::{install, shell};

/// What a first visit downloads, at most (ui.md 14): wasm, glue and styles after brotli.
const BUDGET: &[(&str, usize)] = &[("wasm", 700 * 1024), ("js", 15 * 1024), ("css", 30 * 1024)];

/// `cargo xtask ui`
pub(crate) fn build() -> Result<()> {
    install::wasm_target()?;
    let wasm = compile()?;
    let glue = bind(&wasm)?;
    let dist = shell::root().join("ui/dist");
    let sizes = bundle(&glue, &dist)?;
    for (what, limit) in BUDGET {
        let size: usize =
            sizes.iter().filter(|(name, _)| name.ends_with(what)).map(|(_, size)| size).sum();
        shell::say(&format!("  {what:<5}{:>8.1} KB brotli, budget {} KB", kb(size), limit / 1024))?;
        if size > *limit {
            bail!("the dashboard's {what} is over its budget; see design page ui, section 14");
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a size for people to read")]
fn kb(bytes: usize) -> f64 {
    bytes as f64 / 1024.0
}

/// Compiles `ui` in a target folder of its own, so that it never rebuilds the workspace.
fn compile() -> Result<PathBuf> {
    let target = shell::target_dir().join("ui");
    let mut cargo = shell::cargo();
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "ui",
        "--target",
        "wasm32-unknown-unknown",
        "--profile",
        "wasm",
    ]);
    cargo.arg("--target-dir").arg(&target);
    shell::run(&mut cargo)?;
    Ok(target.join("wasm32-unknown-unknown/wasm/ui.wasm"))
}

fn bind(wasm: &Path) -> Result<PathBuf> {
    let out = shell::target_dir().join("ui/bindgen");
    drop(fs::remove_dir_all(&out)); // Absent at first.
    Bindgen::new()
        .input_path(wasm)
        .out_name("headrope")
        .web(true)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&out)
        .with_context(|| format!("wasm-bindgen refused {}", wasm.display()))?;
    Ok(out)
}

/// Writes the hashed and compressed files; returns each name with its compressed size in bytes.
fn bundle(glue: &Path, dist: &Path) -> Result<Vec<(String, usize)>> {
    drop(fs::remove_dir_all(dist));
    fs::create_dir_all(dist)?;
    let statics = shell::root().join("ui/static");
    let mut out = Bundle { dist, sizes: Vec::new() };
    let wasm = out.add("headrope_bg", "wasm", &fs::read(glue.join("headrope_bg.wasm"))?)?;
    let script = fs::read_to_string(glue.join("headrope.js"))?.replace("headrope_bg.wasm", &wasm);
    let script = out.add("headrope", "js", script.as_bytes())?;
    let boot = fs::read_to_string(statics.join("boot.js"))?;
    let boot = boot.replace("{{script}}", &script).replace("{{wasm}}", &wasm);
    let boot = out.add("boot", "js", boot.as_bytes())?;
    let style = out.add("style", "css", &fs::read(statics.join("style.css"))?)?;
    let icon = out.add("favicon", "svg", &fs::read(statics.join("favicon.svg"))?)?;
    let page = fs::read_to_string(statics.join("index.html"))?
        .replace("{{boot}}", &boot)
        .replace("{{script}}", &script)
        .replace("{{wasm}}", &wasm)
        .replace("{{style}}", &style)
        .replace("{{icon}}", &icon);
    fs::write(dist.join("index.html"), page)?;
    Ok(out.sizes)
}

struct Bundle<'a> {
    dist: &'a Path,
    sizes: Vec<(String, usize)>,
}

impl Bundle<'_> {
    /// Writes `content` as it is and as `.br`; returns the hashed name.
    fn add(&mut self, stem: &str, extension: &str, content: &[u8]) -> Result<String> {
        let name = format!("{stem}-{:016x}.{extension}", xxh3_64(content));
        let mut small = Vec::new();
        let params =
            brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
        brotli::BrotliCompress(&mut &content[..], &mut small, &params)?;
        fs::write(self.dist.join(&name), content)?;
        fs::write(self.dist.join(format!("{name}.br")), &small)?;
        self.sizes.push((name.clone(), small.len()));
        Ok(name)
    }
}

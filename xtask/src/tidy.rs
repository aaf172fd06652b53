//! The house rules that need no compiler: layers, file shape, names, formats, invariants by word. Also run by `make test`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{layers, shell};

/// Most lines a file may have besides tests.
const LINES_MAX: usize = 800;
const VAGUE_NAMES: &[&str] =
    &["utils.rs", "helpers.rs", "common.rs", "misc.rs", "types.rs", "mod.rs"];

/// Words that only one place may say: (word, the paths that may, why).
const WORDS: &[(&str, &[&str], &str)] = &[
    (
        "SystemTime::now",
        &["agent/src/", "server/src/", "demo/", "xtask/", "tests/"],
        "time enters through `Clock`",
    ),
    ("unbounded_channel", &[], "every queue has a bound"),
    ("datafusion::", &["query/"], "DataFusion lives in query"),
    ("leptos::", &["ui/"], "leptos lives in ui"),
    (
        "Command::new",
        &["action/", "agent/", "demo/", "xtask/", "tests/", "store/tests/"],
        "only action changes the outside world",
    ),
];

/// A format page and the source file and constant that hold its version.
const FORMATS: &[(&str, &str, &str)] = &[
    ("docs/format/alert-state.md", "alert/src/codec.rs", "const VERSION: u32"),
    ("docs/format/catalogue.md", "store/src/catalogue/schema.rs", "const FORMAT_VERSION: u64"),
    ("docs/format/columns.md", "api/src/columns.rs", "const VERSION: u8"),
    ("docs/format/route-journal.md", "alert/src/route/journal.rs", "const VERSION: u32"),
    ("docs/format/segment.md", "store/src/schema.rs", "const SCHEMA_VERSION: u32"),
];

/// Prints every breach and fails if there is one.
pub(crate) fn tidy() -> Result<()> {
    let mut breaches = layers::breaches()?;
    for file in rust_files()? {
        breaches.extend(shape(&file)?);
    }
    for (page, source, constant) in FORMATS {
        breaches.extend(format_version(page, source, constant)?);
    }
    if breaches.is_empty() {
        return Ok(());
    }
    shell::warn(&breaches.join("\n"));
    bail!("{} breaches of the house rules", breaches.len())
}

/// Tracked and untracked sources, as git sees them.
fn rust_files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(shell::root()).args(["ls-files", "-co", "--exclude-standard", "*.rs"]);
    let listing = shell::read(&mut git)?;
    Ok(listing
        .lines()
        .map(PathBuf::from)
        .filter(|path| shell::root().join(path).exists())
        .collect())
}

fn shape(path: &Path) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(shell::root().join(path)).with_context(|| path.display().to_string())?;
    let name = path.display().to_string();
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{name}: does not open with `//!`"));
    }
    if path.file_name().is_some_and(|file| VAGUE_NAMES.contains(&&*file.to_string_lossy())) {
        found.push(format!("{name}: the name says nothing; call it after the thing it holds"));
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_test =
        name.contains("/tests/") || name.starts_with("tests/") || name.ends_with("/tests.rs");
    let lines = code.lines().count();
    if lines > LINES_MAX && !is_test {
        found.push(format!("{name}: {lines} lines besides tests, at most {LINES_MAX}"));
    }
    if is_test {
        return Ok(found); // Tests start servers and read clocks as they need.
    }
    for (number, line) in code.lines().enumerate() {
        found.extend(words(&name, line).map(|why| format!("{name}:{}: {why}", number + 1)));
    }
    Ok(found)
}

fn words(name: &str, line: &str) -> Option<String> {
    let comment = line.trim_start();
    if comment.starts_with("//") {
        // An open end names its issue: `TODO(#12)`.
        return (comment.contains("TODO")
            && !comment.contains("TODO(#")
            && !name.starts_with("xtask/"))
        .then(|| "a TODO without an issue number".to_owned());
    }
    let (_, _, why) = WORDS.iter().find(|(word, homes, _)| {
        line.contains(word)
            && !name.starts_with("xtask/")
            && !homes.iter().any(|home| name.starts_with(home))
    })?;
    Some((*why).to_owned())
}

fn format_version(page: &str, source: &str, constant: &str) -> Result<Option<String>> {
    let text = fs::read_to_string(shell::root().join(page)).with_context(|| page.to_owned())?;
    let code = fs::read_to_string(shell::root().join(source)).with_context(|| source.to_owned())?;
    let stated = text.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::trim);
    let actual = code
        .lines()
        .find(|line| line.contains(constant))
        .and_then(|line| line.split('=').nth(1).map(|value| value.trim().trim_end_matches(';')));
    Ok((stated != actual || stated.is_none())
        .then(|| format!("{page} says version {stated:?}, {source} says {actual:?}")))
}

//! Who imports whom, and in how many versions: read from `cargo metadata`, held against the root manifest.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::shell;

/// Crates whose types cross our own borders: two versions of one would not match.
const ONE_VERSION: &[&str] = &[
    "arrow",
    "arrow-array",
    "axum",
    "datafusion",
    "hyper",
    "object_store",
    "opentelemetry-proto",
    "parquet",
    "prost",
    "rustls",
    "sqlparser",
    "tokio",
    "tonic",
];

/// A library and the crates of ours that may use it (ARCHITECTURE.md, invariants 3, 4 and 5).
const HOMES: &[(&str, &[&str])] = &[
    ("datafusion", &["query"]),
    ("tantivy", &["store"]),
    ("leptos", &["ui"]),
    ("opentelemetry-proto", &["agent", "collector", "server", "tests"]),
    ("sqlx", &["store"]),
    ("reqwest", &["agent", "action", "server", "demo", "tests"]),
];

/// Every breach, as a sentence.
pub(crate) fn breaches() -> Result<Vec<String>> {
    let mut command = MetadataCommand::new();
    command.manifest_path(shell::root().join("Cargo.toml"));
    let metadata = command.exec().context("cargo metadata failed")?;
    let mut found = edges(&metadata)?;
    found.extend(homes(&metadata));
    found.extend(versions(&metadata));
    found.extend(bindgen(&metadata));
    Ok(found)
}

fn edges(metadata: &Metadata) -> Result<Vec<String>> {
    let layers = metadata.workspace_metadata.get("layers").and_then(|layers| layers.as_object());
    let layers = layers.context("the root manifest has no [workspace.metadata.layers]")?;
    let members: BTreeSet<&str> =
        metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(allowed) = layers.get(package.name.as_str()).and_then(|list| list.as_array())
        else {
            found
                .push(format!("crate {} has no line in [workspace.metadata.layers]", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let is_ours = members.contains(dependency.name.as_str());
            let is_allowed = allowed.iter().any(|name| name == dependency.name.as_str());
            if is_ours && !is_allowed && dependency.kind != DependencyKind::Development {
                found.push(format!(
                    "{} imports {}: not in its layer",
                    package.name, dependency.name
                ));
            }
        }
        if package.name.as_str() == "model" && !package.dependencies.is_empty() {
            found.push("model has dependencies: it must have none".to_owned());
        }
    }
    Ok(found)
}

fn homes(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            let home = HOMES.iter().find(|(library, _)| *library == dependency.name);
            if let Some((library, crates)) = home
                && !crates.contains(&package.name.as_str())
                && dependency.kind != DependencyKind::Development
            {
                found.push(format!(
                    "{} uses {library}, whose home is {}",
                    package.name,
                    crates.join(", ")
                ));
            }
        }
    }
    found
}

fn versions(metadata: &Metadata) -> Vec<String> {
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in &metadata.packages {
        if ONE_VERSION.contains(&package.name.as_str()) {
            seen.entry(package.name.as_str()).or_default().insert(package.version.to_string());
        }
    }
    let doubled = seen.into_iter().filter(|(_, versions)| versions.len() > 1);
    doubled
        .map(|(name, versions)| {
            format!("{name} is in the lock file {} times: {versions:?}", versions.len())
        })
        .collect()
}

/// The glue generator must be the version of the wasm-bindgen it generates glue for.
fn bindgen(metadata: &Metadata) -> Option<String> {
    let version = |name: &str| {
        metadata.packages.iter().find(|p| p.name.as_str() == name).map(|p| p.version.to_string())
    };
    let (runtime, generator) = (version("wasm-bindgen")?, version("wasm-bindgen-cli-support")?);
    (runtime != generator).then(|| {
        format!("wasm-bindgen is {runtime}, wasm-bindgen-cli-support {generator}: pin them alike")
    })
}

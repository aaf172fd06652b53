//! Queries that this browser has run, kept by it alone.

use crate::browser;

/// Under this name.
const KEY: &str = "promql-history";
/// Queries kept.
const MAX: usize = 50;

/// Newest first.
pub(super) fn read() -> Vec<String> {
    let kept = browser::stored(KEY);
    kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Puts `texts` in front; what was asked before moves there.
pub(super) fn add(texts: &[String]) {
    let mut all: Vec<String> =
        texts.iter().filter(|text| !text.trim().is_empty()).cloned().collect();
    if all.is_empty() {
        return;
    }
    let before: Vec<String> = read().into_iter().filter(|text| !all.contains(text)).collect();
    all.extend(before);
    all.truncate(MAX);
    browser::store(KEY, &serde_json::to_string(&all).unwrap_or_default());
}

/// Lets go of all.
pub(super) fn forget() {
    browser::store(KEY, "[]");
}

//! Files by pattern: `*` and `?` in the last part of a path, as `file_sd_configs` and `scrape_config_files` have them.

use std::path::{Path, PathBuf};

/// The files that match, sorted; a pattern without wildcards is itself, whether it exists or not.
pub(crate) fn files(pattern: &Path) -> Vec<PathBuf> {
    let Some(name) = pattern.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Vec::new();
    };
    if !name.contains(['*', '?']) {
        return vec![pattern.to_owned()];
    }
    let folder =
        pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let matching = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = matching
        .filter(|path| {
            path.file_name().is_some_and(|file| matches(name.as_bytes(), file.as_encoded_bytes()))
        })
        .collect();
    found.sort();
    found
}

/// Whether `text` fits; `*` stands for any bytes, `?` for one. Linear in both but for one step back to the last `*`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_marks_match() {
        for (pattern, text, fits) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("**b", "aab", true),
            ("*a*b", "xaxxbxb", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }
}

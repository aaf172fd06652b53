//! Patterns of file names: `*` any characters, `?` one, `[a-z]` one of them, `\` takes the next as it is. None of them
//! crosses a `/`.

use std::path::{Component, Path, PathBuf};

/// The files a pattern stands for, sorted; empty when there is none. A part without a pattern is taken as it is written.
#[must_use]
pub fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(part) = component else {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let part = part.to_string_lossy();
        found = match part.contains(['*', '?', '[', '\\']) {
            true => found.iter().flat_map(|folder| matching(folder, &part)).collect(),
            false => found.into_iter().map(|folder| folder.join(&*part)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

/// What stands in a folder under a name that fits.
fn matching(folder: &Path, part: &str) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let pattern: Vec<char> = part.chars().collect();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let fitting = names.filter(|name| fits(&pattern, &name.chars().collect::<Vec<_>>()));
    fitting.map(|name| folder.join(name)).collect()
}

/// Whether the whole name fits.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and how far it reaches: tried longer whenever the rest does not fit.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && n == name.len() {
            return true;
        }
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if n < name.len()
            && let Some(width) = one(&pattern[p..], name[n])
        {
            (p, n) = (p + width, n + 1);
            continue;
        }
        match star {
            Some((at, reach)) if reach < name.len() => {
                star = Some((at, reach + 1));
                (p, n) = (at + 1, reach + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern stands for this one character; `None` when it does not fit.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '\\' => (pattern.get(1) == Some(&c)).then_some(2),
        '[' => {
            let end = pattern.iter().skip(2).position(|p| *p == ']')? + 2;
            let inside = &pattern[1..end];
            let (is_negated, inside) = match inside.first() {
                Some('^' | '!') => (true, &inside[1..]),
                _ => (false, inside),
            };
            (is_one_of(inside, c) != is_negated).then_some(end + 1)
        }
        literal => (*literal == c).then_some(1),
    }
}

fn is_one_of(mut set: &[char], c: char) -> bool {
    while let Some(first) = set.first() {
        if let [_, '-', last, ..] = set {
            if (*first..=*last).contains(&c) {
                return true;
            }
            set = &set[3..];
        } else {
            if *first == c {
                return true;
            }
            set = &set[1..];
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        let fit = |pattern: &str, name: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            fits(&chars(pattern), &chars(name))
        };
        for (pattern, name) in [
            ("*.yml", "a.yml"),
            ("*", ""),
            ("a*b*c", "axxbyyc"),
            ("a*b*c", "abcbc"),
            ("?[0-9x]", "ax"),
            ("[^a-c]1", "d1"),
            ("[]a]", "]"),
            ("\\*", "*"),
        ] {
            assert!(fit(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.yml", "a.yaml"),
            ("?", ""),
            ("a*b", "abc"),
            ("[^a]", "a"),
            ("\\*", "x"),
            ("[", "["),
        ] {
            assert!(!fit(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_in_folders_that_fit() {
        let home = tempfile::tempdir().expect("a folder");
        for name in ["a/x.yml", "b/x.yml", "b/y.yml", "c.yml"] {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(&path, "").expect("a file");
        }
        let found = |pattern: &str| {
            let found = glob(&home.path().join(pattern));
            let names = found.iter().map(|path| path.strip_prefix(home.path()).expect("inside"));
            names.map(|name| name.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("?/*.yml"), ["a/x.yml", "b/x.yml", "b/y.yml"]);
        assert_eq!(found("[bc]*"), ["b", "c.yml"]);
        assert_eq!(found("b/../c.yml"), ["b/../c.yml"]);
        assert_eq!(found("none.yml"), [""; 0]);
    }
}

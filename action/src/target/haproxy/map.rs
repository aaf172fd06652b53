//! Maps of HAProxy (`set map`, management guide 2.6): the entries of one file as members, for rules that answer less, limit
//! rates, or send traffic elsewhere.

use crate::plan::{Change, Member};

/// Most entries that are one target.
const ENTRIES_MAX: usize = 10_000;
/// Longest key or value.
const WORD_BYTES_MAX: usize = 200;
/// What can be set of an entry.
pub(super) const FIELD: &str = "value";

/// Entries from `show map FILE`: an address, the key, the value.
pub(super) fn entries_of(text: &str, file: &str) -> Result<Vec<Member>, String> {
    let mut members: Vec<Member> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (address, key, value) = (words.next(), words.next(), words.next());
        let (Some(key), true) = (key, address.is_some_and(|word| word.starts_with("0x"))) else {
            return Err(format!("`show map {file}` said: {}", super::cut(text.trim())));
        };
        // The first entry of a key is the one that counts.
        if members.iter().any(|known| known.name == key) {
            continue;
        }
        if members.len() == ENTRIES_MAX {
            return Err(format!("{file} has more than {ENTRIES_MAX} entries"));
        }
        members.push(Member {
            name: key.to_owned(),
            up: true,
            serving: true,
            fields: [(FIELD.to_owned(), value.unwrap_or_default().to_owned())].into(),
            ..Member::default()
        });
    }
    if members.is_empty() { Err(format!("{file} has no entry")) } else { Ok(members) }
}

/// The command that makes `change`.
pub(super) fn command(file: &str, change: &Change) -> Result<String, String> {
    check_file(file)?;
    let Change { member, field, value, .. } = change;
    if field != FIELD || !is_word(member) || !is_word(value) {
        return Err(format!("{field} of {member:?} to {value:?} is nothing that can be set"));
    }
    Ok(format!("set map {file} {member} {value}"))
}

/// Whether `text` is one word of a command and no more.
pub(crate) fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && !";\\\"'#".contains(c);
    !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.chars().all(is_plain)
}

/// Refuses what is no path of a file.
pub(crate) fn check_file(file: &str) -> Result<(), String> {
    if file.starts_with('/') && is_word(file) {
        return Ok(());
    }
    Err(format!("{file:?} is no path of a map, as HAProxy's configuration has it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_haproxy_says_them() {
        let text = "0x55d0c0 /reco off\n0x55d0d0 rps 0\n0x55d0e0 rps 9\n0x55d0f0 empty\n\n";
        let entries = entries_of(text, "/m").unwrap();
        let short: Vec<_> = entries.iter().map(|m| (&*m.name, &*m.fields[FIELD])).collect();
        assert_eq!(short, [("/reco", "off"), ("rps", "0"), ("empty", "")]);
        let unknown = entries_of("Unknown map identifier. Please use #<id> or <file>.\n", "/m");
        assert!(unknown.unwrap_err().contains("Unknown map"));
        assert!(entries_of("\n", "/m").unwrap_err().contains("no entry"));
    }

    #[test]
    fn no_key_or_value_is_more_than_one_word_of_a_command() {
        let change = |member: &str, value: &str| {
            let [member, field, before, value] = [member, FIELD, "", value].map(str::to_owned);
            command("/etc/m", &Change { member, field, before, value })
        };
        assert_eq!(change("/reco", "on").unwrap(), "set map /etc/m /reco on");
        for (member, value) in [
            ("a b", "on"),
            ("a", "on; show info"),
            ("a", ""),
            ("a\nb", "1"),
            ("a", "1\\"),
            ("é", "1"),
        ] {
            assert!(change(member, value).is_err(), "{member} {value}");
        }
        assert!(check_file("m").is_err() && check_file("/m; del map /m").is_err());
    }
}

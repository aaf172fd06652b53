//! Lists of addresses as people write them: `a@b, Team <c@d>, "Night, on call" <e@f>`.

/// Most addresses of one message; RFC 5321 obliges servers to take as many.
const ADDRESSES_MAX: usize = 100;
/// Longest address, by RFC 5321.
const ADDRESS_BYTES_MAX: usize = 254;

/// One address, and who reads what is sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// Empty without one.
    pub(super) name: String,
    pub(super) address: String,
}

/// Reads a list; what is wrong is told with the address.
pub(super) fn mailboxes(text: &str) -> Result<Vec<Mailbox>, String> {
    let parts = split(text);
    let found = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    let found = found.map(mailbox).collect::<Result<Vec<_>, _>>()?;
    match found.len() {
        0 => Err("there is no address".to_owned()),
        1..=ADDRESSES_MAX => Ok(found),
        n => Err(format!("{n} addresses, the limit is {ADDRESSES_MAX}: use a mailing list")),
    }
}

/// Parts between commas that are not in quotes.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut is_quoted, mut is_escaped) = (vec![String::new()], false, false);
    for c in text.chars() {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && c == '\\' && !was_escaped;
        match c {
            ',' if !is_quoted => parts.push(String::new()),
            _ => {
                is_quoted ^= c == '"' && !was_escaped;
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    parts
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (unquoted(name.trim()), address.trim()),
        None => (String::new(), text),
    };
    let is_part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"<>()[]\\,;:\"@".contains(&byte);
        !part.is_empty() && part.bytes().all(allowed)
    };
    let parts = address.split_once('@');
    let is_clean = !name.contains(char::is_control);
    if !is_clean || !parts.is_some_and(|(local, host)| is_part(local) && is_part(host)) {
        return Err(format!("{text:?} is no address: write a@b.example or Name <a@b.example>"));
    }
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(format!("an address has {} bytes, not {ADDRESS_BYTES_MAX}", address.len()));
    }
    Ok(Mailbox { name, address: address.to_owned() })
}

fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    let Some(inner) = inner else { return name.to_owned() };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_addresses_are_read() {
        let read = |text: &str| {
            let found = mailboxes(text)?.into_iter().map(|m| format!("{}|{}", m.name, m.address));
            Ok::<_, String>(found.collect::<Vec<_>>())
        };
        let list = r#"a@b, Team 夜 <c@d.e>,"Night, \"on\" call" <e+x@f>,"#;
        assert_eq!(read(list).unwrap(), ["|a@b", "Team 夜|c@d.e", "Night, \"on\" call|e+x@f"]);
        for bad in
            ["", " , ", "a", "@b", "a@", "a b@c", "a@b>", "x <a@b", "a@b\r\nRCPT TO:<c@d>", "ä@b"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        let all = |n: usize| vec!["a@b"; n].join(",");
        assert!(read(&all(100)).is_ok() && read(&all(101)).is_err());
        let long = format!("{}@b", "a".repeat(253));
        assert!(read(&long).unwrap_err().contains("255 bytes"));
    }
}

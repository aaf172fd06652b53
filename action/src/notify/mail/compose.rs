//! A message as it is sent: headers by RFC 2047, text and HTML as quoted-printable by RFC 2045.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::time::{Timestamp, civil_from_days};

use super::address::mailboxes;

/// Where lines of headers are folded, where they can be.
const LINE_CHARS: usize = 76;
/// Longest word that may stand unencoded: a line has 998 bytes at most.
const WORD_BYTES_MAX: usize = 900;
/// Bytes of text in one encoded word, whose length is 75 at most.
const ENCODED_BYTES_MAX: usize = 45;
const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

/// What a message consists of.
pub(super) struct Parts {
    /// Name and value, neither encoded.
    pub(super) headers: Vec<(String, String)>,
    /// Left out if it is empty.
    pub(super) text: String,
    /// Left out if it is empty.
    pub(super) html: String,
    /// Something no other message has, of ASCII.
    pub(super) key: String,
}

impl Parts {
    /// The message: lines of at most 998 ASCII characters, each ended by CR LF.
    pub(super) fn compose(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.headers {
            out.push_str(&header(name, value));
        }
        out.push_str("MIME-Version: 1.0\r\n");
        match (self.text.is_empty(), self.html.is_empty()) {
            (_, true) => out.push_str(&part("plain", &self.text)),
            (true, false) => out.push_str(&part("html", &self.html)),
            (false, false) => {
                // `=_` never occurs in quoted-printable, so that no text can end its part.
                let boundary = format!("=_{}", self.key);
                out.push_str("Content-Type: multipart/alternative;\r\n");
                out.push_str(&format!(" boundary=\"{boundary}\"\r\n\r\n"));
                for (kind, text) in [("plain", &self.text), ("html", &self.html)] {
                    out.push_str(&format!("--{boundary}\r\n{}", part(kind, text)));
                }
                out.push_str(&format!("--{boundary}--\r\n"));
            }
        }
        out
    }
}

fn part(kind: &str, text: &str) -> String {
    let head = "charset=UTF-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n";
    format!("Content-Type: text/{kind}; {head}{}", quoted_printable(text))
}

/// One header, folded; line ends and other control characters of its value become spaces.
fn header(name: &str, value: &str) -> String {
    let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let value = value.trim();
    let holds_addresses = ["from", "to", "cc", "bcc", "reply-to", "sender"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name));
    let list = if holds_addresses { mailboxes(value).ok() } else { None };
    let Some(list) = list else { return format!("{name}: {}\r\n", words(value, name.len() + 2)) };
    let shown = list.iter().map(|mailbox| match mailbox.name.as_str() {
        "" => mailbox.address.clone(),
        name => format!("{} <{}>", phrase(name), mailbox.address),
    });
    format!("{name}: {}\r\n", shown.collect::<Vec<_>>().join(",\r\n "))
}

/// A name before an address.
fn phrase(name: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || c == ' ' || "!#$%&'*+-/=?^_`{|}~".contains(c);
    if !name.is_ascii() || name.len() > WORD_BYTES_MAX {
        return encoded(name);
    }
    if name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Text of a header that begins in column `column`.
fn words(value: &str, mut column: usize) -> String {
    let words = || value.split(' ');
    if !value.is_ascii() || words().any(|word| word.len() > WORD_BYTES_MAX) {
        return encoded(value);
    }
    let mut out = String::with_capacity(value.len() + 8);
    for (i, word) in words().enumerate() {
        // A line of nothing but spaces would look like the end of the headers.
        if i > 0 && column + 1 + word.len() > LINE_CHARS && !word.is_empty() {
            out.push_str("\r\n ");
            column = 1;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

fn encoded(value: &str) -> String {
    let mut rest = value;
    let mut made = Vec::new();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.floor_char_boundary(ENCODED_BYTES_MAX));
        made.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = after;
    }
    made.join("\r\n ")
}

/// Text in lines of at most 76 ASCII characters; ends with CR LF.
fn quoted_printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line).as_bytes();
        let mut column = 0;
        for (i, byte) in line.iter().enumerate() {
            let is_last = i + 1 == line.len();
            let is_plain = match byte {
                b' ' | b'\t' => !is_last,
                b'=' => false,
                other => other.is_ascii_graphic(),
            };
            let width = if is_plain { 1 } else { 3 };
            if column + width > LINE_CHARS - usize::from(!is_last) {
                out.push_str("=\r\n");
                column = 0;
            }
            if is_plain {
                out.push(char::from(*byte));
            } else {
                out.push_str(&format!("={byte:02X}"));
            }
            column += width;
        }
        out.push_str("\r\n");
    }
    out
}

/// A time as RFC 5322 has it, in UTC.
pub(super) fn date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let s = at.0.div_euclid(NS_PER_S);
    let (days, s) = (s.div_euclid(S_PER_DAY), s.rem_euclid(S_PER_DAY));
    let (year, month, day) = civil_from_days(days);
    let name = |names: &'static [&'static str], i: i64| {
        usize::try_from(i).ok().and_then(|i| names.get(i)).copied().unwrap_or_default()
    };
    let (weekday, month) = (name(&DAYS, days.rem_euclid(7)), name(&MONTHS, month - 1));
    let (hour, minute) = (s / 3_600, s / 60 % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{:02} +0000", s % 60)
}

/// The day in UTC, as `2023-11-14`.
pub(super) fn day(at: Timestamp) -> String {
    let (year, month, day) = civil_from_days(at.0.div_euclid(NS_PER_S * S_PER_DAY));
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_encoded_and_folded_and_hold_one_header_only() {
        assert_eq!(header("Subject", "plain"), "Subject: plain\r\n");
        assert_eq!(header("Subject", "a\r\nBcc: x@y\n\tb"), "Subject: a  Bcc: x@y  b\r\n");
        assert_eq!(header("Subject", "夜"), "Subject: =?utf-8?B?5aSc?=\r\n");
        let long = header("Subject", &"夜間".repeat(20));
        assert!(long.lines().count() == 3 && long.lines().all(|line| line.len() <= 85), "{long}");
        let folded = header("Subject", &"word ".repeat(40));
        assert!(folded.lines().all(|line| line.len() <= LINE_CHARS), "{folded}");
        assert_eq!(folded.replace("\r\n ", " ").trim_end().len(), 9 + 40 * 5 - 1);
        assert!(header("Subject", &"x".repeat(2_000)).lines().all(|line| line.len() <= 998));
        let to = header("To", "a@b, Ä Team <c@d>, \"x, y\" <e@f>");
        assert_eq!(to, "To: a@b,\r\n =?utf-8?B?w4QgVGVhbQ==?= <c@d>,\r\n \"x, y\" <e@f>\r\n");
        assert_eq!(header("To", "everybody"), "To: everybody\r\n");
    }

    #[test]
    fn text_is_quoted_printable() {
        assert_eq!(quoted_printable("a=b \nü\r\n.\n"), "a=3Db=20\r\n=C3=BC\r\n.\r\n");
        assert_eq!(quoted_printable(""), "\r\n");
        assert_eq!(quoted_printable("a\rb\0"), "a=0Db=00\r\n");
        for n in 70..160 {
            let text = quoted_printable(&"x".repeat(n));
            assert!(text.lines().all(|line| line.len() <= 76), "{text}");
            assert_eq!(text.replace("=\r\n", "").trim_end().len(), n);
            let text = quoted_printable(&"ü".repeat(n));
            assert!(text.lines().all(|line| line.len() <= 76), "{text}");
            assert_eq!(text.replace("=\r\n", "").trim_end(), "=C3=BC".repeat(n));
        }
    }

    #[test]
    fn times_are_written() {
        let at = Timestamp::from_s(1_700_000_000);
        assert_eq!(date(at), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(date(Timestamp::from_s(0)), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(day(at), "2023-11-14");
    }
}

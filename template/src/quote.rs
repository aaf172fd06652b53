//! Go string literals: reading and writing, and the escapes of URLs, HTML and JavaScript.

use std::fmt::Write as _;

/// The text between the quotes of an interpreted Go string or character literal.
pub(crate) fn unquote(inner: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next().ok_or("a backslash ends the literal")?;
        let simple = match escape {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' => u8::try_from(escape).ok(),
            _ => None,
        };
        if let Some(byte) = simple {
            bytes.push(byte);
            continue;
        }
        let (first, digits, radix) = match escape {
            'x' => (None, 2, 16),
            'u' => (None, 4, 16),
            'U' => (None, 8, 16),
            '0'..='7' => (Some(escape), 2, 8),
            _ => return Err(format!("unknown escape sequence \\{escape}")),
        };
        let text: String = first.into_iter().chain(chars.by_ref().take(digits)).collect();
        let wanted = digits + usize::from(first.is_some());
        let code = (text.len() == wanted).then(|| u32::from_str_radix(&text, radix).ok()).flatten();
        let code = code.ok_or_else(|| format!("bad escape sequence \\{escape}"))?;
        if matches!(escape, 'u' | 'U') {
            let c =
                char::from_u32(code).ok_or_else(|| format!("\\{escape}{text} is no character"))?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(code).map_err(|_| format!("\\{text} is beyond one byte"))?);
        }
    }
    String::from_utf8(bytes).map_err(|_| "the literal is not UTF-8".to_owned())
}

/// `text` as a Go string literal in double quotes (`strconv.Quote`).
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    text.chars().for_each(|c| escape_into(&mut out, c, '"'));
    out.push('"');
    out
}

/// `c` as a Go character literal in single quotes.
pub(crate) fn quote_char(c: char) -> String {
    let mut out = String::from("'");
    escape_into(&mut out, c, '\'');
    out.push('\'');
    out
}

fn escape_into(out: &mut String, c: char, quote: char) {
    let short = match c {
        '\u{7}' => Some('a'),
        '\u{8}' => Some('b'),
        '\u{c}' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        '\u{b}' => Some('v'),
        '\\' => Some('\\'),
        _ => None,
    };
    if let Some(short) = short {
        out.extend(['\\', short]);
    } else if c == quote {
        out.extend(['\\', c]);
    } else if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') {
        let code = u32::from(c);
        let width = if code < 0x80 { (2, 'x') } else { (4, 'u') };
        write!(out, "\\{}{code:0w$x}", width.1, w = width.0).expect("a String takes all text");
    } else {
        out.push(c);
    }
}

/// Go's `url.QueryEscape`: unreserved characters stay, a space becomes `+`.
pub(crate) fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("a String takes all text"),
        }
    }
    out
}

/// Go's `template.HTMLEscapeString`.
pub(crate) fn html_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// Go's `template.JSEscapeString`.
pub(crate) fn js_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes all text");
            }
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes all text");
            }
            c => out.push(c),
        }
    }
    out
}

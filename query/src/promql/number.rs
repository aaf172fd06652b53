//! Numbers and strings as Go reads and prints them: literals, `%g`, `%f`, `%q`. Shared by parser, printer and messages.

/// A number as PromQL prints it: shortest decimal, never an exponent, `+Inf`, `-Inf`, `NaN`.
#[must_use]
pub fn decimal(value: f64) -> String {
    special(value).map_or_else(|| value.to_string(), str::to_owned)
}

/// A number as the HTTP API writes it: like [`decimal`], with an exponent below 1e-6 and from 1e21 on (`1e+21`).
#[must_use]
pub fn api_text(value: f64) -> String {
    exponent_outside(value, -6, 21)
}

/// Go's `%g`: shortest digits, an exponent below 1e-4 and from 1e6 on.
#[must_use]
pub fn percent_g(value: f64) -> String {
    exponent_outside(value, -4, 6)
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

/// A float as OpenMetrics writes bounds and quantiles: `%g`, with `.0` where it would look like an integer.
#[must_use]
pub fn open_metrics(value: f64) -> String {
    let text = percent_g(value);
    if text.contains(['e', '.', 'N', 'I']) { text } else { text + ".0" }
}

/// Shortest digits; an exponent of at least two digits when it is below `low` or at least `high`.
fn exponent_outside(value: f64, low: i32, high: i32) -> String {
    if let Some(word) = special(value) {
        return word.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && (exponent < low || exponent >= high) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

/// Go's `%.2g`: two significant digits.
#[must_use]
pub fn two_digits(value: f64) -> String {
    if let Some(word) = special(value) {
        return word.to_owned();
    }
    let scientific = format!("{value:.1e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    if value != 0.0 && !(-4..2).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let decimals = usize::try_from(1 - exponent).unwrap_or(0);
    let fixed = format!("{value:.decimals$}");
    if fixed.contains('.') {
        fixed.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        fixed
    }
}

/// The integer part of `value`, clamped to the range of `i64`; 0 for NaN.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is what is promised")]
#[must_use]
pub const fn to_i64(value: f64) -> i64 {
    value as i64
}

/// `value` as an index, clamped to the range; 0 for NaN and negative numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what is promised"
)]
#[must_use]
pub const fn to_index(value: f64) -> usize {
    value as usize
}

/// Reads a number literal: decimal, hexadecimal, octal, with `_` between digits; `Inf` and `NaN` in any case.
#[must_use]
pub fn parse_number(text: &str) -> Option<f64> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = parse_unsigned(body)?;
    Some(if negative { -value } else { value })
}

fn parse_unsigned(body: &str) -> Option<f64> {
    match body.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Some(f64::INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let hex = body.strip_prefix("0x").or_else(|| body.strip_prefix("0X"));
    if let Some(digits) = hex {
        let digits = digits.strip_prefix('_').unwrap_or(digits);
        return integer(digits, 16);
    }
    for (low, high, radix) in [("0b", "0B", 2), ("0o", "0O", 8)] {
        if let Some(digits) = body.strip_prefix(low).or_else(|| body.strip_prefix(high)) {
            return integer(digits.strip_prefix('_').unwrap_or(digits), radix);
        }
    }
    if body.len() > 1
        && body.starts_with('0')
        && let Some(value) = integer(body[1..].strip_prefix('_').unwrap_or(&body[1..]), 8)
    {
        return Some(value);
    }
    let starts_well = body.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !starts_well || !underscores_are_between_digits(body) {
        return None;
    }
    body.replace('_', "").parse().ok()
}

fn integer(digits: &str, radix: u32) -> Option<f64> {
    if digits.is_empty() || digits.starts_with(['_', '+', '-']) || digits.ends_with('_') {
        return None;
    }
    if digits.contains("__") {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), radix).ok().map(|value| value as f64)
}

fn underscores_are_between_digits(body: &str) -> bool {
    let bytes = body.as_bytes();
    let digit = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_digit())
    };
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'_')
        .all(|(at, _)| digit(at.checked_sub(1)) && digit(Some(at + 1)))
}

/// `text` in double quotes with Go's escapes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if u32::from(c) >= STRAY_BYTES => {
                out.push_str(&format!("\\x{:02x}", u32::from(c) - STRAY_BYTES));
            }
            c if c.is_control() || c == '\u{feff}' || ('\u{2028}'..='\u{2029}').contains(&c) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Reads a quoted string literal, quotes included: `"…"` and `'…'` with Go's escapes, backticks raw.
#[must_use]
pub fn unquote(literal: &str) -> Option<String> {
    let delimiter = *literal.as_bytes().first()?;
    let inner = literal.get(1..literal.len().checked_sub(1)?)?;
    if delimiter == b'`' {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        if c == '\n' {
            return None;
        }
        if c != '\\' {
            let mut buffer = [0; 4];
            bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            rest = &rest[c.len_utf8()..];
            continue;
        }
        rest = escape(&rest[1..], delimiter, &mut bytes)?;
    }
    Some(text_of(&bytes))
}

/// Code point that stands for byte 0 when a string escapes bytes that are no UTF-8; such text is no label name.
const STRAY_BYTES: u32 = 0x10_ff00;

/// The bytes as text, those that are no UTF-8 as code points that nobody else uses.
fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let stray = chunk.invalid().iter().map(|byte| STRAY_BYTES + u32::from(*byte));
        text.extend(stray.filter_map(char::from_u32));
    }
    text
}

/// Whether `name` may name a label: not empty, and UTF-8 as written.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| u32::from(c) >= STRAY_BYTES)
}

/// Reads one escape after its backslash; returns what follows it.
fn escape<'a>(rest: &'a str, delimiter: u8, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let kind = *rest.as_bytes().first()?;
    let simple = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' => b'\\',
        quote if quote == delimiter => quote,
        _ => 0,
    };
    if simple != 0 {
        bytes.push(simple);
        return Some(&rest[1..]);
    }
    let (skip, len, radix) = match kind {
        b'0'..=b'7' => (0, 3, 8),
        b'x' => (1, 2, 16),
        b'u' => (1, 4, 16),
        b'U' => (1, 8, 16),
        _ => return None,
    };
    let digits = rest.get(skip..skip + len)?;
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).ok()?;
    if len < 4 {
        bytes.push(u8::try_from(code).ok()?);
    } else {
        let mut buffer = [0; 4];
        bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes());
    }
    Some(&rest[skip + len..])
}

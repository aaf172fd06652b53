//! Series descriptions of test files and rule tests: `name{a="b"} 1 2+1x3 _ stale {{count:1}}`.

mod histogram;

use std::sync::Arc;

use super::histogram::Histogram;
use super::labels::{Labels, NAME};
use super::number::{parse_number, unquote};
use super::value::Reading;
use model::metric::STALE_NAN_BITS;

/// Most values one repetition may stand for.
const REPEATS_MAX: usize = 1_000_000;

/// A series with its values at equal distances; `None` is a gap.
#[derive(Clone, Debug)]
pub struct SeriesDescription {
    /// Labels, the name as `__name__`.
    pub labels: Labels,
    /// Values in order.
    pub values: Vec<Option<Described>>,
}

/// A value, and whether its text named a reset hint.
#[derive(Clone, Debug)]
pub struct Described {
    /// The value.
    pub reading: Reading,
    /// Whether `counter_reset_hint` was written.
    pub hint_written: bool,
}

impl From<f64> for Described {
    fn from(value: f64) -> Self {
        Self { reading: Reading::Float(value), hint_written: false }
    }
}

/// Reads a whole description.
///
/// # Errors
/// A sentence saying what is wrong.
pub fn parse_series(text: &str) -> Result<SeriesDescription, String> {
    let (labels, rest) = parse_metric(text)?;
    Ok(SeriesDescription { labels, values: parse_values(rest)? })
}

/// Reads name and labels; returns what follows.
///
/// # Errors
/// A sentence saying what is wrong.
pub fn parse_metric(text: &str) -> Result<(Labels, &str), String> {
    let text = text.trim_start();
    let name_len = text
        .bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(name_len);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((NAME.into(), name.into()));
    }
    if let Some(inside) = rest.strip_prefix('{') {
        rest = parse_pairs(inside, &mut pairs)?;
    } else if name.is_empty() {
        return Err(format!("series description starts with neither a name nor {{: {text:?}"));
    }
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok((Labels::from_texts(pairs), rest))
}

fn parse_pairs<'a>(
    mut rest: &'a str,
    pairs: &mut Vec<(String, String)>,
) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after, quoted) = parse_word(rest)?;
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after, _) = parse_word(after.trim_start())?;
            pairs.push((name, value));
            rest = after.trim_start();
        } else if quoted {
            pairs.push((NAME.into(), name));
        } else {
            return Err(format!("label {name} has no value"));
        }
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if !rest.starts_with('}') {
            return Err("labels are not separated by a comma".to_owned());
        }
    }
}

/// An identifier or a quoted string; returns what follows and whether it was quoted.
fn parse_word(text: &str) -> Result<(String, &str, bool), String> {
    let first = text.bytes().next().ok_or("unexpected end of series description")?;
    if matches!(first, b'"' | b'\'' | b'`') {
        let bytes = text.as_bytes();
        let mut end = 1;
        while end < bytes.len() && bytes[end] != first {
            end += if bytes[end] == b'\\' && first != b'`' { 2 } else { 1 };
        }
        let literal = text.get(..=end).ok_or("unterminated string in series description")?;
        let value = unquote(literal).ok_or_else(|| format!("invalid string {literal}"))?;
        return Ok((value, &text[end + 1..], true));
    }
    let len = text
        .bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_'))
        .unwrap_or(text.len());
    if len == 0 {
        return Err(format!("unexpected character in series description: {text:?}"));
    }
    Ok((text[..len].to_owned(), &text[len..], false))
}

/// Reads the values.
///
/// # Errors
/// A sentence saying what is wrong.
pub fn parse_values(text: &str) -> Result<Vec<Option<Described>>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        rest = if rest.starts_with("{{") {
            histogram_item(rest, &mut values)?
        } else {
            let len = rest.find(char::is_whitespace).unwrap_or(rest.len());
            float_item(&rest[..len], &mut values)?;
            &rest[len..]
        }
        .trim_start();
    }
    Ok(values)
}

fn repeats(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= REPEATS_MAX => Ok(n),
        _ => Err(format!("invalid repetition in series values: {text:?}")),
    }
}

fn float_item(item: &str, values: &mut Vec<Option<Described>>) -> Result<(), String> {
    if let Some(gap) = item.strip_prefix('_') {
        let n = match gap.strip_prefix('x') {
            Some(n) => repeats(n)?,
            None if gap.is_empty() => 1,
            None => return Err(format!("invalid gap: {item:?}")),
        };
        values.extend(std::iter::repeat_n(None, n));
        return Ok(());
    }
    let number = |text: &str| {
        if text == "stale" {
            return Ok(f64::from_bits(STALE_NAN_BITS));
        }
        parse_number(text).ok_or_else(|| format!("invalid value in series description: {text:?}"))
    };
    let Some((head, n)) = item.split_once('x') else {
        values.push(Some(number(item)?.into()));
        return Ok(());
    };
    let n = repeats(n)?;
    // The sign of the increment: the first one behind the start that does not belong to an exponent.
    let split = head
        .char_indices()
        .skip(1)
        .find(|(i, c)| matches!(c, '+' | '-') && !matches!(head.as_bytes()[i - 1], b'e' | b'E'));
    let (start, increment) = match split {
        Some((i, _)) => (number(&head[..i])?, number(&head[i..])?),
        None => (number(head)?, 0.0),
    };
    let mut value = start;
    for _ in 0..=n {
        values.push(Some(value.into()));
        value += increment;
    }
    Ok(())
}

/// `{{…}}`, `{{…}}xN`, `{{…}}+{{…}}xN`, `{{…}}-{{…}}xN`; returns what follows.
fn histogram_item<'a>(
    text: &'a str,
    values: &mut Vec<Option<Described>>,
) -> Result<&'a str, String> {
    let (base, hint_written, mut rest) = histogram::parse(text)?;
    let described =
        |h: Histogram| Some(Described { reading: Reading::Histogram(Arc::new(h)), hint_written });
    let mut step = None;
    for (sign, prefix) in [(1.0, "+{{"), (-1.0, "-{{")] {
        if rest.starts_with(prefix) {
            let (increment, _, after) = histogram::parse(&rest[1..])?;
            step = Some((sign, increment));
            rest = after;
        }
    }
    let len = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let n = match rest[..len].strip_prefix('x') {
        Some(n) => repeats(n)?,
        None if len == 0 && step.is_none() => 0,
        None => return Err(format!("unexpected text after a histogram: {:?}", &rest[..len])),
    };
    let mut current = base;
    values.push(described(current.clone()));
    for _ in 0..n {
        if let Some((sign, increment)) = &step {
            let joined = if *sign > 0.0 { current.add(increment) } else { current.sub(increment) };
            joined.map_err(|_| "histograms of a sequence have different kinds of buckets")?;
        }
        values.push(described(current.clone()));
    }
    Ok(&rest[len..])
}

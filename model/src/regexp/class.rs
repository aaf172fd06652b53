//! Classes of characters and escapes, as Go reads them and Rust prints them.

use super::script;
use super::{Error, Fault};

/// Lowest and highest code points.
type Range = (u32, u32);

/// One after the other are surrogates, which no text holds.
const SURROGATES: Range = (0xD800, 0xDFFF);
/// What matches nothing.
const NOTHING: &str = "[^\\x{0}-\\x{10FFFF}]";

const DIGIT: &[Range] = &[(0x30, 0x39)];
const SPACE: &[Range] = &[(0x9, 0xA), (0xC, 0xD), (0x20, 0x20)];
const WORD: &[Range] = &[(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];

/// The names in `[:…:]`.
const NAMED: [(&str, &[Range]); 14] = [
    ("alnum", &[(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)]),
    ("alpha", &[(0x41, 0x5A), (0x61, 0x7A)]),
    ("ascii", &[(0, 0x7F)]),
    ("blank", &[(0x9, 0x9), (0x20, 0x20)]),
    ("cntrl", &[(0, 0x1F), (0x7F, 0x7F)]),
    ("digit", DIGIT),
    ("graph", &[(0x21, 0x7E)]),
    ("lower", &[(0x61, 0x7A)]),
    ("print", &[(0x20, 0x7E)]),
    ("punct", &[(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)]),
    ("space", &[(0x9, 0xD), (0x20, 0x20)]),
    ("upper", &[(0x41, 0x5A)]),
    ("word", WORD),
    ("xdigit", &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
];

/// A set of characters before case is folded.
pub(super) struct Class {
    negated: bool,
    items: Items,
}

enum Items {
    Ranges(&'static [Range]),
    /// `gc=…` or `sc=…` of Rust's `\p{…}`, or `any` and the like.
    Property(String),
    Nothing,
    List(Vec<Item>),
}

enum Item {
    Range(Range),
    Class(Class),
}

impl Class {
    /// `\d`, `\pL`, `\P{Greek}` and their like at the beginning of `text`, and what follows.
    pub(super) fn named(text: &str) -> Result<Option<(Self, &str)>, Error> {
        let Some(letter) = text.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return Ok(None);
        };
        let ranges = match letter.to_ascii_lowercase() {
            'd' => DIGIT,
            's' => SPACE,
            'w' => WORD,
            'p' => return Self::property(text, letter == 'P').map(Some),
            _ => return Ok(None),
        };
        let class = Self { negated: letter.is_ascii_uppercase(), items: Items::Ranges(ranges) };
        Ok(Some((class, &text[2..])))
    }

    /// `\pN`, `\p{Name}`, `\p{^Name}`.
    fn property(text: &str, negated: bool) -> Result<(Self, &str), Error> {
        let inner = &text[2..];
        let (name, after) = match inner.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| Fault::ClassRange.of(text))?,
            None => inner.split_at(inner.chars().next().map_or(0, char::len_utf8)),
        };
        let (name, turned) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let whole = &text[..text.len() - after.len()];
        let property = script::property(name).ok_or_else(|| Fault::ClassRange.of(whole))?;
        let items = match property {
            script::Property::Nothing => Items::Nothing,
            script::Property::Rust(name) => Items::Property(name),
        };
        Ok((Self { negated: negated != turned, items }, after))
    }

    /// `[:word:]`, `[:^word:]`; `None` for what is no such thing and stands for its characters.
    fn posix(text: &str) -> Result<Option<(Self, &str)>, Error> {
        let Some(inner) = text.strip_prefix("[:") else { return Ok(None) };
        let Some((name, after)) = inner.split_once(":]") else { return Ok(None) };
        let (bare, negated) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let whole = &text[..text.len() - after.len()];
        let found = NAMED.iter().find(|(known, _)| *known == bare);
        let (_, ranges) = found.ok_or_else(|| Fault::ClassRange.of(whole))?;
        Ok(Some((Self { negated, items: Items::Ranges(ranges) }, after)))
    }

    /// Prints it so that Rust folds case first and negates then, as Go does.
    pub(super) fn print(&self, out: &mut String) {
        match &self.items {
            Items::Property(name) => {
                out.extend([if self.negated { "\\P{" } else { "\\p{" }, name, "}"]);
            }
            Items::Nothing if self.negated => out.push_str("[\\x{0}-\\x{10FFFF}]"),
            Items::Nothing => out.push_str(NOTHING),
            Items::Ranges(ranges) => {
                self.open(out);
                ranges.iter().for_each(|range| print_range(*range, out));
                out.push(']');
            }
            Items::List(items) => {
                self.open(out);
                for item in items {
                    match item {
                        Item::Range(range) => print_range(*range, out),
                        Item::Class(class) => class.print(out),
                    }
                }
                out.push(']');
            }
        }
    }

    fn open(&self, out: &mut String) {
        out.push_str(if self.negated { "[^" } else { "[" });
    }
}

/// The class that `text`, which begins with `[`, begins with, and what follows.
pub(super) fn bracket(text: &str) -> Result<(Class, &str), Error> {
    let mut rest = &text[1..];
    let negated = rest.starts_with('^');
    if negated {
        rest = &rest[1..];
    }
    let mut items = Vec::new();
    // A `]` that comes first is itself.
    while items.is_empty() || !rest.starts_with(']') {
        let (item, after) = match Class::posix(rest)? {
            Some((class, after)) => (Item::Class(class), after),
            None => match Class::named(rest)? {
                Some((class, after)) => (Item::Class(class), after),
                None => range(rest, text).map(|(range, after)| (Item::Range(range), after))?,
            },
        };
        items.push(item);
        rest = after;
    }
    Ok((Class { negated, items: Items::List(items) }, &rest[1..]))
}

/// `a` or `a-z` inside the class that begins with `whole`.
fn range<'a>(text: &'a str, whole: &str) -> Result<(Range, &'a str), Error> {
    let (low, mut rest) = class_char(text, whole)?;
    let mut high = low;
    if let Some(after) = rest.strip_prefix('-')
        && !after.is_empty()
        && !after.starts_with(']')
    {
        (high, rest) = class_char(after, whole)?;
        if high < low {
            return Err(Fault::ClassRange.of(&text[..text.len() - rest.len()]));
        }
    }
    Ok(((low, high), rest))
}

fn class_char<'a>(text: &'a str, whole: &str) -> Result<(u32, &'a str), Error> {
    match text.chars().next() {
        None => Err(Fault::Bracket.of(whole)),
        Some('\\') => escaped(text),
        Some(c) => Ok((u32::from(c), &text[c.len_utf8()..])),
    }
}

/// The code point of an escape, which may be a surrogate's, and what follows.
pub(super) fn escaped(text: &str) -> Result<(u32, &str), Error> {
    let mut chars = text[1..].chars();
    let Some(c) = chars.next() else { return Err(Fault::Backslash.of("")) };
    let rest = chars.as_str();
    let refused = |rest: &str| Err(Fault::Escape.of(&text[..text.len() - rest.len()]));
    let plain = match c {
        '0' => return Ok(octal(&text[1..])),
        '1'..='7' if rest.starts_with(|c| matches!(c, '0'..='7')) => return Ok(octal(&text[1..])),
        'x' => return hexadecimal(rest).or_else(refused),
        'a' => 0x7,
        'f' => 0xC,
        'n' => 0xA,
        'r' => 0xD,
        't' => 0x9,
        'v' => 0xB,
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
        _ => return refused(rest),
    };
    Ok((plain, rest))
}

/// Up to three digits.
fn octal(text: &str) -> (u32, &str) {
    let digits = text.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7'));
    let (code, len) =
        digits.fold((0, 0), |(code, len), digit| (code * 8 + u32::from(digit - b'0'), len + 1));
    (code, &text[len..])
}

/// `{H…}` or two digits, behind the `x`; what follows the part that is wrong if it is none.
fn hexadecimal(text: &str) -> Result<(u32, &str), &str> {
    let Some(braced) = text.strip_prefix('{') else {
        let mut chars = text.chars();
        let digits = (chars.next(), chars.next());
        let digit = |c: Option<char>| c.and_then(|c| c.to_digit(16));
        return match (digit(digits.0), digit(digits.1)) {
            (Some(high), Some(low)) => Ok((high * 16 + low, chars.as_str())),
            _ => Err(chars.as_str()),
        };
    };
    let (mut code, mut chars) = (0_u32, braced.chars());
    loop {
        match chars.next() {
            Some('}') if chars.as_str().len() + 1 < braced.len() => {
                return Ok((code, chars.as_str()));
            }
            Some(c) => {
                let digit = c.to_digit(16).ok_or(chars.as_str())?;
                code = code * 16 + digit;
                if code > u32::from(char::MAX) {
                    return Err(chars.as_str());
                }
            }
            None => return Err(""),
        }
    }
}

/// One character that stands for itself, in or out of a class.
pub(super) fn print_char(code: u32, out: &mut String) {
    match char::from_u32(code) {
        None => out.push_str(NOTHING),
        Some(c) if c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii() => out.push(c),
        Some(c) => out.extend(["\\x{", &format!("{:X}", u32::from(c)), "}"]),
    }
}

fn print_range((mut low, mut high): Range, out: &mut String) {
    if (SURROGATES.0..=SURROGATES.1).contains(&low) {
        low = SURROGATES.1 + 1;
    }
    if (SURROGATES.0..=SURROGATES.1).contains(&high) {
        high = SURROGATES.0 - 1;
    }
    if high < low {
        out.push_str(NOTHING);
        return;
    }
    print_char(low, out);
    if high > low {
        out.push('-');
        print_char(high, out);
    }
}

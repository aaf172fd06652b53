//! Go's `fmt.Sprintf` for template values.

use std::fmt::{Result, Write};

use crate::number::{fixed, general, scientific};
use crate::quote::{quote, quote_char};
use crate::sink::Sink;
use crate::value::Value;

/// Widest field and highest precision; Go refuses more as well.
const WIDTH_MAX: usize = 1_000_000;

#[derive(Clone, Debug, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Writes `args` as `format` says; stops with an error when `out` is full.
pub(crate) fn format(out: &mut Sink, format: &str, args: &[Value]) -> Result {
    let mut args = args.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.write_str(before)?;
        let (spec, after) = spec(out, after, &mut args)?;
        let Some(verb) = after.chars().next() else { return out.write_str("%!(NOVERB)") };
        rest = &after[verb.len_utf8()..];
        if verb == '%' {
            out.write_char('%')?;
            continue;
        }
        match args.next() {
            Some(value) => put(out, &spec, verb, value)?,
            None => write!(out, "%!{verb}(MISSING)")?,
        }
    }
    out.write_str(rest)?;
    let extra: Vec<&Value> = args.collect();
    if extra.is_empty() {
        return Ok(());
    }
    out.write_str("%!(EXTRA ")?;
    for (i, value) in extra.into_iter().enumerate() {
        if i > 0 {
            out.write_str(", ")?;
        }
        typed(out, value)?;
    }
    out.write_char(')')
}

/// Flags, width and precision, and the rest of the format behind them.
fn spec<'a, 'v>(
    out: &mut Sink,
    format: &'a str,
    args: &mut impl Iterator<Item = &'v Value>,
) -> std::result::Result<(Spec, &'a str), std::fmt::Error> {
    let mut spec = Spec::default();
    let flags = format.len() - format.trim_start_matches(['-', '+', '#', ' ', '0']).len();
    for flag in format[..flags].chars() {
        match flag {
            '-' => spec.minus = true,
            '+' => spec.plus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            _ => spec.zero = true,
        }
    }
    let mut rest = &format[flags..];
    if let Some(after) = rest.strip_prefix('*') {
        rest = after;
        match args.next() {
            Some(Value::Int(width)) if width.unsigned_abs() <= WIDTH_MAX as u64 => {
                spec.minus |= *width < 0;
                spec.width = usize::try_from(width.unsigned_abs()).ok();
            }
            _ => out.write_str("%!(BADWIDTH)")?,
        }
    } else {
        (spec.width, rest) = digits(rest);
    }
    if let Some(after) = rest.strip_prefix('.') {
        if let Some(after) = after.strip_prefix('*') {
            rest = after;
            match args.next() {
                Some(Value::Int(precision)) if (0..=1_000_000).contains(precision) => {
                    spec.precision = usize::try_from(*precision).ok();
                }
                _ => out.write_str("%!(BADPREC)")?,
            }
        } else {
            let (precision, after) = digits(after);
            spec.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
    }
    // A minus pads on the right, where zeros would change the number.
    spec.zero &= !spec.minus;
    Ok((spec, rest))
}

fn digits(text: &str) -> (Option<usize>, &str) {
    let len = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..len].parse().ok().filter(|n| *n <= WIDTH_MAX), &text[len..])
}

fn put(out: &mut Sink, spec: &Spec, verb: char, value: &Value) -> Result {
    if verb == 'T' {
        return pad(out, spec, value.type_name());
    }
    match value {
        Value::Bool(value) if matches!(verb, 't' | 'v') => pad(out, spec, &value.to_string()),
        Value::Float(value) => match float(spec, verb, *value) {
            Some(text) => number(out, spec, &text),
            None => bad(out, verb, &Value::Float(*value)),
        },
        Value::Int(int) => match integer(spec, verb, *int) {
            Some(text) => number(out, spec, &text),
            None => bad(out, verb, value),
        },
        Value::Duration(ns) if !matches!(verb, 'v' | 's') => match integer(spec, verb, *ns) {
            Some(text) => number(out, spec, &text),
            None => bad(out, verb, value),
        },
        Value::Text(text) | Value::Html(text) => string(out, spec, verb, text, value),
        Value::List(values) => {
            out.write_char('[')?;
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.write_char(' ')?;
                }
                put(out, spec, verb, value)?;
            }
            out.write_char(']')
        }
        Value::Nil if verb == 'v' => pad(out, spec, "<nil>"),
        Value::Map(_) | Value::Time(_) | Value::Duration(_) if matches!(verb, 'v' | 's') => {
            let mut text = Sink::default();
            value.print(&mut text)?;
            pad(out, spec, text.as_str())
        }
        _ => bad(out, verb, value),
    }
}

fn typed(out: &mut Sink, value: &Value) -> Result {
    if *value == Value::Nil {
        return out.write_str("<nil>");
    }
    write!(out, "{}=", value.type_name())?;
    value.print(out)
}

fn bad(out: &mut Sink, verb: char, value: &Value) -> Result {
    write!(out, "%!{verb}(")?;
    typed(out, value)?;
    out.write_char(')')
}

/// A finite number never has this many digits worth writing; more precision only adds zeros.
fn precision(spec: &Spec, default: Option<usize>) -> Option<usize> {
    spec.precision.map_or(default, |precision| Some(precision.min(1_100)))
}

fn float(spec: &Spec, verb: char, value: f64) -> Option<String> {
    Some(match verb {
        'v' => general(value, precision(spec, None)),
        'g' => general(value, precision(spec, None)),
        'G' => general(value, precision(spec, None))
            .to_uppercase()
            .replace("INF", "Inf")
            .replace("NAN", "NaN"),
        'f' | 'F' => fixed(value, precision(spec, Some(6))),
        'e' => scientific(value, precision(spec, Some(6))),
        'E' => scientific(value, precision(spec, Some(6))).replace('e', "E"),
        _ => return None,
    })
}

fn integer(spec: &Spec, verb: char, value: i64) -> Option<String> {
    let sign = if value < 0 { "-" } else { "" };
    let digits = value.unsigned_abs();
    let prefix = |prefix: &'static str| if spec.sharp { prefix } else { "" };
    let (prefix, text) = match verb {
        'd' | 'v' => ("", digits.to_string()),
        'x' => (prefix("0x"), format!("{digits:x}")),
        'X' => (prefix("0X"), format!("{digits:X}")),
        'o' => (prefix("0"), format!("{digits:o}")),
        'O' => ("0o", format!("{digits:o}")),
        'b' => (prefix("0b"), format!("{digits:b}")),
        'c' => return Some(character(value).to_string()),
        'q' => return Some(quote_char(character(value))),
        'U' => return Some(format!("U+{digits:04X}")),
        _ => return None,
    };
    let zeros = spec.precision.unwrap_or(0).min(WIDTH_MAX).saturating_sub(text.len());
    Some(format!("{sign}{prefix}{}{text}", "0".repeat(zeros)))
}

fn character(code: i64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
}

fn string(out: &mut Sink, spec: &Spec, verb: char, text: &str, value: &Value) -> Result {
    let cut: String = match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match verb {
        'v' | 's' => pad(out, spec, &cut),
        'q' if spec.sharp && !cut.contains('`') => pad(out, spec, &format!("`{cut}`")),
        'q' => pad(out, spec, &quote(&cut)),
        'x' | 'X' => {
            let mut hex = String::with_capacity(cut.len() * 2);
            for byte in cut.bytes() {
                let done =
                    if verb == 'x' { write!(hex, "{byte:02x}") } else { write!(hex, "{byte:02X}") };
                done?;
            }
            pad(out, spec, &hex)
        }
        _ => bad(out, verb, value),
    }
}

/// Pads to the width, counted in characters, with spaces.
fn pad(out: &mut Sink, spec: &Spec, text: &str) -> Result {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        out.write_str(text)?;
        return fill(out, ' ', missing);
    }
    fill(out, if spec.zero { '0' } else { ' ' }, missing)?;
    out.write_str(text)
}

fn fill(out: &mut Sink, with: char, count: usize) -> Result {
    (0..count).try_for_each(|_| out.write_char(with))
}

/// Signs a number, and pads it with zeros behind the sign when asked to.
fn number(out: &mut Sink, spec: &Spec, text: &str) -> Result {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let endless = matches!(digits, "Inf" | "NaN");
    let sign = match sign {
        "-" => "-",
        // An infinite number always shows its sign.
        _ if spec.plus || (digits == "Inf" && !spec.space) => "+",
        _ if spec.space => " ",
        _ => "",
    };
    if !spec.zero || endless {
        let spaced = Spec { zero: false, ..spec.clone() };
        return pad(out, &spaced, &format!("{sign}{digits}"));
    }
    out.write_str(sign)?;
    let missing = spec.width.unwrap_or(0).saturating_sub(sign.len() + digits.chars().count());
    fill(out, '0', missing)?;
    out.write_str(digits)
}

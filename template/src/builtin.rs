//! Functions without context: Go's own, and those on text.

use std::cmp::Ordering;
use std::fmt::Write;
use std::net::IpAddr;

use model::regexp::{self, Regexp};
use regex::{Regex, RegexBuilder};

use crate::compare::{equal, equal_any, ordered};
use crate::function::{Refusal, expected, text};
use crate::quote::{html_escape, js_escape, query_escape};
use crate::sink::Sink;
use crate::value::{NESTING_MAX, Value};
use crate::{collection, duration, printf};

/// Largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// One of Go's own functions; `None` when `name` is not among them.
pub(crate) fn call(name: &str, args: &[Value]) -> Option<Result<Value, Refusal>> {
    let order = |wanted: &[Ordering]| {
        ordered(&args[0], &args[1], wanted).map(Value::Bool).map_err(Refusal::Wrong)
    };
    Some(match name {
        "eq" => equal_any(args).map(Value::Bool).map_err(Refusal::Wrong),
        "ne" => equal(&args[0], &args[1]).map(|same| Value::Bool(!same)).map_err(Refusal::Wrong),
        "lt" => order(&[Ordering::Less]),
        "le" => order(&[Ordering::Less, Ordering::Equal]),
        "gt" => order(&[Ordering::Greater]),
        "ge" => order(&[Ordering::Greater, Ordering::Equal]),
        "not" => Ok(Value::Bool(!args[0].truth())),
        "len" => len(&args[0]),
        "index" => index(args),
        "slice" => slice(args),
        "print" => printed(|out| print(out, args)),
        "println" => printed(|out| println(out, args)),
        "printf" => match text(&args[0]) {
            Ok(format) => printed(|out| printf::format(out, format, &args[1..])),
            Err(error) => Err(error.into()),
        },
        "html" => escaped(args, html_escape),
        "js" => escaped(args, js_escape),
        "urlquery" => escaped(args, query_escape),
        "args" => arguments(args),
        "list" | "stringSlice" => listed(args),
        "append" | "dict" | "join" | "date" | "toJson" => collection::call(name, args),
        "call" => Err(format!("non-function of type {}", args[0].type_name()).into()),
        _ => return None,
    })
}

/// A function whose arguments are all text.
pub(crate) fn text_call(name: &str, args: &[Value]) -> Result<Value, Refusal> {
    let first = text(&args[0])?;
    let out: String = match name {
        "toUpper" => first.to_uppercase(),
        "toLower" => first.to_lowercase(),
        "title" => title(first),
        "trimSpace" => first.trim().to_owned(),
        "stripPort" => split_host_port(first).map_or(first, |(host, _)| host).to_owned(),
        "stripDomain" => strip_domain(first),
        "urlQueryEscape" => query_escape(first),
        "urlUnescape" => query_unescape(first)?,
        "graphLink" => format!("/graph?g0.expr={}&g0.tab=0", query_escape(first)),
        "tableLink" => format!("/graph?g0.expr={}&g0.tab=1", query_escape(first)),
        "safeHtml" => return Ok(Value::Html(first.into())),
        "match" => return Ok(Value::Bool(pattern(first)?.regex.is_match(text(&args[1])?))),
        "reReplaceAll" => {
            let found = pattern(first);
            let found = found.map_err(|error| format!("regexp: Compile(`{first}`): {error}"))?;
            replace_all(&found, text(&args[1])?, text(&args[2])?)?
        }
        "parseDuration" => return Ok(Value::Float(seconds(first)?)),
        "parseDurationTime" => return Ok(Value::Duration(ms(first)?.saturating_mul(1_000_000))),
        _ => return Err(format!("{name:?} is not a defined function").into()),
    };
    Ok(Value::text(out))
}

fn printed(write: impl FnOnce(&mut Sink) -> std::fmt::Result) -> Result<Value, Refusal> {
    let mut out = Sink::default();
    write(&mut out)?;
    Ok(Value::text(out.into_text()))
}

/// Go's `Sprint`: a space between operands when neither is text.
fn print(out: &mut Sink, args: &[Value]) -> std::fmt::Result {
    let is_text = |v: &Value| matches!(v, Value::Text(_) | Value::Html(_));
    for (i, value) in args.iter().enumerate() {
        if i > 0 && !is_text(value) && !is_text(&args[i - 1]) {
            out.write_char(' ')?;
        }
        print_one(out, value)?;
    }
    Ok(())
}

/// Go's `Sprintln`: a space between all operands, a newline at the end.
fn println(out: &mut Sink, args: &[Value]) -> std::fmt::Result {
    for (i, value) in args.iter().enumerate() {
        if i > 0 {
            out.write_char(' ')?;
        }
        print_one(out, value)?;
    }
    out.write_char('\n')
}

fn print_one(out: &mut Sink, value: &Value) -> std::fmt::Result {
    if *value == Value::Nil { out.write_str("<nil>") } else { value.print(out) }
}

fn escaped(args: &[Value], escape: fn(&str) -> String) -> Result<Value, Refusal> {
    let mut out = Sink::default();
    print(&mut out, args)?;
    Ok(Value::text(escape(out.as_str())))
}

fn listed(args: &[Value]) -> Result<Value, Refusal> {
    if args.iter().any(|value| value.nesting() >= NESTING_MAX) {
        return Err(format!("values nest deeper than {NESTING_MAX}").into());
    }
    Ok(Value::list(args.to_vec()))
}

fn arguments(args: &[Value]) -> Result<Value, Refusal> {
    // Each `args` of an `args` is one level deeper: unbounded, dropping the value would overflow the stack.
    if args.iter().any(|value| value.nesting() >= NESTING_MAX) {
        return Err(format!("values nest deeper than {NESTING_MAX}").into());
    }
    let pairs = args.iter().enumerate().map(|(i, value)| (format!("arg{i}"), value.clone()));
    Ok(Value::map(pairs))
}

fn len(value: &Value) -> Result<Value, Refusal> {
    let len = match value {
        Value::Text(text) | Value::Html(text) => text.len(),
        Value::List(values) => values.len(),
        Value::Map(map) => map.entries().len(),
        other => return Err(format!("len of type {}", other.type_name()).into()),
    };
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

fn position(value: &Value, limit: usize) -> Result<usize, Refusal> {
    let Value::Int(index) = value else {
        return Err(format!("cannot index slice/array with type {}", value.type_name()).into());
    };
    usize::try_from(*index)
        .ok()
        .filter(|i| *i <= limit)
        .ok_or_else(|| format!("index out of range: {index}").into())
}

fn index(args: &[Value]) -> Result<Value, Refusal> {
    let mut at = args[0].clone();
    for key in &args[1..] {
        at = match &at {
            Value::Nil => return Err("index of untyped nil".into()),
            Value::Map(map) => {
                let name = text(key)?;
                map.field(name).ok_or_else(|| format!("no field {name:?}"))?
            }
            Value::List(values) => {
                let i = position(key, values.len())?;
                values.get(i).cloned().ok_or_else(|| format!("index out of range: {i}"))?
            }
            Value::Text(text) => {
                let i = position(key, text.len())?;
                let byte = text.as_bytes().get(i).copied();
                Value::Int(byte.map(i64::from).ok_or_else(|| format!("index out of range: {i}"))?)
            }
            other => return Err(format!("can't index item of type {}", other.type_name()).into()),
        };
    }
    Ok(at)
}

fn slice(args: &[Value]) -> Result<Value, Refusal> {
    let len = match &args[0] {
        Value::Text(text) => text.len(),
        Value::List(values) => values.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name()).into()),
    };
    let start = args.get(1).map_or(Ok(0), |value| position(value, len))?;
    let end = args.get(2).map_or(Ok(len), |value| position(value, len))?;
    if let Some(capacity) = args.get(3) {
        position(capacity, len)?;
    }
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}").into());
    }
    match &args[0] {
        Value::List(values) => Ok(Value::list(values[start..end].to_vec())),
        Value::Text(text) => match text.get(start..end) {
            Some(part) => Ok(Value::text(part)),
            None => Err("slice cuts a character in two".into()),
        },
        other => Err(expected("string or list", other).into()),
    }
}

fn ms(text: &str) -> Result<i64, String> {
    let (sign, length) = text.strip_prefix('-').map_or((1, text), |length| (-1, length));
    let ms = duration::parse_ms(length)
        .ok_or_else(|| format!("not a valid duration string: {text:?}"))?;
    Ok(sign * ms)
}

fn seconds(text: &str) -> Result<f64, String> {
    Ok(ms(text)? as f64 / 1000.0)
}

/// Go's `strings.Title`: the first letter of each word in capitals.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        let word_begins = if before.is_ascii() {
            !(before.is_ascii_alphanumeric() || before == '_')
        } else {
            !before.is_alphanumeric() && before.is_whitespace()
        };
        if word_begins {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        before = c;
    }
    out
}

/// Host and port of `host:port`, `[v6]:port`; `None` when there is no port or the text is ambiguous.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.strip_suffix(']').map(|host| (host, port));
    }
    (!host.contains([':', '[', ']']) && !port.contains([']', '['])).then_some((host, port))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = match split_host_port(text) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let name = host.split('.').next().unwrap_or(host);
    port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

fn query_unescape(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let code = std::str::from_utf8(&digits).ok().filter(|d| d.len() == 2);
                let code = code.and_then(|d| u8::from_str_radix(d, 16).ok());
                code.ok_or("invalid URL escape")?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "the unescaped text is not UTF-8".into())
}

/// A regular expression made ready.
struct Pattern {
    regex: Regex,
    form: Regexp,
}

/// Reads a regular expression as Go does; why it is none, in words.
fn pattern(written: &str) -> Result<Pattern, String> {
    let form = regexp::translate(written).map_err(|error| error.to_string())?;
    let built = RegexBuilder::new(&form.rust)
        .nest_limit(regexp::NEST_LIMIT)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build();
    let regex = built.map_err(|error| {
        // The crate draws the pattern over several lines; its last line alone says what is wrong.
        let drawn = error.to_string();
        let reason = drawn.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("bad regular expression {written:?}: {reason}")
    })?;
    Ok(Pattern { regex, form })
}

/// Every match replaced, with `$1`, `${name}` and `$$` in the replacement; stops as soon as the text is too long.
fn replace_all(pattern: &Pattern, replacement: &str, text: &str) -> Result<String, Refusal> {
    let mut out = Sink::default();
    let mut end = 0;
    for captures in pattern.regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.write_str(&text[end..whole.start()])?;
        let group = |i| captures.get(i).map(|group| group.as_str());
        pattern.form.expand(replacement, group, &mut out)?;
        end = whole.end();
    }
    out.write_str(&text[end..])?;
    Ok(out.into_text())
}

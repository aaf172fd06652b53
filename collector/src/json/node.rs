//! A place in a JSON document that knows its path, read by the types protobuf has.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;

/// What is wrong, and where: `$.resourceSpans[0].scopeSpans[1].spans[2].traceId: …`.
#[derive(Debug)]
pub(super) struct Fault {
    /// Steps from the place of the fault to the root.
    steps: Vec<String>,
    words: String,
}

impl Fault {
    fn new(words: String) -> Self {
        Self { steps: Vec::new(), words }
    }

    fn inside(mut self, step: String) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.steps.iter().rev().try_for_each(|step| f.write_str(step))?;
        write!(f, ": {}", self.words)
    }
}

/// A value in the document.
#[derive(Clone, Copy)]
pub(super) struct Node<'a>(&'a Value);

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self(value)
    }

    /// The value under `key` (or its snake_case form), `None` when absent or null.
    fn field(&self, key: &str) -> Result<Option<Self>, Fault> {
        let Value::Object(map) = self.0 else {
            return Err(Fault::new(format!("an object is expected, not {}", kind(self.0))));
        };
        let value = map.get(key).or_else(|| map.get(&snake_case(key)));
        Ok(value.filter(|value| !value.is_null()).map(Self))
    }

    fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Self) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(node) = self.field(key)? else { return Ok(None) };
        read(&node).map(Some).map_err(|fault| fault.inside(format!(".{key}")))
    }

    /// A message, `None` when absent.
    pub(super) fn message<T>(
        &self,
        key: &str,
        read: impl Fn(&Self) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.read(key, read)
    }

    /// A repeated field, empty when absent.
    pub(super) fn each<T>(
        &self,
        key: &str,
        read: impl Fn(&Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let items = self.read(key, |node| {
            let Value::Array(items) = node.0 else {
                return Err(Fault::new(format!("an array is expected, not {}", kind(node.0))));
            };
            let one = |(i, item)| read(&Self(item)).map_err(|fault| fault.inside(format!("[{i}]")));
            items.iter().enumerate().map(one).collect()
        })?;
        Ok(items.unwrap_or_default())
    }

    /// Text, empty when absent.
    pub(super) fn text(&self, key: &str) -> Result<String, Fault> {
        Ok(self.read(key, Self::as_text)?.unwrap_or_default())
    }

    /// A truth value, false when absent.
    pub(super) fn truth(&self, key: &str) -> Result<bool, Fault> {
        Ok(self.read(key, Self::as_truth)?.unwrap_or_default())
    }

    /// An unsigned integer, 0 when absent.
    pub(super) fn u64(&self, key: &str) -> Result<u64, Fault> {
        Ok(self.read(key, Self::as_u64)?.unwrap_or_default())
    }

    /// Likewise of 32 bits.
    pub(super) fn u32(&self, key: &str) -> Result<u32, Fault> {
        let narrow = |node: &Self| {
            u32::try_from(node.as_u64()?).map_err(|_| Fault::new("it exceeds 32 bits".to_owned()))
        };
        Ok(self.read(key, narrow)?.unwrap_or_default())
    }

    /// A signed integer of 32 bits, 0 when absent.
    pub(super) fn i32(&self, key: &str) -> Result<i32, Fault> {
        Ok(self.read(key, Self::as_i32)?.unwrap_or_default())
    }

    /// A double, `None` when absent.
    pub(super) fn double(&self, key: &str) -> Result<Option<f64>, Fault> {
        self.read(key, Self::as_double)
    }

    /// An id in hexadecimal, empty when absent. Its length is judged with the record it belongs to.
    pub(super) fn id(&self, key: &str) -> Result<Vec<u8>, Fault> {
        let id = self.read(key, |node| {
            let text = node.as_text()?;
            unhex(&text).ok_or_else(|| {
                Fault::new(format!("`{}` is no hexadecimal id", crate::series::crop(&text)))
            })
        })?;
        Ok(id.unwrap_or_default())
    }

    /// An enum as integer or by name (`named` knows the names), 0 when absent.
    pub(super) fn code(&self, key: &str, named: fn(&str) -> Option<i32>) -> Result<i32, Fault> {
        let code = self.read(key, |node| match node.0 {
            Value::String(name) => match named(name) {
                Some(code) => Ok(code),
                None => node.as_i32(),
            },
            _ => node.as_i32(),
        })?;
        Ok(code.unwrap_or_default())
    }

    pub(super) fn as_text(&self) -> Result<String, Fault> {
        match self.0 {
            Value::String(text) => Ok(text.clone()),
            other => Err(Fault::new(format!("text is expected, not {}", kind(other)))),
        }
    }

    pub(super) fn as_truth(&self) -> Result<bool, Fault> {
        match self.0 {
            Value::Bool(truth) => Ok(*truth),
            other => Err(Fault::new(format!("true or false is expected, not {}", kind(other)))),
        }
    }

    /// 64-bit integers come as text, since JavaScript's numbers cannot hold them, or as numbers.
    pub(super) fn as_u64(&self) -> Result<u64, Fault> {
        let number = match self.0 {
            Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.no_integer("an unsigned integer"))
    }

    pub(super) fn as_i64(&self) -> Result<i64, Fault> {
        let number = match self.0 {
            Value::Number(number) => number.as_i64().or_else(|| {
                let double = number.as_f64()?;
                let size = i64::try_from(whole(double.abs())?).ok()?;
                Some(if double < 0.0 { -size } else { size })
            }),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.no_integer("an integer"))
    }

    fn as_i32(&self) -> Result<i32, Fault> {
        i32::try_from(self.as_i64()?).map_err(|_| Fault::new("it exceeds 32 bits".to_owned()))
    }

    pub(super) fn as_double(&self) -> Result<f64, Fault> {
        let number = match self.0 {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" | "+Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                    text.parse().ok()
                }
                _ => None,
            },
            _ => None,
        };
        number.ok_or_else(|| {
            Fault::new(format!("a number is expected, or \"NaN\", not {}", self.shown()))
        })
    }

    /// Bytes in base64, of either alphabet, padded or not.
    pub(super) fn as_bytes(&self) -> Result<Vec<u8>, Fault> {
        let text = self.as_text()?;
        let standard = STANDARD.decode(&text).or_else(|_| STANDARD_NO_PAD.decode(&text));
        let any = standard.or_else(|_| URL_SAFE.decode(&text));
        any.or_else(|_| URL_SAFE_NO_PAD.decode(&text))
            .map_err(|cause| Fault::new(format!("the text is no base64: {cause}")))
    }

    fn no_integer(&self, expected: &str) -> Fault {
        Fault::new(format!(
            "{expected} is expected, as a number or in quotes, not {}",
            self.shown()
        ))
    }

    fn shown(&self) -> String {
        match self.0 {
            Value::String(text) => format!("\"{}\"", crate::series::crop(text)),
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        }
    }
}

/// The integer that a double is, below 2^53 so that no digit was lost.
fn whole(double: f64) -> Option<u64> {
    let is_whole = double.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&double);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked just above"
    )]
    is_whole.then_some(double as u64)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn snake_case(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    text.as_bytes().chunks_exact(2).map(pair).collect()
}

//! XML-RPC values (xmlrpc.com/spec) as supervisord writes them: a strict reader of that much XML and no more. No entities
//! but the five, no doctype, bounded in depth.

use std::collections::BTreeMap;

/// Depth of values in each other.
const DEPTH_MAX: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    List(Vec<Self>),
    Fields(BTreeMap<String, Self>),
}

impl Value {
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Fields(fields) => fields.get(name),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) const fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// The one value of a `methodResponse`, and whether it is a fault.
pub(super) fn read(text: &str) -> Result<(Value, bool), String> {
    let mut reader = Reader { rest: text.trim() };
    if let Some(rest) = reader.rest.strip_prefix("<?xml") {
        reader.rest = rest.split_once("?>").ok_or("the answer is no XML")?.1;
    }
    reader.open("methodResponse")?;
    let is_fault = reader.is_next("fault");
    let outer: &[&str] = if is_fault { &["fault"] } else { &["params", "param"] };
    for name in outer {
        reader.open(name)?;
    }
    let value = reader.value(0)?;
    for name in outer.iter().rev() {
        reader.close(name)?;
    }
    reader.close("methodResponse")?;
    if reader.rest.trim().is_empty() {
        Ok((value, is_fault))
    } else {
        Err(reader.complaint("the end"))
    }
}

/// What is left to read.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn complaint(&self, wanted: &str) -> String {
        let found = crate::journal::record::cut(self.rest.trim_start(), 40);
        format!("its XML-RPC has {found:?} where {wanted} should be")
    }

    fn take(&mut self, tag: &str) -> bool {
        match self.rest.trim_start().strip_prefix(tag) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn is_next(&self, name: &str) -> bool {
        self.rest.trim_start().starts_with(&format!("<{name}>"))
    }

    fn open(&mut self, name: &str) -> Result<(), String> {
        let tag = format!("<{name}>");
        if self.take(&tag) { Ok(()) } else { Err(self.complaint(&tag)) }
    }

    fn close(&mut self, name: &str) -> Result<(), String> {
        let tag = format!("</{name}>");
        if self.take(&tag) { Ok(()) } else { Err(self.complaint(&tag)) }
    }

    /// Text up to the next tag.
    fn text(&mut self) -> Result<String, String> {
        let end = self.rest.find('<').ok_or_else(|| self.complaint("a tag"))?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        unescaped(text)
    }

    fn element(&mut self, name: &str) -> Result<String, String> {
        self.open(name)?;
        let text = self.text()?;
        self.close(name)?;
        Ok(text)
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err("its XML-RPC is too deep".to_owned());
        }
        if self.take("<value/>") {
            return Ok(Value::Text(String::new()));
        }
        self.open("value")?;
        let value = self.content(depth)?;
        self.close("value")?;
        Ok(value)
    }

    fn content(&mut self, depth: usize) -> Result<Value, String> {
        for name in ["int", "i4", "i8", "boolean"] {
            if self.is_next(name) {
                let text = self.element(name)?;
                let number = text.trim().parse();
                return number.map(Value::Number).map_err(|_| format!("{text:?} is no number"));
            }
        }
        for name in ["string", "double", "dateTime.iso8601", "base64"] {
            if self.is_next(name) {
                return self.element(name).map(Value::Text);
            }
            if self.take(&format!("<{name}/>")) {
                return Ok(Value::Text(String::new()));
            }
        }
        if self.is_next("array") {
            return self.list(depth);
        }
        if self.is_next("struct") {
            return self.fields(depth);
        }
        if self.take("<nil/>") {
            return Ok(Value::Text(String::new()));
        }
        self.text().map(Value::Text) // Without a type it is a string.
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        self.open("array")?;
        let mut all = Vec::new();
        if !self.take("<data/>") {
            self.open("data")?;
            while !self.take("</data>") {
                all.push(self.value(depth + 1)?);
            }
        }
        self.close("array")?;
        Ok(Value::List(all))
    }

    fn fields(&mut self, depth: usize) -> Result<Value, String> {
        self.open("struct")?;
        let mut fields = BTreeMap::new();
        while !self.take("</struct>") {
            self.open("member")?;
            let name = self.element("name")?;
            let value = self.value(depth + 1)?;
            self.close("member")?;
            fields.insert(name, value);
        }
        Ok(Value::Fields(fields))
    }
}

fn unescaped(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, after) = after.split_once(';').ok_or("an entity of its XML is not closed")?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => {
                let number = other.strip_prefix('#').ok_or("its XML has an unknown entity")?;
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                let code = code.ok().and_then(char::from_u32);
                code.ok_or("its XML has a character that is none")?
            }
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(value: &str) -> String {
        format!("<methodResponse><params><param>{value}</param></params></methodResponse>")
    }

    #[test]
    fn values_of_all_kinds_are_read() {
        let text = response(
            "<value><struct><member><name>a</name><value><array><data><value><i4>-3</i4></value>\
             <value> x &amp; y&#33; </value><value><string/></value><value/><value><nil/></value></data></array></value></member></struct></value>",
        );
        let list = ["-3", " x & y! ", "", "", ""];
        let list = list
            .map(|text| text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Number));
        let wanted = Value::Fields([("a".to_owned(), Value::List(list.to_vec()))].into());
        assert_eq!(read(&text).unwrap(), (wanted, false));
        let deep = format!(
            "{}{}",
            "<value><array><data>".repeat(40),
            "</data></array></value>".repeat(40)
        );
        assert!(read(&response(&deep)).unwrap_err().contains("too deep"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<(/)?(value|array|data|struct|member|name|int)>|[a-z&;#0-9 ]){0,60}") {
            drop(read(&text));
            drop(read(&response(&text)));
        }
    }
}

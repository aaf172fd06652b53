//! The published OpenAPI document of Prometheus, and a check of answers against the part of JSON schema it uses.

use std::path::PathBuf;

use serde_json::Value;

/// The document; `None` where the checkout has no data beside it.
pub(crate) fn document() -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/prometheus/openapi/openapi_3.2_golden.yaml");
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_saphyr::from_str(&text).expect("the document is YAML"))
}

/// Where `value` is not what `schema` of `document` asks for, in words with a path; empty when it is.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut checker = Checker { document, faults: Vec::new() };
    checker.check(schema, value, "$");
    checker.faults
}

struct Checker<'a> {
    document: &'a Value,
    faults: Vec<String>,
}

impl Checker<'_> {
    fn fault(&mut self, at: &str, words: impl std::fmt::Display) {
        self.faults.push(format!("{at}: {words}"));
    }

    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("references stay in the document");
            let target = self.document.pointer(pointer).cloned();
            let target = target.unwrap_or_else(|| panic!("{reference} is not there"));
            return self.check(&target, value, at);
        }
        if let Some(kind) = schema["type"].as_str()
            && !is(kind, value)
        {
            return self.fault(at, format!("{value} is no {kind}"));
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            self.fault(at, format!("{value} is none of {allowed:?}"));
        }
        if schema["format"] == "date-time" {
            let text = value.as_str().unwrap_or_default();
            if text.len() < 20 || &text[10..11] != "T" || !text.ends_with('Z') {
                self.fault(at, format!("{text} is no time"));
            }
        }
        self.check_choice(schema, value, at);
        match value {
            Value::Object(fields) => self.check_fields(schema, fields, at),
            Value::Array(items) => {
                let bound = |name: &str| schema[name].as_u64().and_then(|n| n.try_into().ok());
                if bound("minItems").is_some_and(|min: usize| items.len() < min)
                    || bound("maxItems").is_some_and(|max| items.len() > max)
                {
                    self.fault(at, format!("{} items", items.len()));
                }
                for (i, item) in items.iter().enumerate().filter(|_| schema["items"].is_object()) {
                    self.check(&schema["items"], item, &format!("{at}[{i}]"));
                }
            }
            _ => {}
        }
    }

    fn check_choice(&mut self, schema: &Value, value: &Value, at: &str) {
        for (word, one) in [("anyOf", false), ("oneOf", true)] {
            let Some(choices) = schema[word].as_array() else { continue };
            let tried = choices.iter().map(|choice| faults(self.document, choice, value));
            let tried: Vec<_> = tried.collect();
            let n_fitting = tried.iter().filter(|faults| faults.is_empty()).count();
            if n_fitting == 0 || (one && n_fitting > 1) {
                self.fault(at, format!("fits {n_fitting} of {word}: {tried:?}"));
            }
        }
    }

    fn check_fields(&mut self, schema: &Value, fields: &serde_json::Map<String, Value>, at: &str) {
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().expect("names are texts");
            if !fields.contains_key(name) {
                self.fault(at, format!("`{name}` is missing"));
            }
        }
        for (name, field) in fields {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (known, _) if known.is_object() => self.check(known, field, &at),
                (_, Value::Bool(false)) => self.fault(&at, "not in the schema"),
                (_, more) if more.is_object() => self.check(more, field, &at),
                _ => {}
            }
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        _ => panic!("the type {kind} is not known to this check"),
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let document = serde_json::json!({"s": {
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "array", "minItems": 1, "items": {
            "oneOf": [{"type": "string", "enum": ["x"]}, {"type": "integer"}]}}},
    }});
    let check = |value: Value| faults(&document, &serde_json::json!({"$ref": "#/s"}), &value).len();
    assert_eq!(check(serde_json::json!({"a": ["x", 1]})), 0);
    for wrong in [
        serde_json::json!([]),
        serde_json::json!({}),
        serde_json::json!({"a": []}),
        serde_json::json!({"a": ["y"]}),
        serde_json::json!({"a": [1.5]}),
        serde_json::json!({"a": [1], "b": 2}),
    ] {
        assert_eq!(check(wrong.clone()), 1, "{wrong}");
    }
}

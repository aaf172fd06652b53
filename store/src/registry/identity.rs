//! Identities: hashes of canonical bytes (`docs/format/segment.md`), the same in every process and for ever.

use std::cell::RefCell;

use model::attribute::{Attribute, AttributeValue};
use model::id::{ResourceId, TenantId};
use model::metric::SeriesDef;
use xxhash_rust::xxh3::xxh3_64;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// xxh3-64 of the canonical bytes of a series (`docs/format/segment.md`).
pub(super) fn series_hash(tenant: TenantId, def: &SeriesDef) -> u64 {
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        out.extend_from_slice(&tenant.0.to_le_bytes());
        out.extend_from_slice(&def.resource_id.0.to_le_bytes());
        put_text(out, &def.metric);
        for (name, value) in def.labels.iter() {
            put_text(out, name);
            put_text(out, value);
        }
        xxh3_64(out)
    })
}

/// Identity of a resource: xxh3-64 of its attributes, sorted by key, in canonical bytes (`docs/format/segment.md`).
#[must_use]
pub fn resource_id(attributes: &[Attribute]) -> ResourceId {
    let mut sorted: Vec<&Attribute> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut out = Vec::with_capacity(256);
    for attribute in sorted {
        put_text(&mut out, &attribute.key);
        put_value(&mut out, &attribute.value);
    }
    ResourceId(xxh3_64(&out))
}

fn put_value(out: &mut Vec<u8>, value: &AttributeValue) {
    match value {
        AttributeValue::Str(text) => {
            out.push(1);
            put_text(out, text);
        }
        AttributeValue::Bool(truth) => out.extend_from_slice(&[2, u8::from(*truth)]),
        AttributeValue::Int(number) => {
            out.push(3);
            out.extend_from_slice(&number.to_le_bytes());
        }
        AttributeValue::Double(number) => {
            out.push(4);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        AttributeValue::Bytes(bytes) => {
            out.push(5);
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        AttributeValue::Array(items) => {
            out.push(6);
            out.extend_from_slice(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| put_value(out, item));
        }
        AttributeValue::Map(entries) => {
            out.push(7);
            out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
            for entry in entries {
                put_text(out, &entry.key);
                put_value(out, &entry.value);
            }
        }
    }
}

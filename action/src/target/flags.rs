//! Feature flags that we serve ourselves, so that an application can be told to do without something. Their definitions
//! are documents; what differs from the default is in a file, whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Driver, Failure, Order, RetryClass};
use crate::error::Error;
use crate::plan::{Change, Member};
use crate::runbook::{Target, hex};

/// The field of a flag that can be set.
const FIELD: &str = "variant";

/// A flag as it is defined.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Values by their names; all of one type.
    pub variants: BTreeMap<String, Value>,
    /// The variant while nothing else is set.
    #[serde(deserialize_with = "quoted")]
    pub default: String,
}

fn quoted<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match Value::deserialize(from)? {
        Value::String(name) => Ok(name),
        other => Err(serde::de::Error::custom(format!("default: {}", unquoted(&other)))),
    }
}

/// What is said of a name that YAML has taken for something else.
pub(crate) fn unquoted(found: &Value) -> String {
    format!("{found} is no name; put names in quotes, YAML reads on and off as true and false")
}

impl Flag {
    /// Says what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.variants.contains_key(&self.default) {
            let known: Vec<&str> = self.variants.keys().map(String::as_str).collect();
            return Err(format!("default: {:?} is none of {}", self.default, known.join(", ")));
        }
        let kind = |value: &Value| std::mem::discriminant(value);
        let mut kinds = self.variants.values().map(kind);
        let first = kinds.next();
        if kinds.any(|other| Some(other) != first) {
            return Err(
                "variants: an application asks for one type, these are of several".to_owned()
            );
        }
        if self.variants.values().any(Value::is_null) {
            return Err("variants: null is no value".to_owned());
        }
        Ok(())
    }
}

/// What a flag is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// The variant this is of.
    pub variant: String,
    /// Whether it is not the default.
    pub is_held: bool,
}

/// All flags.
pub struct Flags {
    defined: BTreeMap<String, Flag>,
    path: PathBuf,
    /// Variants that are not the default.
    set: Mutex<BTreeMap<String, String>>,
}

impl Flags {
    /// Flags as `defined`, with what the file in `dir` says of them. What is no longer defined is dropped.
    pub(crate) fn open(defined: BTreeMap<String, Flag>, dir: &Path) -> Result<Arc<Self>, Error> {
        let path = dir.join("flags.json");
        let mut set: BTreeMap<String, String> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| Error::Corrupt {
                path: path.clone(),
                at: 0,
                problem: "it holds no flags",
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        set.retain(|name, variant| {
            defined.get(name).is_some_and(|flag| flag.variants.contains_key(variant))
        });
        Ok(Arc::new(Self { defined, path, set: Mutex::new(set) }))
    }

    /// What a flag is; `None` when there is none of this name.
    #[must_use]
    pub fn evaluate(&self, key: &str) -> Option<Evaluation> {
        let flag = self.defined.get(key)?;
        let set = self.lock().get(key).cloned();
        let is_held = set.as_ref().is_some_and(|variant| *variant != flag.default);
        let variant = set.unwrap_or_else(|| flag.default.clone());
        let value = flag.variants.get(&variant)?.clone();
        Some(Evaluation { key: key.to_owned(), value, variant, is_held })
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Evaluation> {
        self.defined.keys().filter_map(|key| self.evaluate(key)).collect()
    }

    /// The same text as long as all of them are the same.
    #[must_use]
    pub fn tag(&self) -> String {
        let all = serde_json::to_vec(&(&self.defined, &*self.lock())).unwrap_or_default();
        hex(&Sha256::digest(all))[..32].to_owned()
    }

    fn change(&self, change: &Change) -> Result<(), String> {
        let Change { member, field, value, .. } = change;
        let flag = self.defined.get(member).filter(|_| field == FIELD);
        let flag = flag.ok_or_else(|| format!("there is no flag {member}"))?;
        if !flag.variants.contains_key(value) {
            return Err(format!("flag {member} has no variant {value}"));
        }
        let mut set = self.lock();
        let mut next = set.clone();
        if *value == flag.default {
            next.remove(member);
        } else {
            next.insert(member.clone(), value.clone());
        }
        super::persist(&self.path, &next)
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        *set = next;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets flags.
pub(crate) struct FlagDriver(pub(crate) Arc<Flags>);

impl Driver for FlagDriver {
    fn class(&self, _: &Target) -> RetryClass {
        RetryClass::Set
    }

    fn observe<'a>(
        &'a self,
        _: &'a Target,
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        let field = |value: &str| BTreeMap::from([(FIELD.to_owned(), value.to_owned())]);
        let member = |one: Evaluation| Member {
            fields: field(&one.variant),
            configured: field(&self.0.defined[&one.key].default),
            name: one.key,
            up: true,
            serving: true,
            sessions: 0,
            owner: None,
        };
        let members = self.0.all().into_iter().map(member).collect();
        Box::pin(async move { Ok(members) })
    }

    fn apply<'a>(
        &'a self,
        _: &'a Target,
        Order { change, .. }: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (flags, change) = (Arc::clone(&self.0), change.clone());
            let written = tokio::task::spawn_blocking(move || flags.change(&change)).await;
            written.map_err(|error| error.to_string())?.map_err(Failure::Refused)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flag(on: &Value, off: &Value) -> Flag {
        let variants = [("on", on), ("off", off)].map(|(n, v)| (n.to_owned(), v.clone()));
        Flag { variants: variants.into(), default: "off".to_owned() }
    }

    fn change(member: &str, value: &str) -> Change {
        let (member, value) = (member.to_owned(), value.to_owned());
        Change { member, field: FIELD.to_owned(), before: String::new(), value }
    }

    #[test]
    fn what_is_set_survives_a_restart_and_ends_with_its_definition() {
        let dir = tempfile::tempdir().unwrap();
        let defined = BTreeMap::from([("a".to_owned(), flag(&json!(true), &json!(false)))]);
        let flags = Flags::open(defined.clone(), dir.path()).unwrap();
        let (tag, before) = (flags.tag(), flags.evaluate("a").unwrap());
        assert_eq!((before.value, before.is_held), (json!(false), false));
        flags.change(&change("a", "on")).unwrap();
        assert_ne!(flags.tag(), tag);
        let again = Flags::open(defined.clone(), dir.path()).unwrap();
        let now = again.evaluate("a").unwrap();
        assert_eq!((now.value, &*now.variant, now.is_held), (json!(true), "on", true));
        assert_eq!(again.evaluate("b"), None);
        for (name, variant) in [("b", "on"), ("a", "maybe")] {
            assert!(again.change(&change(name, variant)).is_err());
        }
        again.change(&change("a", "off")).unwrap();
        assert_eq!(again.tag(), tag);
        again.change(&change("a", "on")).unwrap();
        assert!(Flags::open(BTreeMap::new(), dir.path()).unwrap().all().is_empty());
        fs::write(dir.path().join("flags.json"), "{").unwrap();
        assert!(Flags::open(defined, dir.path()).is_err());
    }

    #[test]
    fn definitions_are_checked() {
        assert!(flag(&json!(true), &json!(false)).check().is_ok());
        assert!(flag(&json!(true), &json!("no")).check().unwrap_err().contains("one type"));
        assert!(flag(&json!(null), &json!(null)).check().unwrap_err().contains("null"));
        let flag = Flag { default: "x".to_owned(), ..flag(&json!(1), &json!(2)) };
        assert!(flag.check().unwrap_err().contains("none of off, on"));
    }
}

//! What a step asks of a driver, read from its parameters. What is not understood is refused.

use serde_json::Value;

use crate::plan::Wish;
use crate::runbook::{DriverKind, Step};

/// Most replicas that may be asked for.
const REPLICAS_MAX: u64 = 10_000;

/// What a driver does, as told to people.
const fn does(driver: DriverKind) -> &'static str {
    match driver {
        DriverKind::Supervisor => "supervisor.start and supervisor.stop",
        DriverKind::Flags => "flag.set",
        DriverKind::Haproxy => "haproxy.weight and haproxy.state, or haproxy.map",
        DriverKind::Redis => "redis.switchover",
        DriverKind::Patroni => "patroni.switchover",
        DriverKind::Kubernetes => "kubernetes.scale and kubernetes.restart",
        DriverKind::Webhook => "webhook.call",
        #[cfg(test)]
        DriverKind::Test => "test.bump",
    }
}

impl Step {
    /// The one parameter it has.
    fn only(&self, name: &str) -> Result<&Value, String> {
        self.known(&[name])?;
        self.with.get(name).ok_or_else(|| format!("{} needs `with: {{{name}: …}}`", self.action))
    }

    /// Refuses parameters that are not `names`.
    fn known(&self, names: &[&str]) -> Result<(), String> {
        match self.with.keys().find(|key| !names.contains(&key.as_str())) {
            Some(other) => Err(format!("`{other}` is not for {}", self.action)),
            None => Ok(()),
        }
    }

    /// A whole number within bounds.
    fn count(&self, name: &str, default: u64) -> Result<u64, String> {
        let Some(value) = self.with.get(name) else { return Ok(default) };
        let count = value.as_u64().filter(|n| *n <= REPLICAS_MAX);
        count.ok_or_else(|| format!("{name} is a whole number from 0 to {REPLICAS_MAX}"))
    }
}

fn value(field: &str, value: impl Into<String>) -> Wish {
    Wish::Value { field: field.to_owned(), value: value.into() }
}

impl Wish {
    /// What `step` asks of a driver.
    pub(crate) fn of(step: &Step, driver: DriverKind) -> Result<Self, String> {
        match (driver, step.action.as_str()) {
            (DriverKind::Haproxy, "haproxy.weight") => {
                let percent = step.only("percent")?.as_u64().filter(|n| *n <= 100);
                let percent = percent.and_then(|n| u32::try_from(n).ok());
                let percent = percent.ok_or("percent is a number from 0 to 100")?;
                Ok(Self::Percent { field: "weight".to_owned(), percent })
            }
            (DriverKind::Haproxy, "haproxy.state") => {
                let state = step.only("state")?.as_str().filter(|s| ["drain", "maint"].contains(s));
                Ok(value("state", state.ok_or("state is drain or maint")?))
            }
            (DriverKind::Haproxy, "haproxy.map") => {
                let found = match step.only("value")? {
                    Value::String(word) => word.clone(),
                    Value::Number(number) => number.to_string(),
                    other => return Err(format!("value: {}", crate::flags::unquoted(other))),
                };
                if !crate::target::haproxy::map::is_word(&found) {
                    return Err("value is one word of at most 200 bytes".to_owned());
                }
                Ok(value("value", found))
            }
            (DriverKind::Flags, "flag.set") => match step.only("variant")? {
                Value::String(name) => Ok(value("variant", name)),
                other => Err(format!("variant: {}", crate::flags::unquoted(other))),
            },
            (DriverKind::Supervisor, "supervisor.start" | "supervisor.stop") => {
                step.known(&[])?;
                let is_start = step.action.ends_with("start");
                Ok(value("state", if is_start { "running" } else { "stopped" }))
            }
            (DriverKind::Patroni, "patroni.switchover")
            | (DriverKind::Redis, "redis.switchover") => {
                step.known(&[])?;
                Ok(value("role", "replica"))
            }
            (DriverKind::Kubernetes, "kubernetes.scale") => scale(step),
            (DriverKind::Kubernetes, "kubernetes.restart") => {
                step.known(&[])?;
                // The same incident restarts it once.
                Ok(value("restarted_for", "{{ incident }}"))
            }
            (DriverKind::Webhook, "webhook.call") => {
                let state = step.only("state")?.as_str().filter(|s| is_word(s));
                Ok(value("state", state.ok_or("state is a word of at most 100 bytes")?))
            }
            #[cfg(test)]
            (DriverKind::Test, "test.bump") => {
                Ok(value("value", step.only("to")?.as_str().unwrap_or_default()))
            }
            (driver, other) => {
                let does = does(driver);
                Err(format!("`{other}` is nothing this driver does: it does {does}"))
            }
        }
    }
}

/// Whether `text` is something that a receiver can be asked to be.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 100 && !text.chars().any(char::is_control)
}

/// `{to: 5}`, or `{by: 2, max: 10}` and `{by: -2, min: 3}`.
fn scale(step: &Step) -> Result<Wish, String> {
    let field = "replicas".to_owned();
    if step.with.contains_key("to") {
        step.only("to")?;
        return Ok(value("replicas", step.count("to", 0)?.to_string()));
    }
    step.known(&["by", "min", "max"])?;
    let by = step.with.get("by").and_then(Value::as_i64).filter(|by| *by != 0);
    let by = by.filter(|by| by.unsigned_abs() <= REPLICAS_MAX);
    let by = by.ok_or("kubernetes.scale needs `to`, or `by` with `max` or `min`")?;
    let bound = if by > 0 { "max" } else { "min" };
    if !step.with.contains_key(bound) {
        return Err(format!("kubernetes.scale by {by} needs a `{bound}`"));
    }
    let (min, max) = (step.count("min", 1)?, step.count("max", REPLICAS_MAX)?);
    if min == 0 || min > max {
        return Err("min is at least 1 and not above max".to_owned());
    }
    Ok(Wish::Add { field, by, min, max })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::Member;

    fn wish(action: &str, with: &str) -> Result<Wish, String> {
        let text = format!("{{\"id\": \"a\", \"do\": \"{action}\", \"with\": {with}}}");
        let step: Step = serde_json::from_str(&text).unwrap();
        Wish::of(&step, DriverKind::Kubernetes)
    }

    fn scaled(with: &str, from: &str) -> Result<String, String> {
        let fields = BTreeMap::from([("replicas".to_owned(), from.to_owned())]);
        let member = Member { name: "web".to_owned(), fields, ..Member::default() };
        wish("kubernetes.scale", with)?.change(&member).map(|change| change.value)
    }

    #[test]
    fn replicas_are_counted_within_bounds_and_never_the_other_way() {
        assert_eq!(scaled(r#"{"to": 7}"#, "3").unwrap(), "7");
        assert_eq!(scaled(r#"{"by": 2, "max": 10}"#, "3").unwrap(), "5");
        assert_eq!(scaled(r#"{"by": 5, "max": 6}"#, "3").unwrap(), "6");
        assert_eq!(scaled(r#"{"by": -5, "min": 2}"#, "3").unwrap(), "2");
        // More than the bound already: more is not fewer.
        for (with, from) in [(r#"{"by": 2, "max": 3}"#, "8"), (r#"{"by": -1, "min": 3}"#, "1")] {
            assert!(scaled(with, from).unwrap_err().contains("already"));
        }
        for bad in [
            "{}",
            r#"{"by": 2}"#,
            r#"{"by": 0, "max": 3}"#,
            r#"{"by": -2, "max": 3}"#,
            r#"{"by": -2, "min": 0}"#,
            r#"{"to": -1}"#,
            r#"{"to": 1000000}"#,
            r#"{"to": 1, "by": 1}"#,
            r#"{"replicas": 1}"#,
        ] {
            assert!(wish("kubernetes.scale", bad).is_err(), "{bad}");
        }
        assert!(scaled(r#"{"by": 2, "max": 9}"#, "many").unwrap_err().contains("no number"));
    }
}

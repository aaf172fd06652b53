//! Reads and checks files of targets and runbooks.

use std::collections::BTreeMap;
use std::path::Path;

use model::metric::Labels;
use serde::Deserialize;
use serde_json::Value;

use super::{DriverKind, Runbook, Target, hash_of};
use crate::address::Allowed;
use crate::duration;
use crate::plan::{Wish, is_lasting};
use crate::receiver::Condition;
use crate::target;
use crate::target::flags::Flag;

/// Longest file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Everything that was read.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) targets: BTreeMap<String, Target>,
    pub(crate) runbooks: BTreeMap<String, Bound>,
    pub(crate) flags: BTreeMap<String, Flag>,
}

/// A runbook with its conditions made ready.
pub(crate) struct Bound {
    pub(crate) runbook: Runbook,
    conditions: Vec<Condition>,
}

impl Bound {
    /// Whether it is meant for an alert with these labels.
    pub(crate) fn wants(&self, labels: &Labels) -> bool {
        self.conditions.iter().all(|condition| condition.holds(labels))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    version: Option<String>,
    kind: String,
    metadata: Metadata,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    #[serde(default)]
    #[expect(dead_code, reason = "labels are for people and other tools")]
    labels: BTreeMap<String, String>,
}

/// Reads every file; `check` says what is wrong with a query.
pub(crate) fn read(
    files: &[impl AsRef<Path>],
    allowed: &Allowed,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<Book, String> {
    let mut book = Book::default();
    for file in files {
        let file = file.as_ref();
        let wrong = |problem: String| format!("{}: {problem}", file.display());
        let len = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
        if len > FILE_BYTES_MAX {
            return Err(wrong(format!("{len} bytes, at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        add(&mut book, &text, allowed).map_err(wrong)?;
    }
    for bound in book.runbooks.values() {
        let runbook = &bound.runbook;
        check_runbook(&book, runbook, check)
            .map_err(|problem| format!("runbook {}: {problem}", runbook.name))?;
    }
    Ok(book)
}

fn add(book: &mut Book, text: &str, allowed: &Allowed) -> Result<(), String> {
    let documents: Vec<Document> =
        serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    for document in documents {
        let Document { version, kind, metadata, spec } = document;
        let name = metadata.name;
        let at = |problem: String| format!("{kind} {name}: {problem}");
        if version.as_deref().is_some_and(|version| version != "headrope/v1") {
            return Err(at("apiVersion is not headrope/v1".to_owned()));
        }
        if !is_name(&name) {
            return Err(at("a name is of letters, digits and -_.".to_owned()));
        }
        let known = match kind.as_str() {
            "Target" => {
                let target: Target =
                    serde_json::from_value(spec).map_err(|error| at(error.to_string()))?;
                let target = Target { name: name.clone(), ..target };
                target::check(&target, allowed).map_err(at)?;
                book.targets.insert(name.clone(), target).is_some()
            }
            "Runbook" => {
                let runbook: Runbook =
                    serde_json::from_value(spec).map_err(|error| at(error.to_string()))?;
                let bound = bind(name.clone(), runbook).map_err(at)?;
                book.runbooks.insert(name.clone(), bound).is_some()
            }
            "Flag" => {
                let flag: Flag =
                    serde_json::from_value(spec).map_err(|error| at(error.to_string()))?;
                flag.check().map_err(at)?;
                book.flags.insert(name.clone(), flag).is_some()
            }
            _ => return Err(at("kind is none of Target, Runbook and Flag".to_owned())),
        };
        if known {
            return Err(at("there are two of this name".to_owned()));
        }
    }
    Ok(())
}

fn bind(name: String, mut runbook: Runbook) -> Result<Bound, String> {
    runbook.name = name;
    runbook.hash.clear();
    runbook.hash = hash_of(&runbook);
    if runbook.alerts.is_empty() {
        return Err("alerts: without a condition it would act on every alert".to_owned());
    }
    let conditions = runbook.alerts.iter().map(|text| Condition::parse(text));
    let conditions =
        conditions.collect::<Result<_, _>>().map_err(|why| format!("alerts: {why}"))?;
    Ok(Bound { runbook, conditions })
}

pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text.len() <= 128 && text.chars().all(is_plain)
}

fn check_runbook(
    book: &Book,
    runbook: &Runbook,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let target = book
        .targets
        .get(&runbook.target.name)
        .ok_or_else(|| format!("there is no target {}", runbook.target.name))?;
    if runbook.steps.is_empty() {
        return Err("steps: there is none".to_owned());
    }
    let mut n_lasting = 0;
    for (i, step) in runbook.steps.iter().enumerate() {
        if runbook.steps[..i].iter().any(|other| other.id == step.id) {
            return Err(format!("steps: two are called {}", step.id));
        }
        let wish = Wish::of(step, target.driver);
        let wish = wish.map_err(|problem| format!("step {}: {problem}", step.id))?;
        let of_map = step.action == "haproxy.map";
        if target.driver == DriverKind::Haproxy && of_map == target.group.map.is_empty() {
            let wanted = if of_map { "a map" } else { "a backend" };
            return Err(format!("step {}: {} is for {wanted} (group)", step.id, step.action));
        }
        n_lasting += usize::from(matches!(&wish, Wish::Value { field, .. } if is_lasting(field)));
        if let (DriverKind::Flags, Wish::Value { value, .. }) = (target.driver, &wish)
            && !book.flags.values().any(|flag| flag.variants.contains_key(value))
        {
            return Err(format!("step {}: no flag has a variant {value}", step.id));
        }
    }
    let approval = &runbook.approval;
    if let Some(verify) = runbook.verify.as_ref().filter(|verify| verify.hold > verify.within) {
        let (hold, within) = (duration::text(verify.hold), duration::text(verify.within));
        return Err(format!(
            "verify: `for` ({hold}) is longer than `within` ({within}), it could never hold"
        ));
    }
    match (&runbook.verify, &runbook.revert, runbook.irreversible) {
        (Some(_), Some(_), false) => {}
        // There is nothing to be taken back, by anybody.
        (Some(_), None, false) if n_lasting == runbook.steps.len() => {}
        (_, _, true) if approval.need >= 2 => {}
        (_, _, true) => {
            return Err("irreversible asks for approval: {need: 2} or more".to_owned());
        }
        _ => return Err("verify and revert are missing (or say irreversible: true)".to_owned()),
    }
    if approval.need == 0 {
        return Err("approval: need is 0".to_owned());
    }
    if !approval.by.is_empty() && approval.by.len() < approval.need {
        return Err("approval: need is more than those who may".to_owned());
    }
    if let Some(revert) = &runbook.revert {
        if revert.ttl.is_zero() {
            return Err("revert: ttl is 0".to_owned());
        }
        if revert.ramp.windows(2).any(|pair| pair[0] > pair[1])
            || revert.ramp.last().is_some_and(|last| last.0 < 1.0)
        {
            return Err("revert: a ramp rises and ends with 100%".to_owned());
        }
    }
    check_queries(runbook, check)
}

fn check_queries(
    runbook: &Runbook,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let verify = runbook.verify.iter();
    let gates = runbook.revert.iter().filter_map(|revert| revert.ramp_gate.as_ref());
    let comparisons = (runbook.preconditions.iter().map(|one| &one.query))
        .chain(verify.map(|verify| &verify.success))
        .chain(gates);
    for query in comparisons {
        // Templates stand in strings, where any text will do.
        check(&crate::plan::fill(query, &|_| Some("x".to_owned()))?)
            .map_err(|problem| format!("{query}: {problem}"))?;
    }
    let controls = runbook.verify.iter().filter_map(|verify| verify.control.as_ref());
    let measured = controls.flat_map(|control| [&control.treated, &control.untouched]);
    let loads = runbook.guard.capacity.iter().map(|capacity| &capacity.utilisation);
    for query in measured.chain(loads) {
        let text = crate::plan::fill(query, &|_| Some("x".to_owned()))?;
        // What can be compared is a number.
        check(&format!("({text}\n) > 0")).map_err(|problem| format!("{query}: {problem}"))?;
    }
    Ok(())
}

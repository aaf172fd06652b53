//! Reads a test file into commands.

use std::sync::LazyLock;

use regex::Regex;

use super::load::Load;
use crate::promql::duration::parse_ms;
use crate::promql::number::{parse_number, unquote};
use crate::promql::series_desc::{SeriesDescription, parse_series};

/// One command of a file.
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Case),
}

/// When a case is evaluated, ms.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// How an annotation or error must read.
#[derive(Clone, Debug)]
pub(super) enum Wording {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Wording {
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(regex) => regex.is_match(text),
        }
    }
}

/// What is expected of one kind of annotation.
#[derive(Clone, Debug, Default)]
pub(super) struct Remarks {
    pub(super) expected: Vec<Wording>,
    pub(super) forbidden: bool,
}

/// An expression with what it should give.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) expr: String,
    pub(super) when: When,
    pub(super) fail: Option<Wording>,
    pub(super) ordered: bool,
    pub(super) warnings: Remarks,
    pub(super) infos: Remarks,
    pub(super) string: Option<String>,
    pub(super) scalar: Option<f64>,
    /// Start and step of an expected range vector, ms.
    pub(super) range_vector: Option<(i64, i64)>,
    pub(super) series: Vec<SeriesDescription>,
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant")
}

static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")
});
static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")
});
static LOAD: LazyLock<Regex> = LazyLock::new(|| regex(r"^load(?:_(with_nhcb))?\s+(.+?)$"));
static EXPECT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$")
});
static RANGE_VECTOR: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^expect\s+range\s+vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$"));

/// The commands of a file with the numbers of their first lines.
pub(super) fn commands(text: &str) -> Vec<(usize, Result<Command, String>)> {
    // Comments count as empty lines.
    let clean = |line: &str| {
        let line = line.trim();
        if line.starts_with('#') { String::new() } else { line.to_owned() }
    };
    let lines: Vec<String> = text.lines().map(clean).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        at += 1;
        let line = &lines[first];
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if word.is_empty() {
            continue;
        }
        if word == "clear" {
            commands.push((first + 1, Ok(Command::Clear)));
            continue;
        }
        let block = lines[at..].iter().take_while(|line| !line.is_empty()).count();
        let body = &lines[at..at + block];
        at += block;
        let command = if word.starts_with("load") {
            load(line, body).map(Command::Load)
        } else if word.starts_with("eval") {
            eval(line, body).map(Command::Eval)
        } else {
            Err(format!("unknown command {word:?}"))
        };
        commands.push((first + 1, command));
    }
    commands
}

fn duration(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    parse_ms(text).ok_or_else(|| format!("not a valid duration string: {text:?}"))
}

fn load(line: &str, body: &[String]) -> Result<Load, String> {
    let found = LOAD.captures(line).ok_or("invalid load command")?;
    let mut load = Load::new(duration(&found[2])?, found.get(1).is_some());
    for line in body {
        load.line(line)?;
    }
    Ok(load)
}

fn eval(line: &str, body: &[String]) -> Result<Case, String> {
    let (mode, when, expr) = if let Some(found) = INSTANT.captures(line) {
        let at = duration(found.get(2).map_or("", |at| at.as_str()))?;
        (found.get(1).map(|m| m.as_str().to_owned()), When::Instant(at), found[3].to_owned())
    } else if let Some(found) = RANGE.captures(line) {
        let (start, end) = (duration(&found[2])?, duration(&found[3])?);
        if end < start {
            return Err("the end of a range lies before its start".to_owned());
        }
        let when = When::Range { start, end, step: duration(&found[4])? };
        (found.get(1).map(|m| m.as_str().to_owned()), when, found[5].to_owned())
    } else {
        return Err("invalid eval command".to_owned());
    };
    let mut case = Case {
        expr,
        when,
        fail: None,
        ordered: false,
        warnings: Remarks::default(),
        infos: Remarks::default(),
        string: None,
        scalar: None,
        range_vector: None,
        series: Vec::new(),
    };
    match mode.as_deref() {
        Some("fail") => case.fail = Some(Wording::Any),
        Some("warn") => case.warnings.expected.push(Wording::Any),
        Some("info") => case.infos.expected.push(Wording::Any),
        Some(_) => case.ordered = true,
        None => {}
    }
    for line in body {
        if !expectation(&mut case, line)? {
            break;
        }
    }
    let clash = |remarks: &Remarks| remarks.forbidden && !remarks.expected.is_empty();
    if clash(&case.warnings) || clash(&case.infos) {
        return Err("an annotation is both expected and forbidden".to_owned());
    }
    Ok(case)
}

/// Takes in one line; returns whether more may follow.
fn expectation(case: &mut Case, line: &str) -> Result<bool, String> {
    if case.fail.is_some() {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            case.fail = Some(Wording::Exactly(text.trim().to_owned()));
            return Ok(false);
        }
        if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            case.fail = Some(Wording::Matching(own_regex(text.trim())?));
            return Ok(false);
        }
    }
    if line.split_whitespace().next() == Some("expect") {
        expect_line(case, line)?;
        return Ok(true);
    }
    if let Some(value) = parse_number(line) {
        case.scalar = Some(value);
        return Ok(false);
    }
    let series = parse_series(line)?;
    let instant = matches!(case.when, When::Instant(_));
    if instant && case.range_vector.is_none() && series.values.len() > 1 {
        return Err("several values in an instant case need `expect range vector`".to_owned());
    }
    // A later line for the same series replaces the earlier one.
    case.series.retain(|other| other.labels != series.labels);
    case.series.push(series);
    Ok(true)
}

fn own_regex(text: &str) -> Result<Regex, String> {
    let form = model::regexp::translate(text).map_err(|error| error.to_string())?;
    Regex::new(&form.rust).map_err(|error| error.to_string())
}

fn expect_line(case: &mut Case, line: &str) -> Result<(), String> {
    if let Some(found) = RANGE_VECTOR.captures(line) {
        duration(&found[2])?;
        case.range_vector = Some((duration(&found[1])?, duration(&found[3])?));
        return Ok(());
    }
    if let Some(text) = line.strip_prefix("expect string") {
        let text = text.trim();
        case.string = Some(unquote(text).ok_or_else(|| format!("invalid string {text}"))?);
        return Ok(());
    }
    let found = EXPECT.captures(line).ok_or_else(|| format!("invalid expect line {line:?}"))?;
    let wording = match (found.get(2).map(|m| m.as_str()), found.get(3)) {
        (Some("msg"), Some(text)) => Wording::Exactly(text.as_str().trim().to_owned()),
        (Some(_), Some(text)) => Wording::Matching(own_regex(text.as_str().trim())?),
        _ => Wording::Any,
    };
    match &found[1] {
        "ordered" => case.ordered = true,
        "fail" if case.fail.is_some() => return Err("two fail lines".to_owned()),
        "fail" => case.fail = Some(wording),
        "warn" => case.warnings.expected.push(wording),
        "info" => case.infos.expected.push(wording),
        "no_warn" => case.warnings.forbidden = true,
        _ => case.infos.forbidden = true,
    }
    Ok(())
}

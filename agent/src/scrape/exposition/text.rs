//! The text formats: Prometheus' 0.0.4 and 1.0.0, and OpenMetrics, which is stricter about white space and its end.
//!
//! Source: "Exposition formats" of Prometheus' documentation; OpenMetrics 1.0.0, sections 4 and 5.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::float;
use super::{ExemplarParts, Exposition, Fault, LABELS_MAX, Label, Measured, Place, Room, Sample};
use crate::remote_write::{Kind, Meta};

mod cursor;

use cursor::{Cursor, Oops};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Prometheus,
    OpenMetrics,
}

const NAME: &str = "__name__";

/// Reads a body of text.
pub(super) fn parse(body: &[u8], dialect: Dialect, room: Room) -> Result<Exposition<'_>, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let valid = String::from_utf8_lossy(&body[..error.valid_up_to()]);
        fault(&valid, valid.len(), "this is no UTF-8".to_owned())
    })?;
    let mut reader = Reader {
        cursor: Cursor::new(text),
        dialect,
        out: Exposition { room, ..Exposition::default() },
        families: Vec::new(),
        numbers: HashMap::new(),
        current: None,
        kind: Kind::Unknown,
        ended: false,
    };
    match reader.lines() {
        Ok(()) => Ok(reader.finish()),
        Err(Oops { at, reason }) => Err(fault(text, at, reason)),
    }
}

fn fault(text: &str, at: usize, reason: String) -> Fault {
    let before = &text[..text.floor_char_boundary(at.min(text.len()))];
    let begin = before.rfind('\n').map_or(0, |i| i + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    Fault { place: Place::Line(line, before[begin..].chars().count() + 1), reason }
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    dialect: Dialect,
    out: Exposition<'a>,
    families: Vec<Meta>,
    numbers: HashMap<Cow<'a, str>, usize>,
    /// The family of the last `TYPE`, `HELP` or `UNIT`.
    current: Option<usize>,
    /// Its kind, which says whether `le` or `quantile` is a number.
    kind: Kind,
    /// After `# EOF`.
    ended: bool,
}

impl<'a> Reader<'a> {
    fn lines(&mut self) -> Result<(), Oops> {
        let strict = self.dialect == Dialect::OpenMetrics;
        while !self.cursor.is_empty() {
            if self.ended {
                return Err(self.cursor.oops("there is more after # EOF"));
            }
            if !strict {
                self.cursor.blanks();
            }
            match self.cursor.peek() {
                Some(b'\n') if !strict => self.cursor.skip(1),
                Some(b'#') => self.comment()?,
                Some(_) => self.sample()?,
                None => break,
            }
        }
        if strict && !self.ended {
            return Err(self.cursor.oops("the body does not end with # EOF"));
        }
        Ok(())
    }

    fn finish(mut self) -> Exposition<'a> {
        self.out.families = self.families.into_iter().map(Arc::new).collect();
        self.out
    }

    /// A line that begins with `#`.
    fn comment(&mut self) -> Result<(), Oops> {
        let strict = self.dialect == Dialect::OpenMetrics;
        self.cursor.skip(1);
        let blanks = self.cursor.blanks();
        let keywords: &[&str] =
            if strict { &["HELP ", "TYPE ", "UNIT "] } else { &["HELP", "TYPE"] };
        let begun = self.cursor.rest();
        if strict && blanks == 1 && (begun == "EOF" || begun.starts_with("EOF\n")) {
            self.cursor.skip(3);
            self.ended = true;
            return self.cursor.end_of_line();
        }
        let keyword = keywords.iter().find(|keyword| {
            begun.starts_with(**keyword)
                && (strict || begun[keyword.len()..].starts_with([' ', '\t']))
        });
        match keyword {
            Some(keyword) if blanks > 0 => {
                self.cursor.skip(4);
                if self.cursor.blanks() > 1 && strict {
                    return Err(self.cursor.oops("one space was expected"));
                }
                self.describe(keyword.trim_end())
            }
            _ if strict => {
                Err(self.cursor.oops("`# HELP`, `# TYPE`, `# UNIT` or `# EOF` was expected"))
            }
            _ => {
                self.cursor.line();
                Ok(())
            }
        }
    }

    /// What is said of a metric after one of the keywords.
    fn describe(&mut self, keyword: &str) -> Result<(), Oops> {
        let name = match self.cursor.peek() {
            Some(b'"') => self.cursor.quoted()?,
            _ => Cow::Borrowed(self.cursor.name(true)?),
        };
        let blanks = self.cursor.blanks();
        let at = self.cursor.at();
        let rest = self.cursor.line();
        if blanks == 0 && !rest.is_empty() {
            return Err(Oops { at, reason: "white space was expected after the name".to_owned() });
        }
        let number = self.family(name);
        self.current = Some(number);
        let family = &mut self.families[number];
        match keyword {
            "HELP" => {
                family.help =
                    cursor::unescape_help(rest, self.dialect == Dialect::OpenMetrics).into_owned()
            }
            "UNIT" => {
                let suffix =
                    family.family.strip_suffix(rest).is_some_and(|front| front.ends_with('_'));
                if !rest.is_empty() && !suffix {
                    let reason =
                        format!("unit {rest:?} is not a suffix of metric {:?}", family.family);
                    return Err(Oops { at, reason });
                }
                rest.clone_into(&mut family.unit);
            }
            _ => {
                let word = rest.trim_end_matches([' ', '\t']);
                let kind = kind(word, self.dialect);
                family.kind = kind
                    .ok_or_else(|| Oops { at, reason: format!("invalid metric type {word:?}") })?;
            }
        }
        self.kind = family.kind;
        Ok(())
    }

    fn family(&mut self, name: Cow<'a, str>) -> usize {
        let next = self.families.len();
        let number = *self.numbers.entry(name.clone()).or_insert(next);
        if number == next {
            self.families.push(Meta { family: name.into_owned(), ..Meta::default() });
        }
        number
    }

    fn sample(&mut self) -> Result<(), Oops> {
        let begin = self.cursor.at();
        let from = self.out.labels.len();
        let mut name = match self.cursor.peek() {
            Some(b'{') => None,
            _ => Some(Cow::Borrowed(self.cursor.name(true)?)),
        };
        let mut end = self.cursor.at();
        self.out.labels.push((Cow::Borrowed(NAME), Cow::Borrowed("")));
        let strict = self.dialect == Dialect::OpenMetrics;
        if !strict {
            self.cursor.blanks();
        }
        if self.cursor.peek() == Some(b'{') {
            let mut labels = std::mem::take(&mut self.out.labels);
            let inside = self.cursor.labels(strict, &mut labels);
            self.out.labels = labels;
            let inside = inside?;
            end = self.cursor.at();
            match (&name, inside) {
                (Some(_), Some(_)) => {
                    return Err(Oops { at: begin, reason: "metric name already set".to_owned() });
                }
                (None, Some(inside)) => name = Some(inside),
                _ => {}
            }
        }
        let name = name.ok_or_else(|| Oops {
            at: begin,
            reason: "the sample has no metric name".to_owned(),
        })?;
        self.out.labels[from].1 = name.clone();
        self.normalize(from);
        self.gap()?;
        let value = self.value()?;
        let at_ms = self.time()?;
        let family = self.family_of(&name);
        let exemplars = self.out.exemplars.len();
        if strict && self.cursor.rest().starts_with(" # ") {
            self.cursor.skip(3);
            let exemplar = self.exemplar()?;
            if family.is_some_and(|number| has_exemplars(self.families[number].kind)) {
                self.out.exemplars.push(exemplar);
            }
        }
        if !strict {
            self.cursor.blanks();
        }
        self.cursor.end_of_line()?;
        let n_labels = self.out.labels.len() - from;
        let bytes = size_of::<Sample<'_>>() + n_labels * size_of::<Label<'_>>();
        let room = self.out.room.take(bytes);
        room.map_err(|reason| Oops { at: begin, reason: reason.to_owned() })?;
        self.out.samples.push(Sample {
            series: Cow::Borrowed(self.cursor.slice(begin, end)),
            labels: from..self.out.labels.len(),
            value: Measured::Float(value),
            at_ms,
            start_ms: 0,
            exemplars: exemplars..self.out.exemplars.len(),
            family,
        });
        Ok(())
    }

    /// White space before a value.
    fn gap(&mut self) -> Result<(), Oops> {
        let blanks = self.cursor.blanks();
        match self.dialect {
            Dialect::OpenMetrics if blanks != 1 => {
                Err(self.cursor.oops("one space was expected before the value"))
            }
            _ => Ok(()),
        }
    }

    fn value(&mut self) -> Result<f64, Oops> {
        let at = self.cursor.at();
        let word = self.cursor.word();
        float::read(word).ok_or_else(|| Oops {
            at,
            reason: format!("{word:?} is no number, a value was expected"),
        })
    }

    /// The time after a value, in ms.
    fn time(&mut self) -> Result<Option<i64>, Oops> {
        let strict = self.dialect == Dialect::OpenMetrics;
        let rest = self.cursor.rest();
        if strict && (!rest.starts_with(' ') || rest.starts_with(" #")) {
            return Ok(None);
        }
        self.cursor.blanks();
        if matches!(self.cursor.peek(), None | Some(b'\n')) {
            return Ok(None);
        }
        let at = self.cursor.at();
        let word = self.cursor.word();
        let wrong = || Oops { at, reason: format!("{word:?} is no timestamp") };
        match strict {
            true => seconds_to_ms(float::read(word).ok_or_else(wrong)?).map(Some).ok_or_else(wrong),
            false => word.parse().map(Some).map_err(|_| wrong()),
        }
    }

    fn exemplar(&mut self) -> Result<ExemplarParts<'a>, Oops> {
        if self.cursor.peek() != Some(b'{') {
            return Err(self.cursor.oops("`{` was expected: an exemplar begins with its labels"));
        }
        let mut labels: Vec<Label<'a>> = Vec::new();
        if self.cursor.labels(true, &mut labels)?.is_some() {
            return Err(self.cursor.oops("an exemplar has no name"));
        }
        self.gap()?;
        let value = self.value()?;
        let at_ms = self.time()?;
        Ok(ExemplarParts { labels, value, at_ms })
    }

    /// Brings `le` and `quantile` into their canonical form, as every format writes the same bound alike then.
    fn normalize(&mut self, from: usize) {
        let label = match self.kind {
            Kind::Histogram | Kind::GaugeHistogram => "le",
            Kind::Summary => "quantile",
            _ => return,
        };
        for (name, value) in &mut self.out.labels[from + 1..] {
            if name == label
                && let Some(canonical) = float::normalized(value)
            {
                *value = Cow::Owned(canonical);
            }
        }
    }

    /// The family a sample's name belongs to: its own name, or what is left without a suffix of the family's kind.
    fn family_of(&self, name: &str) -> Option<usize> {
        if let Some(current) = self.current
            && belongs(name, &self.families[current])
        {
            return Some(current);
        }
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let cut = name.rfind('_')?;
        let number = *self.numbers.get(&name[..cut])?;
        belongs(name, &self.families[number]).then_some(number)
    }
}

/// Seconds to milliseconds, rounded down as Prometheus does; `None` beyond what fits.
pub(super) fn seconds_to_ms(seconds: f64) -> Option<i64> {
    let ms = seconds * 1000.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (ms.is_finite() && ms.abs() < 9.2e18).then_some(ms as i64)
}

const fn has_exemplars(kind: Kind) -> bool {
    matches!(kind, Kind::Counter | Kind::Histogram | Kind::GaugeHistogram)
}

fn belongs(name: &str, family: &Meta) -> bool {
    let Some(suffix) = name.strip_prefix(family.family.as_str()) else { return false };
    match family.kind {
        _ if suffix.is_empty() => true,
        Kind::Counter => matches!(suffix, "_total" | "_created"),
        Kind::Histogram => matches!(suffix, "_bucket" | "_sum" | "_count" | "_created"),
        Kind::GaugeHistogram => {
            matches!(suffix, "_bucket" | "_gsum" | "_gcount" | "_sum" | "_count")
        }
        Kind::Summary => matches!(suffix, "_sum" | "_count" | "_created"),
        Kind::Info => suffix == "_info",
        Kind::Unknown | Kind::Gauge | Kind::StateSet => false,
    }
}

fn kind(word: &str, dialect: Dialect) -> Option<Kind> {
    Some(match (word, dialect) {
        ("counter", _) => Kind::Counter,
        ("gauge", _) => Kind::Gauge,
        ("histogram", _) => Kind::Histogram,
        ("summary", _) => Kind::Summary,
        ("untyped", Dialect::Prometheus) | ("unknown", _) => Kind::Unknown,
        ("gaugehistogram", Dialect::OpenMetrics) => Kind::GaugeHistogram,
        ("info", Dialect::OpenMetrics) => Kind::Info,
        ("stateset", Dialect::OpenMetrics) => Kind::StateSet,
        _ => return None,
    })
}

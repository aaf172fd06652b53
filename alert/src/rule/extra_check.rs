//! Checks of what stands under `headrope:` in a rule.

use std::time::Duration;

use query::{Counted, check_search, check_sql};
use serde_saphyr::Spanned;

use super::check::Checker;
use super::document::{self, ConditionBody, ExtraBody};
use super::extra::{Condition, Counting, Extra, Language, NoData, Quality};
use crate::rule::Position;
use crate::yaml::{Scalar, position_of};

/// How far back expressions look that are not PromQL and do not say.
const WINDOW: Duration = Duration::from_secs(300);
/// Fields one can count by.
const BY_MAX: usize = 20;
/// How long alerts are held for want of data, unless the rule says.
const HOLD_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Further conditions of one kind.
const CONDITIONS_MAX: usize = 20;

/// The words that choose language and threshold of one expression.
struct Words<'a> {
    lang: Option<&'a Scalar>,
    window: Option<&'a Scalar>,
    by: Option<&'a Vec<Scalar>>,
    above: Option<&'a Scalar>,
    below: Option<&'a Scalar>,
}

impl Checker<'_> {
    /// The extras of a rule; those that only alerts can have are refused in a recording rule.
    pub(super) fn extra(&mut self, body: Option<&Spanned<ExtraBody>>, alerts: bool) -> Extra {
        let Some(body) = body else { return Extra::default() };
        let at = position_of(body.referenced);
        let body = &body.value;
        self.unknown("headrope", at, &body.unknown, &document::EXTRA);
        let words = Words {
            lang: body.lang.as_ref(),
            window: body.window.as_ref(),
            by: body.by.as_ref(),
            above: body.above.as_ref(),
            below: body.below.as_ref(),
        };
        let (language, above, below) = self.words(&words);
        let mut extra = Extra {
            language,
            above,
            below,
            all: self.conditions(body.all.as_deref()),
            any: self.conditions(body.any.as_deref()),
            none: self.conditions(body.none.as_deref()),
            hold_max: self.duration(body.hold_max.as_ref()).unwrap_or(HOLD_MAX),
            clear_for: self.duration(body.clear_for.as_ref()).unwrap_or_default(),
            no_data: self.no_data(body.no_data.as_ref(), body.quality.is_some()),
            quality: body.quality.as_ref().map(|quality| self.quality(quality)),
            clear: None,
        };
        if let Some(clear) = body.clear_expr.as_ref().filter(|clear| !clear.value.is_empty()) {
            let language = extra.language.clone();
            self.parses(clear, &language);
            let above = threshold_of(&language, None, None);
            let expr = clear.value.as_str().into();
            extra.clear = Some(Condition { expr, language, above, below: None });
        }
        self.fits(&extra, body, at, alerts);
        extra
    }

    /// What does not go together.
    fn fits(&mut self, extra: &Extra, body: &ExtraBody, at: Position, alerts: bool) {
        if !alerts {
            let only_alerts = [
                ("clear_expr", body.clear_expr.as_ref()),
                ("clear_for", body.clear_for.as_ref()),
                ("no_data", body.no_data.as_ref()),
                ("hold_max", body.hold_max.as_ref()),
            ];
            for (field, written) in only_alerts {
                if let Some(written) = written {
                    let text = format!("invalid field '{field}' in recording rule");
                    let remedy = "remove it or make the rule an alert";
                    self.refuse(position_of(written.referenced), text, remedy);
                }
            }
            if let Some(quality) = &body.quality {
                let text = "invalid field 'quality' in recording rule";
                self.refuse(
                    position_of(quality.referenced),
                    text,
                    "remove it or make the rule an alert",
                );
            }
        }
        if matches!(extra.language, Language::Sql { .. })
            && let Some(written) = body.no_data.as_ref().filter(|_| extra.no_data != NoData::Ignore)
        {
            let text = "what data a query in SQL misses cannot be told";
            let remedy = "leave no_data out, or write the rule in promql, logs or traces";
            self.refuse(position_of(written.referenced), text, remedy);
        }
        if extra.quality.is_some() && extra.language != Language::PromQl {
            let text = format!("quality is not known of {}", extra.language.word());
            self.refuse(at, text, "write the rule in promql, or leave quality out");
        }
    }

    fn words(&mut self, words: &Words<'_>) -> (Language, Option<f64>, Option<f64>) {
        let window = self.duration(words.window).unwrap_or(WINDOW);
        let by: Vec<String> = words.by.into_iter().flatten().map(|by| by.value.clone()).collect();
        if let Some(one) = words.by.and_then(|by| by.get(BY_MAX)) {
            let text = format!("more than {BY_MAX} fields to count by");
            self.refuse(position_of(one.referenced), text, "name fewer");
        }
        let language = match words.lang.map_or("", |lang| lang.value.as_str()) {
            "" | "promql" => Language::PromQl,
            "sql" => Language::Sql { window },
            "logs" => Language::Logs(Counting { window, by }),
            "traces" => Language::Traces(Counting { window, by }),
            other => {
                let text = format!("no language is called {other:?}");
                let position =
                    words.lang.map_or(Position::default(), |l| position_of(l.referenced));
                self.refuse(position, text, "write promql, sql, logs or traces");
                Language::PromQl
            }
        };
        let counts = matches!(language, Language::Logs(_) | Language::Traces(_));
        if let Some(by) = words.by.and_then(|by| by.first()).filter(|_| !counts) {
            let text = format!("'by' is not for {}", language.word());
            self.refuse(position_of(by.referenced), text, "group inside the expression");
        }
        if let Some(window) = words.window.filter(|_| language == Language::PromQl) {
            let text = "'window' is not for promql";
            self.refuse(
                position_of(window.referenced),
                text,
                "write it inside the expression: x[5m]",
            );
        }
        let (above, below) = (self.number(words.above), self.number(words.below));
        (language.clone(), threshold_of(&language, above, below), below)
    }

    fn conditions(&mut self, bodies: Option<&[Spanned<ConditionBody>]>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (i, body) in bodies.unwrap_or_default().iter().enumerate() {
            let at = position_of(body.referenced);
            if i >= CONDITIONS_MAX {
                let text = format!("more than {CONDITIONS_MAX} conditions");
                self.refuse(at, text, "join some of them");
                break;
            }
            let body = &body.value;
            self.unknown("condition", at, &body.unknown, &document::CONDITION);
            let (language, above, below) = self.words(&Words {
                lang: body.lang.as_ref(),
                window: body.window.as_ref(),
                by: body.by.as_ref(),
                above: body.above.as_ref(),
                below: body.below.as_ref(),
            });
            let Some(expr) = body.expr.as_ref() else {
                self.refuse(at, "field 'expr' must be set in condition", "write what to evaluate");
                continue;
            };
            self.parses(expr, &language);
            conditions.push(Condition { expr: expr.value.as_str().into(), language, above, below });
        }
        conditions
    }

    /// Tells where an expression cannot be read.
    pub(super) fn parses(&mut self, expr: &Scalar, language: &Language) {
        let wrong = match language {
            Language::PromQl => query::promql::parse(&expr.value)
                .err()
                .map(|error| (Some(error.place.start), error.to_string())),
            Language::Sql { .. } => check_sql(&expr.value).err().map(told),
            Language::Logs(_) => check_search(Counted::Logs, &expr.value).err().map(told),
            Language::Traces(_) => check_search(Counted::Spans, &expr.value).err().map(told),
        };
        if let Some((start, error)) = wrong {
            let position = self.within(expr, start.unwrap_or(0));
            self.refuse(position, format!("could not parse expression: {error}"), "");
        }
    }

    fn number(&mut self, written: Option<&Scalar>) -> Option<f64> {
        let written = written?;
        let number = written.value.parse::<f64>().ok().filter(|number| !number.is_nan());
        if number.is_none() {
            let text = format!("{:?} is not a number", written.value);
            self.refuse(position_of(written.referenced), text, "write it like 10 or 0.5");
        }
        number
    }

    /// An answer of too little quality does not count, whatever is not written.
    fn no_data(&mut self, written: Option<&Scalar>, has_quality: bool) -> NoData {
        let Some(written) = written else {
            return if has_quality { NoData::Hold } else { NoData::Ignore };
        };
        match written.value.as_str() {
            "ignore" if has_quality => {
                let text = "no_data: ignore and quality contradict each other".to_owned();
                let remedy = "write hold or alert, or leave quality out";
                self.refuse(position_of(written.referenced), text, remedy);
                NoData::Ignore
            }
            "ignore" => NoData::Ignore,
            "hold" => NoData::Hold,
            "alert" => NoData::Alert,
            other => {
                let text = format!("no_data cannot be {other:?}");
                self.refuse(position_of(written.referenced), text, "write hold, alert or ignore");
                NoData::Ignore
            }
        }
    }

    fn quality(&mut self, body: &Spanned<document::QualityBody>) -> Quality {
        let at = position_of(body.referenced);
        self.unknown("quality", at, &body.value.unknown, &document::QUALITY);
        let reporting_min = body.value.min_reporting.as_ref().and_then(|written| {
            let text = written.value.trim();
            let share = match text.strip_suffix('%') {
                Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
                None => text.parse::<f64>(),
            };
            let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
            if share.is_none() {
                let text = format!("min_reporting {:?} is no share", written.value);
                self.refuse(position_of(written.referenced), text, "write it like 90% or 0.9");
            }
            share
        });
        let staleness_max = self.duration(body.value.max_staleness.as_ref());
        if staleness_max.is_none() && reporting_min.is_none() {
            let text = "quality asks for nothing";
            self.refuse(at, text, "give max_staleness, min_reporting or both");
        }
        Quality { staleness_max, reporting_min }
    }
}

/// Counts alone say nothing: without a threshold those above 0 count.
fn threshold_of(language: &Language, above: Option<f64>, below: Option<f64>) -> Option<f64> {
    let counts = matches!(language, Language::Logs(_) | Language::Traces(_));
    if counts && above.is_none() && below.is_none() { Some(0.0) } else { above }
}

fn told(error: query::Error) -> (Option<usize>, String) {
    (error.position().map(|position| position.start), error.to_string())
}

//! Parameters of the Prometheus API: from the query string and, with POST, from a form body, which goes first.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, OriginalUri, Request};
use http::header::CONTENT_TYPE;
use model::matcher::Matcher;
use model::time::{NS_PER_MS, TimeRange, Timestamp, civil_from_days, days_from_civil};
use query::promql::duration::parse_ms;
use query::{Engine, Origin};

use super::answer::Failure;
use crate::serve::Peer;

/// Largest form body, in bytes.
const FORM_MAX: usize = 1 << 20;
/// Asks for the finest legal step where the one asked for is too fine.
const COARSEN: &str = "x-headrope-coarsen";
/// Selectors of one request at most; each costs a look at the index.
const SELECTORS_MAX: usize = 1_000;
/// Go's minimum and maximum time, which clients send for "no bound".
const GO_TIME_MIN: &str = "-292273086-05-16T16:47:06Z";
const GO_TIME_MAX: &str = "292277025-08-18T07:12:54.999999999Z";

/// How much of a query's cost is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stats {
    /// Nothing.
    None,
    /// Times and numbers of samples.
    Sums,
    /// Those, and the samples of each step.
    PerStep,
}

/// Names and values in order; a name may repeat.
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// Who asks.
    pub(crate) origin: Origin,
    /// Whether too fine a step is to be made coarser instead of refused.
    pub(crate) coarsens: bool,
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let mut pairs = Vec::new();
        let is_form = parts.headers.get(CONTENT_TYPE).is_some_and(|value| {
            value.as_bytes().starts_with(b"application/x-www-form-urlencoded")
        });
        if is_form {
            let too_long =
                |_| Failure::bad_data(format!("the form is longer than {FORM_MAX} bytes"));
            let form = to_bytes(body, FORM_MAX).await.map_err(too_long)?;
            pairs.extend(form_urlencoded::parse(&form).into_owned());
        }
        let query = parts.uri.query().unwrap_or_default();
        pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        let client = parts.extensions.get::<Peer>();
        Ok(Self {
            pairs,
            origin: Origin::Http {
                client: client.map(|Peer(address)| address.ip().to_string()).unwrap_or_default(),
                method: parts.method.to_string(),
                path: parts
                    .extensions
                    .get::<OriginalUri>()
                    .map_or(parts.uri.path(), |uri| uri.path())
                    .to_owned(),
            },
            coarsens: parts.headers.get(COARSEN).is_some_and(|value| value == "1"),
        })
    }
}

impl Params {
    /// The first value of `name`; an empty one counts as absent.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// The first value of `name`, empty when absent: upstream's own check then speaks.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Failure> {
        Ok(self.first(name).unwrap_or_default())
    }

    /// All values of `name`.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.each(name).map(str::to_owned).collect()
    }

    /// An instant in ms: float seconds or RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.first(name) else { return Ok(None) };
        let wrong =
            || Failure::parameter(name, &format!("cannot parse {text:?} to a valid timestamp"));
        parse_time(text).ok_or_else(wrong).map(Some)
    }

    /// A length of time in ms: float seconds or a Prometheus duration.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.first(name) else { return Ok(None) };
        let wrong =
            || Failure::parameter(name, &format!("cannot parse {text:?} to a valid duration"));
        parse_seconds(text).or_else(|| parse_ms(text)).ok_or_else(wrong).map(Some)
    }

    /// How far back the newest sample may lie; upstream takes 0 and less for its default.
    pub(crate) fn lookback(&self) -> Result<Option<i64>, Failure> {
        Ok(self.duration("lookback_delta")?.filter(|ms| *ms > 0))
    }

    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Failure> {
        let ms = self.duration("timeout")?;
        Ok(ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }

    /// Which statistics are wanted, and a warning for what is none of upstream's words.
    pub(crate) fn stats(&self) -> (Stats, Option<String>) {
        match self.first("stats") {
            None => (Stats::None, None),
            Some("true") => (Stats::Sums, None),
            Some("all") => (Stats::PerStep, None),
            Some(other) => {
                let words = format!(
                    "unknown value {other:?} of the parameter \"stats\", taken as \"true\""
                );
                (Stats::Sums, Some(words))
            }
        }
    }

    /// Whether the cost of each part of the query is asked for: `explain=1`.
    pub(crate) fn wants_explain(&self) -> bool {
        self.first("explain").is_some_and(|text| !matches!(text, "" | "0" | "false"))
    }

    /// Whether every step is to be evaluated, whatever is kept from before: `nocache=1`.
    pub(crate) fn no_cache(&self) -> bool {
        self.first("nocache").is_some_and(|text| !matches!(text, "" | "0" | "false"))
    }

    /// Series at most; 0 or absent means all.
    pub(crate) fn limit(&self) -> Result<Option<usize>, Failure> {
        let Some(text) = self.first("limit") else { return Ok(None) };
        let limit: i64 = text.parse().map_err(|_| {
            Failure::parameter("limit", &format!("cannot parse {text:?} to a number"))
        })?;
        let limit = usize::try_from(limit)
            .map_err(|_| Failure::parameter("limit", "limit must be non-negative"))?;
        Ok((limit > 0).then_some(limit))
    }

    /// A whole number that may be absent; what is none or negative stands for no bound, as upstream has it.
    pub(crate) fn bound(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.first(name) else { return Ok(None) };
        let bound: i64 =
            text.parse().map_err(|_| Failure::bad_data(format!("{name} must be a number")))?;
        Ok(usize::try_from(bound).ok())
    }

    /// `true` or `false` in any of Go's spellings.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.first(name) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(other) => {
                Err(Failure::parameter(name, &format!("cannot parse {other:?} to a boolean")))
            }
        }
    }

    /// The sets of matchers in `match[]`, each once.
    pub(crate) async fn matchers(&self, engine: &Engine) -> Result<Vec<Vec<Matcher>>, Failure> {
        engine.selectors(self.selectors()?).await.map_err(of_selectors)
    }

    /// The selectors in `match[]`, each once, unread.
    fn selectors(&self) -> Result<Vec<String>, Failure> {
        let texts: BTreeSet<&str> = self.each("match[]").collect();
        if texts.len() > SELECTORS_MAX {
            return Err(Failure::parameter(
                "match[]",
                &format!(
                    "{} selectors, the limit is {SELECTORS_MAX}: join them by regular expressions",
                    texts.len()
                ),
            ));
        }
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    /// `start` and `end`, both inside; all times up to `now` where they are absent.
    pub(crate) fn range(&self, now: Timestamp) -> Result<TimeRange, Failure> {
        let start = self.time("start")?.unwrap_or(i64::MIN / NS_PER_MS);
        let end = self.time("end")?.unwrap_or_else(|| now.ms());
        if end < start {
            return Err(Failure::parameter("end", "end timestamp must not be before start time"));
        }
        Ok(TimeRange::new(Timestamp::from_ms(start), Timestamp::from_ms(end.saturating_add(1))))
    }

    fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What is wrong with one of `match[]`, in upstream's words.
fn of_selectors(error: query::Error) -> Failure {
    if error.to_string().contains("must contain at least one non-empty matcher") {
        return Failure::bad_data("match[] must contain at least one non-empty matcher");
    }
    Failure::of_parameter("match[]", error)
}

fn parse_seconds(text: &str) -> Option<i64> {
    let seconds: f64 = text.parse().ok()?;
    let ms = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (ms.is_finite() && ms.abs() < 9.2e18).then_some(ms as i64)
}

fn parse_time(text: &str) -> Option<i64> {
    match text {
        GO_TIME_MIN => Some(i64::MIN / NS_PER_MS),
        GO_TIME_MAX => Some(i64::MAX / NS_PER_MS),
        _ => parse_seconds(text).or_else(|| rfc3339_ms(text)),
    }
}

/// `2026-11-23T04:46:21.5Z` or with `+08:00`; a space stands for the `+` that a client forgot to escape.
fn rfc3339_ms(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let number = |part: &str, len: usize| -> Option<i64> {
        (part.len() == len && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse().ok())?
    };
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let zone_at = rest.find(['Z', 'z', '+', '-', ' '])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let (hour, minute, second) =
        (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let is_whole = parts.next().is_none() && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_whole || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    let ms = is_fraction.then(|| number(format!("{fraction:0<3}").get(..3)?, 3))??;
    let offset_s = if zone.eq_ignore_ascii_case("z") {
        0
    } else {
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let seconds = number(hours, 2)? * 3600 + number(minutes, 2)? * 60;
        if zone.starts_with('-') { -seconds } else { seconds }
    };
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return None; // The 30th of February, say.
    }
    Some((days * 86_400 + hour * 3600 + minute * 60 + second - offset_s) * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the engine reads them.
    fn matchers(params: &Params) -> Result<Vec<Vec<Matcher>>, Failure> {
        let sets =
            params.selectors()?.iter().map(|text| query::matchers(text)).collect::<Result<_, _>>();
        sets.map_err(of_selectors)
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(parse_time("1.5"), Some(1500));
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z"), Some(1500));
        assert_eq!(parse_time("1970-01-01T08:00:01+08:00"), Some(1000));
        assert_eq!(parse_time("1970-01-01T08:00:01 08:00"), Some(1000));
        for bad in [
            "",
            "now",
            "1970-13-01T00:00:00Z",
            "1970-01-01",
            "1970-01-01T00:00:00é",
            "1970-01-01T00:00:00.ééZ",
            "1970-01-01T00:00:00.Z",
            "1970-02-30T00:00:00Z",
            "NaN",
            "1e400",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    fn params(query: &str) -> Params {
        Params {
            pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            origin: Origin::default(),
            coarsens: false,
        }
    }

    #[test]
    fn parameters_that_make_no_sense_are_named() {
        for (query, wanted) in [
            ("limit=-1", "invalid parameter \"limit\": limit must be non-negative"),
            ("limit=x", "invalid parameter \"limit\": cannot parse \"x\" to a number"),
            (
                "exclude_alerts=x",
                "invalid parameter \"exclude_alerts\": cannot parse \"x\" to a boolean",
            ),
            ("match[]=%7B%7D", "match[] must contain at least one non-empty matcher"),
            (
                "match[]=up+offset+5m",
                "invalid parameter \"match[]\": up offset 5m has a modifier, which a selector of series cannot",
            ),
            (
                "start=2&end=1",
                "invalid parameter \"end\": end timestamp must not be before start time",
            ),
        ] {
            let params = params(query);
            let errors = [
                params.limit().err(),
                params.flag("exclude_alerts").err(),
                matchers(&params).err(),
                params.range(Timestamp(0)).err(),
            ];
            let words: Vec<String> = errors.into_iter().flatten().map(|e| e.to_string()).collect();
            assert_eq!(words, [wanted], "{query}");
        }
        assert_eq!(matchers(&params("match[]=up&match[]=up")).unwrap().len(), 1);
        assert_eq!(params("query=&query=up").first("query"), Some("up"));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading_of_parameters(name in "(query|start|end|limit|stats|match\\[\\]|step)", value in ".{0,60}") {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            let params = params(&query);
            drop((params.time(&name), params.duration(&name), params.limit(), params.bound(&name)));
            drop((params.flag(&name), params.range(Timestamp(0)), params.stats(), params.timeout()));
            drop(matchers(&params));
        }

        #[test]
        fn times_near_rfc_3339_break_nothing(
            text in "-?[0-9]{0,5}-?[0-9]{0,2}-?[0-9é]{0,3}[Tt ]?[0-9]{0,2}:?[0-9]{0,2}:?[0-9]{0,2}[.,]?[0-9é]{0,12}(Z|z|[+ -][0-9é]{0,2}:?[0-9]{0,2})?"
        ) {
            prop_assert!(parse_time(&text).is_none_or(|ms| ms.abs() < i64::MAX / 2));
        }

        #[test]
        fn a_time_we_print_is_the_time_we_read(ms in -9_223_372_036_000_i64..9_223_372_036_000) {
            prop_assert_eq!(parse_time(&Timestamp::from_ms(ms).to_string()).map(|read| read - ms).unwrap_or(1), 0);
            let seconds = format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.abs() / 1000, ms.abs() % 1000);
            prop_assert_eq!(parse_time(&seconds), Some(ms));
        }
    }
}

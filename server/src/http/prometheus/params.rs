//! Parameters of the Prometheus API: from the query string and, with POST, from a form body, which goes first.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use model::matcher::Matcher;
use model::time::{NS_PER_MS, TimeRange, Timestamp, days_from_civil};
use query::promql::duration::parse_ms;

use super::answer::Failure;

/// Largest form body, in bytes.
const FORM_MAX: usize = 1 << 20;
/// Selectors of one request at most; each costs a look at the index.
const SELECTORS_MAX: usize = 1_000;
/// Go's minimum and maximum time, which clients send for "no bound".
const GO_TIME_MIN: &str = "-292273086-05-16T16:47:06Z";
const GO_TIME_MAX: &str = "292277025-08-18T07:12:54.999999999Z";

/// Names and values in order; a name may repeat.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

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
        Ok(Self(pairs))
    }
}

impl Params {
    /// The first value of `name`; an empty one counts as absent.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
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

    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Failure> {
        let ms = self.duration("timeout")?;
        Ok(ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }

    pub(crate) fn wants_stats(&self) -> bool {
        self.first("stats").is_some()
    }

    /// Whether the cost of each part of the query is asked for: `explain=1`.
    pub(crate) fn wants_explain(&self) -> bool {
        self.first("explain").is_some_and(|text| !matches!(text, "" | "0" | "false"))
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
    pub(crate) fn matchers(&self) -> Result<Vec<Vec<Matcher>>, Failure> {
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
        let set = |text: &str| {
            query::matchers(text).map_err(|error| match error.to_string() {
                all if all.contains("must contain at least one non-empty matcher") => {
                    Failure::bad_data("match[] must contain at least one non-empty matcher")
                }
                other => Failure::parameter("match[]", &other),
            })
        };
        texts.into_iter().map(set).collect()
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
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
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
    let ms = number(&format!("{fraction:0<3}")[..3], 3)
        .filter(|_| fraction.bytes().all(|b| b.is_ascii_digit()))?;
    let offset_s = if zone.eq_ignore_ascii_case("z") {
        0
    } else {
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let seconds = number(hours, 2)? * 3600 + number(minutes, 2)? * 60;
        if zone.starts_with('-') { -seconds } else { seconds }
    };
    let days = days_from_civil(year, month, day);
    Some((days * 86_400 + hour * 3600 + minute * 60 + second - offset_s) * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "NaN",
            "1e400",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}

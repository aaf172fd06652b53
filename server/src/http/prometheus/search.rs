//! `search/*`: names and values that resemble what somebody typed, as lines of JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use query::{Order, Ranking, Resemblance, SeriesQuery, Wish, rank};
use serde_json::{Value, json};

use super::App;
use super::answer::Failure;
use super::params::Params;

/// Results and results a line, when nobody says; results at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 100_000;
/// Terms of one search at most, and bytes of each: all are compared with every name.
const TERMS_MAX: usize = 20;
const TERM_BYTES_MAX: usize = 256;

pub(super) async fn metric_names(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let search = Search::new(&params)?;
    let has_metadata = params.flag("include_metadata")?;
    let found = app.engine.label_values("__name__".to_owned(), scope(&app, &params).await?).await?;
    let ranking = rank(found.items, &search.wish);
    let known = if has_metadata { Some(app.engine.metadata(None).await?) } else { None };
    Ok(search.lines(&ranking, |name| {
        let mut result = json!({"name": name});
        let families = known.as_ref().map(|known| &known.by_name);
        let family = families.and_then(|families| family(families, name));
        if let Some(family) = family.and_then(|family| family.first()) {
            result["type"] = json!(family.kind);
            result["help"] = json!(family.help);
            result["unit"] = json!(family.unit);
        }
        result
    }))
}

/// What is known of the family of a series' name, a histogram's parts included.
fn family<'a, T>(known: &'a BTreeMap<String, T>, name: &str) -> Option<&'a T> {
    known.get(name).or_else(|| {
        let bases = ["_bucket", "_count", "_sum"].into_iter();
        bases.filter_map(|suffix| known.get(name.strip_suffix(suffix)?)).next()
    })
}

pub(super) async fn label_names(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let search = Search::new(&params)?;
    let found = app.engine.label_names(scope(&app, &params).await?).await?;
    Ok(search.lines(&rank(found.items, &search.wish), |name| json!({"name": name})))
}

pub(super) async fn label_values(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let search = Search::new(&params)?;
    let Some(label) = params.first("label") else {
        return Err(Failure::parameter("label", "the label whose values are searched is missing"));
    };
    let found = app.engine.label_values(label.to_owned(), scope(&app, &params).await?).await?;
    Ok(search.lines(&rank(found.items, &search.wish), |value| json!({"value": value})))
}

/// The series whose names are searched.
async fn scope(app: &App, params: &Params) -> Result<SeriesQuery, Failure> {
    let (range, matchers) = (params.range(app.clock.now())?, params.matchers(&app.engine).await?);
    Ok(SeriesQuery { matchers, range, limit: 0 })
}

struct Search {
    wish: Wish,
    batch: usize,
    has_score: bool,
}

impl Search {
    fn new(params: &Params) -> Result<Self, Failure> {
        let number = |name: &str, least: usize, most: usize| match params.first(name) {
            None => Ok(None),
            Some(text) => {
                let number = text.parse().ok().filter(|n| (least..=most).contains(n));
                let wrong = || format!("{text:?} is no whole number from {least} to {most}");
                number.ok_or_else(|| Failure::parameter(name, &wrong())).map(Some)
            }
        };
        let resemblance = match params.first("fuzz_alg") {
            None | Some("subsequence") => Resemblance::Subsequence,
            Some("jarowinkler") => Resemblance::JaroWinkler,
            Some(other) => return Err(unknown("fuzz_alg", other, "subsequence, jarowinkler")),
        };
        let order = match (params.first("sort_by"), params.first("sort_dir")) {
            (None | Some("alpha"), None | Some("asc")) => Order::Rising,
            (Some("alpha"), Some("dsc")) => Order::Falling,
            (Some("score"), None) => Order::Score,
            (Some("score") | None, Some(_)) => {
                return Err(Failure::parameter("sort_dir", "only valid with sort_by=alpha"));
            }
            (Some("alpha"), Some(other)) => return Err(unknown("sort_dir", other, "asc, dsc")),
            (Some(other), _) => return Err(unknown("sort_by", other, "alpha, score")),
        };
        let terms: Vec<String> =
            params.all("search[]").into_iter().filter(|term| !term.is_empty()).collect();
        if terms.len() > TERMS_MAX {
            let words = format!("{} terms, the limit is {TERMS_MAX}", terms.len());
            return Err(Failure::parameter("search[]", &words));
        }
        if let Some(term) = terms.iter().find(|term| term.len() > TERM_BYTES_MAX) {
            let words = format!("a term of {} bytes, the limit is {TERM_BYTES_MAX}", term.len());
            return Err(Failure::parameter("search[]", &words));
        }
        let threshold = number("fuzz_threshold", 0, 100)?.unwrap_or(0);
        Ok(Self {
            wish: Wish {
                terms,
                score_min: f64::from(u8::try_from(threshold).unwrap_or(100)) / 100.0,
                resemblance,
                case_sensitive: params.flag("case_sensitive")?,
                order,
                limit: number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT),
            },
            batch: number("batch_size", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT),
            has_score: params.flag("include_score")?,
        })
    }

    /// Batches of results, a line each, and a last line that says how it ended.
    fn lines(&self, ranking: &Ranking, result: impl Fn(&str) -> Value) -> Response {
        let mut out = String::new();
        for batch in ranking.names.chunks(self.batch) {
            let results = batch.iter().map(|(name, score)| {
                let mut result = result(name);
                if self.has_score {
                    result["score"] = json!(score);
                }
                result
            });
            let line = json!({"results": results.collect::<Vec<_>>()});
            out.push_str(&line.to_string());
            out.push('\n');
        }
        let last = json!({"status": "success", "has_more": ranking.has_more});
        out.push_str(&last.to_string());
        out.push('\n');
        ([(CONTENT_TYPE, "application/x-ndjson; charset=utf-8")], out).into_response()
    }
}

fn unknown(name: &str, value: &str, known: &str) -> Failure {
    Failure::parameter(name, &format!("not supported value {value:?}, one of {known}"))
}

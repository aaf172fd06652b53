//! `POST complete`: what fits at the cursor. The context is told from the text before it; names come from the store.

use std::sync::Arc;

use api::complete::{CompleteRequest, Completion, Item, ItemKind, Language, Replace};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use model::matcher::{MatchOp, Matcher};
use model::time::TimeRange;
use query::promql::functions::Function;
use query::{SeriesQuery, SqlQuery};

use super::App;
use super::error::Failure;

/// Most candidates answered.
const ITEMS_MAX: usize = 100;

const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "quantile",
    "count_values",
    "limitk",
    "limit_ratio",
];
const PROMQL_WORDS: [&str; 12] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "and",
    "or",
    "unless",
    "atan2",
];
const SQL_WORDS: [&str; 26] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "HAVING",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS NULL",
    "DISTINCT",
    "UNION ALL",
    "WITH",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "EXPLAIN",
];

/// What the cursor stands on.
#[derive(Debug, PartialEq, Eq)]
enum Context {
    /// A metric, function or keyword.
    Expression,
    /// A label name; of the metric, when it is known.
    Label { metric: String },
    /// A value of `label`, inside quotes.
    Value { metric: String, label: String },
    /// Nothing to offer: a number, a duration, a plain string.
    Nothing,
}

pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    request: Result<Json<CompleteRequest>, JsonRejection>,
) -> Result<Json<Completion>, Failure> {
    let Json(request) = request?;
    let cursor = request.text.floor_char_boundary(request.cursor.min(request.text.len()));
    let before = &request.text[..cursor];
    let (start, word) = word_at(before);
    let mut items = match request.kind {
        Language::Sql => sql(&app).await?,
        Language::Promql => promql(&app, context(&before[..start])).await?,
    };
    rank(&mut items, word);
    Ok(Json(Completion { items, replace: Replace { start, end: cursor } }))
}

/// The unfinished word before the cursor: where it starts, and its text.
fn word_at(before: &str) -> (usize, &str) {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '.' | '-' | '/');
    let in_quotes = before.matches('"').count() % 2 == 1;
    let start = if in_quotes {
        before.rfind('"').map_or(0, |quote| quote + 1)
    } else {
        before.trim_end_matches(is_word).len()
    };
    (start, &before[start..])
}

/// Reads the text before the word once, from left to right.
fn context(before: &str) -> Context {
    let mut open: Vec<(char, String)> = Vec::new(); // Brackets, each with the word before it.
    let (mut word, mut label, mut quoted) = (String::new(), String::new(), false);
    for c in before.chars() {
        if quoted {
            quoted = c != '"';
            continue;
        }
        match c {
            '"' => quoted = true,
            '{' | '(' | '[' => open.push((c, std::mem::take(&mut word))),
            '}' | ')' | ']' => drop(open.pop()),
            '=' | '!' | '~' if !word.is_empty() => label = std::mem::take(&mut word),
            c if c.is_alphanumeric() || matches!(c, '_' | ':' | '.') => word.push(c),
            c if c.is_whitespace() => {}
            _ => word.clear(),
        }
    }
    let inner = open.pop();
    let metric = inner.as_ref().map(|(_, word)| word.clone()).unwrap_or_default();
    match inner.map(|(bracket, _)| bracket) {
        Some('{') if quoted => Context::Value { metric, label },
        Some('{') => Context::Label { metric },
        Some('(') if is_grouping(&metric) => Context::Label { metric: String::new() },
        Some('[') => Context::Nothing,
        _ if quoted => Context::Nothing,
        _ => Context::Expression,
    }
}

fn is_grouping(word: &str) -> bool {
    // `sum by (`: the word before the bracket holds both, since white space joins them.
    ["by", "without", "on", "ignoring", "group_left", "group_right"]
        .iter()
        .any(|key| word.ends_with(key))
}

async fn promql(app: &App, context: Context) -> Result<Vec<Item>, Failure> {
    let plain = |kind| move |name: String| item(name, kind, "");
    match context {
        Context::Nothing => Ok(Vec::new()),
        Context::Label { metric } => {
            let names = app.engine.label_names(of(&metric)).await?.items;
            let names = names.into_iter().filter(|name| name != "__name__");
            Ok(names.map(plain(ItemKind::Label)).collect())
        }
        Context::Value { metric, label } => {
            let values = app.engine.label_values(label, of(&metric)).await?.items;
            Ok(values.into_iter().map(plain(ItemKind::Value)).collect())
        }
        Context::Expression => {
            let mut items = metrics(app).await?;
            items.extend(Function::all().iter().map(|function| {
                let mut found = item(function.name.to_owned(), ItemKind::Function, "function");
                found.insert.push('(');
                found
            }));
            let words =
                AGGREGATIONS.map(|name| item(name.to_owned(), ItemKind::Function, "aggregation"));
            items.extend(words);
            items.extend(PROMQL_WORDS.map(|name| item(name.to_owned(), ItemKind::Keyword, "")));
            Ok(items)
        }
    }
}

/// The series of a metric, or all when the metric is not known yet.
fn of(metric: &str) -> SeriesQuery {
    let named =
        (!metric.is_empty()).then(|| vec![Matcher::new("__name__", MatchOp::Equal, metric)]);
    SeriesQuery {
        matchers: named.into_iter().collect(),
        range: TimeRange::ALL,
        limit: 10 * ITEMS_MAX,
    }
}

async fn metrics(app: &App) -> Result<Vec<Item>, Failure> {
    let known = app.engine.metadata(None).await?;
    let items = known.by_name.into_iter().filter_map(|(metric, entries)| {
        let meta = entries.into_iter().next()?;
        let unit = if meta.unit.is_empty() { String::new() } else { format!(" · {}", meta.unit) };
        let mut found = item(metric, ItemKind::Metric, &format!("{}{unit}", meta.kind));
        found.help = meta.help;
        Some(found)
    });
    Ok(items.collect())
}

async fn sql(app: &App) -> Result<Vec<Item>, Failure> {
    let mut items: Vec<Item> =
        SQL_WORDS.iter().map(|word| item((*word).to_owned(), ItemKind::Keyword, "")).collect();
    let query = SqlQuery {
        text: "SELECT table_name, column_name, data_type FROM information_schema.columns"
            .to_owned(),
        ..SqlQuery::default()
    };
    let answer = app.engine.sql(query).await?;
    let rows: Vec<[String; 3]> = serde_json::from_str(&answer.rows_json()?).unwrap_or_default();
    for [table, column, data_type] in rows {
        items.push(item(column, ItemKind::Column, &format!("{data_type} · {table}")));
        items.push(item(table, ItemKind::Table, "table"));
    }
    items.sort_by(|a, b| a.label.cmp(&b.label));
    items.dedup_by(|a, b| a.label == b.label && a.kind == b.kind);
    Ok(items)
}

fn item(label: String, kind: ItemKind, detail: &str) -> Item {
    Item { insert: label.clone(), label, kind, detail: detail.to_owned(), help: String::new() }
}

/// Keeps what holds the letters of `word` in order; what begins with it comes first, then what contains it.
fn rank(items: &mut Vec<Item>, word: &str) {
    let word = word.to_lowercase();
    let score = |label: &str| -> Option<(u8, usize)> {
        let label = label.to_lowercase();
        if label.starts_with(&word) {
            return Some((0, label.len()));
        }
        if let Some(at) = label.find(&word) {
            return Some((1, at));
        }
        let mut rest = label.chars();
        word.chars().all(|c| rest.any(|other| other == c)).then_some((2, label.len()))
    };
    let mut scored: Vec<((u8, usize), Item)> = std::mem::take(items)
        .into_iter()
        .filter_map(|item| Some((score(&item.label)?, item)))
        .collect();
    scored.sort_by(|a, b| (a.0, &a.1.label).cmp(&(b.0, &b.1.label)));
    items.extend(scored.into_iter().take(ITEMS_MAX).map(|(_, item)| item));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_read_from_the_text() {
        let label = |metric: &str| Context::Label { metric: metric.to_owned() };
        assert_eq!(context("sum(rate("), Context::Expression);
        assert_eq!(context("http_requests_total{"), label("http_requests_total"));
        assert_eq!(context("x{a=\"b\", "), label("x"));
        assert_eq!(
            context("x{a=\""),
            Context::Value { metric: "x".to_owned(), label: "a".to_owned() }
        );
        assert_eq!(context("sum by ("), label(""));
        assert_eq!(context("rate(x["), Context::Nothing);
    }

    #[test]
    fn beginnings_come_before_middles() {
        let mut items: Vec<Item> = ["a_rate", "rate", "irate", "sum", "rxaxtxe"]
            .map(|name| item(name.to_owned(), ItemKind::Function, ""))
            .to_vec();
        rank(&mut items, "rate");
        let labels: Vec<&str> = items.iter().map(|item| item.label.as_str()).collect();
        assert_eq!(labels, ["rate", "irate", "a_rate", "rxaxtxe"]);
    }

    #[test]
    fn the_word_ends_at_the_cursor() {
        assert_eq!(word_at("sum(http_req"), (4, "http_req"));
        assert_eq!(word_at("x{a=\"va l"), (5, "va l"));
        assert_eq!(word_at(""), (0, ""));
    }
}

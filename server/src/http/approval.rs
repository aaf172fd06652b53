//! `GET actions/ID/approval`: what a signed link shows, a page with one button. `POST` of the same is the yes itself:
//! programs that look at links in messages only ever ask by `GET`.

use std::sync::Arc;

use action::actions::ask::Refusal;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use serde::Deserialize;
use serde_json::Value;

use super::App;

/// One page with a form and its own style, nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// What the link carries.
#[derive(Deserialize)]
pub(super) struct Link {
    by: String,
    sig: String,
}

/// Texts in English and Chinese.
struct Words {
    title: &'static str,
    button: &'static str,
    given: &'static str,
    alert: &'static str,
    does: &'static str,
    wrong: &'static str,
}

const ENGLISH: Words = Words {
    title: "Approve an action",
    button: "Approve as",
    given: "Approved; approvals:",
    alert: "Because of",
    does: "It will do",
    wrong: "This cannot be approved",
};
const CHINESE: Words = Words {
    title: "批准操作",
    button: "以此身份批准：",
    given: "已批准；批准数：",
    alert: "原因",
    does: "将执行",
    wrong: "无法批准",
};

pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(link): Query<Link>,
    headers: HeaderMap,
) -> Response {
    let words = words(&headers);
    match app.actions.signed(&id, &link.by, &link.sig) {
        Err(refusal) => refused(words, &refusal),
        Ok(seen) => {
            let button = format!(
                "<form method=\"post\"><button>{} {}</button></form>",
                words.button,
                escaped(&link.by)
            );
            page(words, &format!("{}{button}", described(words, &seen)), StatusCode::OK)
        }
    }
}

pub(super) async fn approve(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(link): Query<Link>,
    headers: HeaderMap,
) -> Response {
    let words = words(&headers);
    if let Err(refusal) = app.actions.signed(&id, &link.by, &link.sig) {
        return refused(words, &refusal);
    }
    match app.actions.approve(&id, &link.by, true).await {
        Err(refusal) => refused(words, &refusal),
        Ok(seen) => {
            let summary = &seen["summary"];
            let given = format!(
                "<p class=\"good\">{} {} / {}</p>",
                words.given, summary["approvals"], summary["approvals_needed"]
            );
            page(words, &format!("{given}{}", described(words, &seen)), StatusCode::OK)
        }
    }
}

fn words(headers: &HeaderMap) -> &'static Words {
    let languages = headers.get(ACCEPT_LANGUAGE).and_then(|text| text.to_str().ok());
    if languages.is_some_and(|text| text.starts_with("zh")) { &CHINESE } else { &ENGLISH }
}

fn refused(words: &Words, refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
        Refusal::Unfit(_) => StatusCode::CONFLICT,
        Refusal::Journal(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    page(
        words,
        &format!("<p class=\"bad\">{}: {}</p>", words.wrong, escaped(&refusal.to_string())),
        status,
    )
}

/// What is done, to what, and why.
fn described(words: &Words, seen: &Value) -> String {
    let plan = &seen["run"]["plan"];
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let steps = plan["steps"].as_array().into_iter().flatten().map(|planned| {
        let step = &planned["step"];
        format!(
            "<li><code>{} {}</code></li>",
            text(&step["do"]),
            escaped(&step["with"].to_string())
        )
    });
    let labels = seen["incident"]["labels"].as_object().into_iter().flatten();
    let labels =
        labels.map(|(name, value)| format!("<li>{} = {}</li>", escaped(name), text(value)));
    format!(
        "<h2>{}: {}/{}</h2><h3>{}</h3><ol>{}</ol><h3>{}</h3><ul>{}</ul>",
        text(&plan["runbook"]),
        text(&plan["target"]["name"]),
        text(&plan["member"]),
        words.does,
        steps.collect::<String>(),
        words.alert,
        labels.collect::<String>(),
    )
}

fn page(words: &Words, body: &str, status: StatusCode) -> Response {
    let html = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"><title>{0} · Headrope</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>\
         :root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}\
         button{{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#0b6bcb;color:#fff;cursor:pointer}}\
         .good{{color:#1a7f37}}.bad{{color:#cf222e}}h2{{font-size:1.2rem}}h3{{font-size:1rem;margin-bottom:0}}\
         </style></head><body><h1>{0}</h1>{body}</body></html>",
        words.title
    );
    // The address is the proof: nobody else is to see or keep it.
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (status, headers, Html(html)).into_response()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

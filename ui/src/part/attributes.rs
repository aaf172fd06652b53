//! Attributes of a span, a log record or a resource as a table.

use leptos::prelude::*;
use serde_json::{Map, Value};

use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};

/// A value as text: strings without quotes, the rest as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Keys and values in key order. `on_filter` adds a pair to the query of the page.
#[component]
pub(crate) fn Attributes(
    #[prop(into)] title: String,
    map: Map<String, Value>,
    #[prop(optional, into)] on_filter: Option<Callback<(String, String)>>,
) -> impl IntoView {
    let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let row = move |(key, value): (String, Value)| {
        let value = text(&value);
        let filter = on_filter.map(|on_filter| {
            let (key, value) = (key.clone(), value.clone());
            view! {
                <button
                    class="icon-button quiet"
                    title=t(Msg::FilterBy)
                    aria-label=format!("{} {key}", t(Msg::FilterBy))
                    on:click=move |_| on_filter.run((key.clone(), value.clone()))
                >
                    <Icon glyph=Glyph::Search/>
                </button>
            }
        });
        view! { <tr><th scope="row">{key}</th><td>{value}</td><td class="row-tools">{filter}</td></tr> }
    };
    (!pairs.is_empty()).then(|| view! {
        <section class="attributes">
            <h3>{title}</h3>
            <table class="pairs"><tbody>{pairs.into_iter().map(row).collect_view()}</tbody></table>
        </section>
    })
}

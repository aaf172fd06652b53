//! The URL as the state of the view: reading and writing its parameters, and links that keep what is global.

use api::range::{Moment, duration, parse_duration};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_location, use_navigate, use_query_map};
use leptos_router::location::State;

/// Parameters that stay when the page changes, in canonical order.
const GLOBAL: [&str; 4] = ["from", "to", "refresh", "embed"];

/// Width of the default range.
pub(crate) const RANGE_DEFAULT_MS: i64 = 15 * 60_000;

type Navigate = std::rc::Rc<dyn Fn(&str, NavigateOptions)>;

/// Access to the URL; one for the whole program.
#[derive(Clone, Copy)]
pub(crate) struct UrlState {
    path: Memo<String>,
    query: Memo<leptos_router::params::ParamsMap>,
    navigate: StoredValue<Navigate, LocalStorage>,
}

/// Both ends of the range, as written in the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Moment,
    pub(crate) to: Moment,
}

impl Default for Range {
    fn default() -> Self {
        Self { from: Moment::ago(RANGE_DEFAULT_MS), to: Moment::NOW }
    }
}

impl Range {
    /// Both ends in ms since the epoch; never empty.
    pub(crate) fn resolve(self, now_ms: i64) -> (i64, i64) {
        let to_ms = self.to.resolve(now_ms, 0);
        let from_ms = self.from.resolve(now_ms, 0);
        (from_ms.min(to_ms - 1_000), to_ms)
    }

    /// Whether it moves along with the clock.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self.to, Moment::Relative { floor_ms: 0, .. })
    }
}

impl UrlState {
    /// To be called inside the router.
    pub(crate) fn new() -> Self {
        let location = use_location();
        let navigate: Navigate = std::rc::Rc::new(use_navigate());
        Self {
            path: location.pathname,
            query: use_query_map(),
            navigate: StoredValue::new_local(navigate),
        }
    }

    /// The path, tracked.
    pub(crate) fn path(&self) -> String {
        self.path.get()
    }

    /// A parameter, tracked; absent and empty are the same.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.query.with(|query| query.get(name)).filter(|value| !value.is_empty())
    }

    /// Likewise, not tracked.
    pub(crate) fn peek(&self, name: &str) -> Option<String> {
        self.query.with_untracked(|query| query.get(name)).filter(|value| !value.is_empty())
    }

    /// A parameter as a signal that changes only with its value.
    pub(crate) fn param(self, name: &'static str) -> Memo<String> {
        Memo::new(move |_| self.get(name).unwrap_or_default())
    }

    /// The range, as a signal. What cannot be read falls back to the default.
    pub(crate) fn range(self) -> Memo<Range> {
        Memo::new(move |_| {
            let read = |name| self.get(name).and_then(|text| text.parse::<Moment>().ok());
            let default = Range::default();
            Range {
                from: read("from").unwrap_or(default.from),
                to: read("to").unwrap_or(default.to),
            }
        })
    }

    /// Refresh interval in ms, as a signal; `None` when off.
    ///
    /// Unless chosen, it follows the range: a second for a quarter of an hour, a minute for a day.
    pub(crate) fn refresh(self, range: Memo<Range>) -> Memo<Option<i64>> {
        Memo::new(move |_| match self.get("refresh").as_deref() {
            Some("off") => None,
            Some(text) => parse_duration(text).filter(|ms| *ms >= 1_000),
            None if !range.get().is_live() => None,
            None => {
                let (from_ms, to_ms) = range.get().resolve(0);
                Some(match (to_ms - from_ms) / 60_000 {
                    ..=15 => 1_000,
                    16..=60 => 5_000,
                    61..=360 => 30_000,
                    _ => 60_000,
                })
            }
        })
    }

    /// Changes parameters of this page; `None` removes. A new entry of the history unless `replace`.
    pub(crate) fn set(&self, changes: &[(&str, Option<String>)], replace: bool) {
        let mut pairs: Vec<(String, String)> = self.query.with_untracked(|query| {
            query.clone().into_iter().map(|(name, value)| (name.into_owned(), value)).collect()
        });
        for (name, value) in changes {
            pairs.retain(|(key, _)| key != name);
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                pairs.push(((*name).to_owned(), value.clone()));
            }
        }
        pairs.sort();
        let target = format!("{}{}", self.path.get_untracked(), encode(&pairs));
        self.go_with(&target, replace);
    }

    /// Sets the range; the default leaves no trace in the URL.
    pub(crate) fn set_range(&self, range: Range) {
        let default = Range::default();
        let text =
            |moment: Moment, default: Moment| (moment != default).then(|| moment.to_string());
        self.set(
            &[("from", text(range.from, default.from)), ("to", text(range.to, default.to))],
            false,
        );
    }

    /// Opens another page.
    pub(crate) fn go(&self, target: &str) {
        self.go_with(target, false);
    }

    fn go_with(&self, target: &str, replace: bool) {
        let options =
            NavigateOptions { resolve: false, replace, scroll: false, state: State::default() };
        self.navigate.with_value(|navigate| navigate(target, options));
    }

    /// A link to `path` that keeps range and refresh, with `extra` parameters. Tracked.
    pub(crate) fn link(&self, path: &str, extra: &[(&str, &str)]) -> String {
        let is_given = |name: &str| extra.iter().any(|(given, _)| *given == name);
        let kept = GLOBAL.iter().filter(|name| !is_given(name));
        let kept = kept.filter_map(|name| Some(((*name).to_owned(), self.get(name)?)));
        let mut pairs: Vec<(String, String)> = kept.collect();
        pairs.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        pairs.sort();
        format!("{path}{}", encode(&pairs))
    }
}

/// The parameters as `?a=b&c=d`, or nothing.
fn encode(pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let pair = |(name, value): &(String, String)| format!("{}={}", escape(name), escape(value));
    format!("?{}", pairs.iter().map(pair).collect::<Vec<_>>().join("&"))
}

/// Percent-encoding of one component.
pub(crate) fn escape(text: &str) -> String {
    String::from(js_sys::encode_uri_component(text))
}

/// A range for people: `15m`, or both ends.
pub(crate) fn range_label(range: Range, now_ms: i64) -> String {
    match (range.from, range.to) {
        (Moment::Relative { ago_ms, floor_ms: 0 }, Moment::NOW) => duration(ago_ms),
        _ => {
            let (from_ms, to_ms) = range.resolve(now_ms);
            let zone = crate::browser::zone(from_ms, to_ms);
            let (from, to) = (
                viz::time_axis::date_time(from_ms, &zone),
                viz::time_axis::date_time(to_ms, &zone),
            );
            let same_day = from.get(..10) == to.get(..10);
            let to = if same_day { to.get(11..).unwrap_or_default() } else { &to };
            format!("{from} – {to}")
        }
    }
}

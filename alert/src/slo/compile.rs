//! An objective as two groups of rules: a quick one that counts events in short buckets and watches the windows of pages
//! and actions, and one by the minute for long windows, which adds up what the first recorded and reads no raw data.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use template::Template;

use super::window::{filled, text_of};
use super::{Indicator, Slo};
use crate::rule::{Alerting, Extra, Group, Kind, NoData, Options, Rule, Text, VARIABLES};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOLD_MAX: Duration = DAY;
/// Windows of the quick group.
const SHORT: [Duration; 5] =
    [Duration::from_secs(30), MINUTE, Duration::from_secs(300), Duration::from_secs(600), HOUR];
/// Windows of the other; the period comes on top.
const LONG: [Duration; 5] = [
    Duration::from_secs(1_800),
    Duration::from_secs(7_200),
    Duration::from_secs(21_600),
    DAY,
    Duration::from_secs(3 * 24 * 3_600),
];
/// Buckets of the action tier are no longer.
const ACTION_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// An alert of an objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Name of its rule.
    pub alert: &'static str,
    /// `page`, `ticket` or `action`.
    pub severity: &'static str,
    /// The long window.
    pub long: Duration,
    /// The short one, which ends the alert soon.
    pub short: Duration,
    /// The burn rate both must exceed.
    pub burn: f64,
}

/// The alerts of an objective. Those are left out that could never fire, because all events failing burns no faster, or
/// because buckets are too long for their short window.
#[must_use]
pub fn tiers(slo: &Slo) -> Vec<Tier> {
    // The share of the budget that is spent within the long window when the alert fires.
    let share = |part: f64, long: Duration| {
        (part * slo.period.as_secs_f64() / long.as_secs_f64() * 1e6).round() / 1e6
    };
    let tier = |alert, severity, (long, short), burn| Tier { alert, severity, long, short, burn };
    let all = [
        tier("SloActionFast", "action", (SHORT[2], SHORT[0]), 100.0),
        tier("SloActionSteady", "action", (SHORT[3], SHORT[1]), 36.0),
        tier("SloPageFast", "page", (HOUR, SHORT[2]), share(0.02, HOUR)),
        tier("SloPageSlow", "page", (LONG[2], LONG[0]), share(0.05, LONG[2])),
        tier("SloTicketFast", "ticket", (DAY, LONG[1]), share(0.1, DAY)),
        tier("SloTicketSlow", "ticket", (LONG[4], LONG[2]), share(0.1, LONG[4])),
    ];
    let can_fire = |tier: &Tier| {
        let is_quick = tier.severity != "action" || slo.interval <= ACTION_INTERVAL_MAX;
        tier.burn * slo.budget() < 1.0 && is_quick
    };
    all.into_iter().filter(can_fire).collect()
}

/// The groups of an objective.
pub(super) fn groups(slo: Slo, options: &Options) -> [Group; 2] {
    let slo = Arc::new(slo);
    let minute = Writer { slo: &slo, rules: Vec::new() };
    let quick = Writer { slo: &slo, rules: Vec::new() };
    let group = |name: String, interval, query_offset, rules| Group {
        file: slo.file.clone(),
        name,
        interval,
        query_offset,
        limit: 0,
        rules,
        slo: Some(Arc::clone(&slo)),
    };
    let delay = slo.delay.max(options.query_offset);
    // What the quick group counts until then has been recorded by then.
    let later = delay + slo.interval;
    [
        group(format!("slo {}", slo.name), slo.interval, delay, quick.quick()),
        group(format!("slo {} by the minute", slo.name), MINUTE, later, minute.by_minute()),
    ]
}

struct Writer<'a> {
    slo: &'a Slo,
    rules: Vec<Rule>,
}

impl Writer<'_> {
    fn quick(mut self) -> Vec<Rule> {
        let (bad, total) = counts(self.slo);
        self.record("slo:events:step", None, total);
        self.record("slo:bad_events:step", None, bad);
        for window in SHORT {
            self.window(window, "step");
        }
        self.alerts(|tier| SHORT.contains(&tier.long));
        self.rules
    }

    fn by_minute(mut self) -> Vec<Rule> {
        for events in ["events", "bad_events"] {
            let step = self.series(&format!("slo:{events}:step"), None);
            self.record(
                &format!("slo:{events}:minute"),
                None,
                format!("sum_over_time({step}[1m])"),
            );
        }
        let mut windows = LONG.to_vec();
        if !windows.contains(&self.slo.period) {
            windows.push(self.slo.period);
        }
        for window in windows {
            self.window(window, "minute");
        }
        let period = self.series("slo:burn_rate", Some(self.slo.period));
        self.record("slo:budget_remaining", None, format!("1 - {period}"));
        self.alerts(|tier| LONG.contains(&tier.long));
        self.rules
    }

    /// Counts, ratio and burn rates of a window, from the buckets recorded as `step`.
    fn window(&mut self, window: Duration, step: &str) {
        let range = text_of(window);
        for events in ["events", "bad_events"] {
            let counted = self.series(&format!("slo:{events}:{step}"), None);
            let sum = format!("sum_over_time({counted}[{range}])");
            self.record(&format!("slo:{events}:window"), Some(window), sum);
        }
        let bad = self.series("slo:bad_events:window", Some(window));
        let n = self.series("slo:events:window", Some(window));
        // Of no events no share is known.
        let ratio = format!("clamp_max({bad} / ({n} > 0), 1)");
        self.record("slo:error_ratio", Some(window), ratio);
        let p = self.series("slo:error_ratio", Some(window));
        let budget = self.slo.budget();
        self.record("slo:burn_rate", Some(window), format!("{p} / {budget}"));
        // The lower end of Wilson's interval, z = 1.645: z²/2, z²/4 and z² stand in it.
        let low = format!(
            "clamp_min(({p} + 1.3530125 / {n} - 1.645 * sqrt({p} * (1 - {p}) / {n} + 0.67650625 / ({n} * {n}))) \
             / (1 + 2.706025 / {n}), 0) / {budget}"
        );
        self.record("slo:burn_rate_low", Some(window), low);
    }

    fn alerts(&mut self, is_here: impl Fn(&Tier) -> bool) {
        for tier in tiers(self.slo).into_iter().filter(is_here) {
            // Few events make a high ratio by chance: nobody is woken for that.
            let name =
                if tier.severity == "ticket" { "slo:burn_rate" } else { "slo:burn_rate_low" };
            let (long, short) =
                (self.series(name, Some(tier.long)), self.series(name, Some(tier.short)));
            let burn = tier.burn;
            let expr = format!("{long} > {burn} and ignoring (window) {short} > {burn}");
            let which = ["page", "ticket", "action"].iter().position(|word| *word == tier.severity);
            let given = which.map_or(&[][..], |which| &self.slo.alerts[which]);
            let mut labels = self.labels(None);
            labels.push(("severity".to_owned(), plain(tier.severity)));
            for (name, value) in given {
                labels.retain(|(known, _)| known != name);
                labels.push((name.clone(), plain(value)));
            }
            labels.sort_by(|a, b| a.0.cmp(&b.0));
            let extra = Extra { no_data: NoData::Hold, hold_max: HOLD_MAX, ..Extra::default() };
            let kind = Kind::Alert(Alerting {
                annotations: self.annotations(&tier),
                ..Alerting::default()
            });
            let (position, name) = (self.slo.position, tier.alert.to_owned());
            self.rules.push(Rule { name, expr: expr.into(), labels, kind, extra, position });
        }
    }

    fn annotations(&self, tier: &Tier) -> Vec<(String, Text)> {
        let slo = self.slo;
        let (long, short) = (text_of(tier.long), text_of(tier.short));
        let summary = format!(
            "{{{{ $labels.slo }}}} spends its error budget {{{{ $value | printf \"%.1f\" }}}} times as fast as it may, over {long} and {short}"
        );
        let template = Template::parse("summary", &summary, &VARIABLES)
            .expect("no text of the file stands in it");
        let mut said = format!("{} % of {} shall be good.", slo.objective, text_of(slo.period));
        if !slo.description.is_empty() {
            let _infallible = write!(said, " {}", slo.description);
        }
        let summary = Text { source: summary, template: Some(Arc::new(template)) };
        vec![("description".to_owned(), plain(&said)), ("summary".to_owned(), summary)]
    }

    fn record(&mut self, name: &str, window: Option<Duration>, expr: String) {
        let labels = self.labels(window);
        let (name, extra, position) = (name.to_owned(), Extra::default(), self.slo.position);
        let kind = Kind::Record;
        self.rules.push(Rule { name, expr: expr.into(), labels, kind, extra, position });
    }

    /// The labels of everything of this objective, in name order.
    fn labels(&self, window: Option<Duration>) -> Vec<(String, Text)> {
        let slo = self.slo;
        let mut labels = slo.labels.clone();
        labels.push(("slo".to_owned(), slo.name.clone()));
        if !slo.service.is_empty() {
            labels.retain(|(name, _)| name != "service");
            labels.push(("service".to_owned(), slo.service.clone()));
        }
        labels.extend(window.map(|window| ("window".to_owned(), text_of(window))));
        labels.sort();
        labels.into_iter().map(|(name, value)| (name, plain(&value))).collect()
    }

    /// A selector of what is recorded for this objective.
    fn series(&self, name: &str, window: Option<Duration>) -> String {
        let window = window.map_or_else(String::new, |w| format!(", window=\"{}\"", text_of(w)));
        format!("{name}{{slo={}{window}}}", quoted(&self.slo.name))
    }
}

/// Expressions that count bad and all events of one bucket.
fn counts(slo: &Slo) -> (String, String) {
    let fill = |expr: &str| filled(expr, slo.interval);
    match &slo.indicator {
        // Where nothing ever failed there is no series of failures, and that means none.
        Indicator::Bad { bad, total } => {
            let total = fill(total);
            (format!("clamp_min(({}) or ({total}) * 0, 0)", fill(bad)), total)
        }
        Indicator::Good { good, total } => {
            let total = fill(total);
            let good = format!("(({}) or ({total}) * 0)", fill(good));
            (format!("clamp_min(({total}) - {good}, 0)"), total)
        }
        // Without the boundary nothing is known, and nothing is recorded.
        Indicator::Latency { histogram, selector, .. } => {
            let comma = if selector.is_empty() { "" } else { "," };
            let le = boundary_pattern(slo.boundary().unwrap_or_default());
            let good = format!(
                "sum(increase({histogram}_bucket{{{selector}{comma}le=~\"{le}\"}}[$window]))"
            );
            let total = format!("sum(increase({histogram}_count{{{selector}}}[$window]))");
            (format!("clamp_min({} - {}, 0)", fill(&total), fill(&good)), fill(&total))
        }
    }
}

/// The spellings of a boundary: 1 is written `1` or `1.0`.
fn boundary_pattern(boundary: f64) -> String {
    let text = boundary.to_string();
    match text.split_once('.') {
        Some((whole, part)) => format!("{whole}[.]{part}0*"),
        None => format!("{text}([.]0+)?"),
    }
}

fn plain(text: &str) -> Text {
    Text { source: text.to_owned(), template: None }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

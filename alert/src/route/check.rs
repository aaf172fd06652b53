//! From what stands in the file to a configuration: every check, with the sentences Alertmanager's users know.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::matcher::MatchOp;
use serde_json::Value;
use serde_saphyr::Spanned;
use template::duration;

use super::config::{Inhibition, Integration, ROUTES_MAX, Receiver, Route};
use super::file::{
    InhibitBody, IntervalBody, NamedBody, ReceiverBody, RouteBody, Texts, TimesBody,
};
use super::interval::{self, Interval};
use super::matcher::{Condition, braces, parse};
use crate::rule::{Position, Problem, Problems};
use crate::yaml::{Pairs, Scalar, field_position, position_of, problem};

/// Deepest nesting of routes.
const DEPTH_MAX: usize = 100;

/// Where each name was used.
type Uses = Vec<(String, Position)>;

pub(super) struct Checker<'a> {
    source: &'a str,
    file: &'a str,
    local_zone: &'a str,
    problems: Vec<Problem>,
    receivers_used: Uses,
    intervals_used: Uses,
}

/// What a route hands down.
#[derive(Clone)]
struct Inherited {
    receiver: String,
    group_by: Option<BTreeSet<String>>,
    group_wait: Duration,
    group_interval: Duration,
    repeat_interval: Duration,
    labels: BTreeMap<String, String>,
    key: String,
}

impl<'a> Checker<'a> {
    pub(super) fn new(source: &'a str, file: &'a str, local_zone: &'a str) -> Self {
        let (problems, receivers_used, intervals_used) = (Vec::new(), Vec::new(), Vec::new());
        Self { source, file, local_zone, problems, receivers_used, intervals_used }
    }

    pub(super) fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }

    fn refuse(&mut self, position: Position, text: impl Into<String>, remedy: &str) {
        self.problems.push(problem(self.file, position, text.into(), remedy));
    }

    fn span(&mut self, written: Option<&Scalar>, default: Duration) -> Duration {
        let Some(written) = written else { return default };
        let ms = duration::parse_ms(&written.value).and_then(|ms| u64::try_from(ms).ok());
        ms.map(Duration::from_millis).unwrap_or_else(|| {
            let text = format!("not a valid duration string: {:?}", written.value);
            self.refuse(position_of(written.referenced), text, "write it like 30s, 5m or 1h30m");
            default
        })
    }

    pub(super) fn resolve_timeout(&mut self, global: &Value, at: Position) -> Duration {
        let default = Duration::from_secs(300);
        let Some(written) = global.get("resolve_timeout").and_then(Value::as_str) else {
            return default;
        };
        let ms = duration::parse_ms(written).and_then(|ms| u64::try_from(ms).ok());
        ms.map(Duration::from_millis).unwrap_or_else(|| {
            let at = field_position(self.source, at, "resolve_timeout");
            let text = format!("not a valid duration string: {written:?}");
            self.refuse(at, text, "write it like 5m");
            default
        })
    }

    pub(super) fn routes(&mut self, root: Option<Spanned<RouteBody>>) -> Vec<Route> {
        let Some(root) = root else {
            self.refuse(Position::default(), "no routes provided", "add a section route");
            return Vec::new();
        };
        let at = position_of(root.referenced);
        let body = &root.value;
        if body.receiver.as_ref().is_none_or(|receiver| receiver.value.is_empty()) {
            self.refuse(at, "root route must specify a default receiver", "");
        }
        if body.equal.is_some() || body.match_re.is_some() || !body.matchers.0.is_empty() {
            self.refuse(at, "root route must not have any matchers", "move them into a child");
        }
        if !body.mute_time_intervals.0.is_empty() {
            self.refuse(at, "root route must not have any mute time intervals", "");
        }
        if !body.active_time_intervals.0.is_empty() {
            self.refuse(at, "root route must not have any active time intervals", "");
        }
        let mut routes = Vec::new();
        let above = Inherited {
            receiver: String::new(),
            group_by: Some(BTreeSet::new()),
            group_wait: Duration::from_secs(30),
            group_interval: Duration::from_secs(300),
            repeat_interval: Duration::from_secs(4 * 3_600),
            labels: BTreeMap::new(),
            key: String::new(),
        };
        self.route(root, &above, 0, &mut routes);
        routes
    }

    /// Appends the route and those below it; its index.
    fn route(
        &mut self,
        body: Spanned<RouteBody>,
        above: &Inherited,
        depth: usize,
        routes: &mut Vec<Route>,
    ) -> Option<usize> {
        let at = position_of(body.referenced);
        if routes.len() >= ROUTES_MAX || depth > DEPTH_MAX {
            if routes.len() == ROUTES_MAX || depth == DEPTH_MAX + 1 {
                self.refuse(
                    at,
                    format!("more than {ROUTES_MAX} routes, or {DEPTH_MAX} levels"),
                    "",
                );
            }
            return None;
        }
        let body = body.value;
        let mut conditions = self.conditions(&body.matchers);
        conditions.extend(self.old_conditions(body.equal.as_ref(), MatchOp::Equal));
        conditions.extend(self.old_conditions(body.match_re.as_ref(), MatchOp::Regex));
        let own = self.inherit(&body, above, &conditions);
        for used in body.mute_time_intervals.0.iter().chain(&body.active_time_intervals.0) {
            self.intervals_used.push((used.value.clone(), position_of(used.referenced)));
        }
        let names = |texts: Texts| texts.0.into_iter().map(|name| name.value).collect();
        let index = routes.len();
        routes.push(Route {
            children: Vec::new(),
            conditions,
            receiver: own.receiver.clone(),
            group_by: own.group_by.clone(),
            group_wait: own.group_wait,
            group_interval: own.group_interval,
            repeat_interval: own.repeat_interval,
            goes_on: body.goes_on.unwrap_or(false),
            mute_in: names(body.mute_time_intervals),
            active_in: names(body.active_time_intervals),
            labels: own.labels.clone(),
            key: own.key.clone(),
        });
        for child in body.routes.unwrap_or_default() {
            let child = self.route(child, &own, depth + 1, routes);
            routes[index].children.extend(child);
        }
        Some(index)
    }

    fn inherit(&mut self, body: &RouteBody, above: &Inherited, own: &[Condition]) -> Inherited {
        let mut receiver = above.receiver.clone();
        if let Some(named) = body.receiver.as_ref().filter(|named| !named.value.is_empty()) {
            receiver.clone_from(&named.value);
            self.receivers_used.push((named.value.clone(), position_of(named.referenced)));
        }
        let mut labels = above.labels.clone();
        for (name, value) in body.labels.iter().flat_map(|pairs| &pairs.0) {
            let value = value.as_ref().map_or("", |value| &value.value);
            labels.insert(name.value.clone(), value.to_owned());
        }
        let group_by = match &body.group_by {
            Some(names) => self.group_by(names),
            None => above.group_by.clone(),
        };
        let slash = if above.key.is_empty() { "" } else { "/" };
        let inherited = Inherited {
            receiver,
            group_by,
            group_wait: self.span(body.group_wait.as_ref(), above.group_wait),
            group_interval: self.span(body.group_interval.as_ref(), above.group_interval),
            repeat_interval: self.span(body.repeat_interval.as_ref(), above.repeat_interval),
            labels,
            key: format!("{}{slash}{}", above.key, braces(own)),
        };
        for (field, written, length) in [
            ("group_interval", &body.group_interval, inherited.group_interval),
            ("repeat_interval", &body.repeat_interval, inherited.repeat_interval),
        ] {
            if let Some(written) = written.as_ref().filter(|_| length.is_zero()) {
                let at = position_of(written.referenced);
                self.refuse(at, format!("{field} cannot be zero"), "write it like 5m");
            }
        }
        inherited
    }

    fn group_by(&mut self, names: &Texts) -> Option<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for name in &names.0 {
            let at = position_of(name.referenced);
            if name.value == "..." && names.0.len() > 1 {
                let text =
                    "cannot have wildcard group_by (`...`) and other labels at the same time";
                self.refuse(at, text, "");
            } else if name.value.is_empty() {
                self.refuse(at, "invalid label name \"\" in group_by list", "");
            } else if !found.insert(name.value.clone()) {
                self.refuse(at, format!("duplicated label {:?} in group_by", name.value), "");
            }
        }
        (!found.contains("...")).then_some(found)
    }

    fn conditions(&mut self, texts: &Texts) -> Vec<Condition> {
        let mut found = Vec::new();
        for text in &texts.0 {
            match parse(&text.value) {
                Ok(conditions) => found.extend(conditions),
                Err(why) => {
                    let remedy = "write it like severity=\"page\", with =, !=, =~ or !~";
                    self.refuse(position_of(text.referenced), why, remedy);
                }
            }
        }
        found
    }

    fn old_conditions(&mut self, pairs: Option<&Pairs>, op: MatchOp) -> Vec<Condition> {
        let mut found = Vec::new();
        for (name, value) in pairs.iter().flat_map(|pairs| &pairs.0) {
            let text = value.as_ref().map_or("", |value| &value.value);
            match Condition::new(&name.value, op, text) {
                Ok(condition) => found.push(condition),
                Err(why) => self.refuse(position_of(name.referenced), why, ""),
            }
        }
        found
    }

    pub(super) fn receivers(&mut self, bodies: Vec<Spanned<ReceiverBody>>) -> Vec<Receiver> {
        let mut names = BTreeSet::new();
        let mut receivers = Vec::with_capacity(bodies.len());
        for body in bodies {
            let at = position_of(body.referenced);
            let name = body.value.name.as_ref().map_or("", |name| &name.value).to_owned();
            if name.is_empty() {
                self.refuse(at, "missing name in receiver", "");
            } else if !names.insert(name.clone()) {
                self.refuse(at, format!("notification config name {name:?} is not unique"), "");
            }
            let labels = body.value.labels.clone();
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            let mut integrations = Vec::new();
            for (kind, settings) in body.value.integrations() {
                let count = counts.entry(kind).or_default();
                integrations.push(Integration::new(kind, *count, settings, self.source));
                *count += 1;
            }
            receivers.push(Receiver { name, labels, integrations });
        }
        receivers
    }

    pub(super) fn inhibitions(&mut self, bodies: Vec<Spanned<InhibitBody>>) -> Vec<Inhibition> {
        let mut rules = Vec::with_capacity(bodies.len());
        for body in bodies {
            let body = body.value;
            let mut source = self.conditions(&body.source_matchers);
            source.extend(self.old_conditions(body.source_match.as_ref(), MatchOp::Equal));
            source.extend(self.old_conditions(body.source_match_re.as_ref(), MatchOp::Regex));
            let mut target = self.conditions(&body.target_matchers);
            target.extend(self.old_conditions(body.target_match.as_ref(), MatchOp::Equal));
            target.extend(self.old_conditions(body.target_match_re.as_ref(), MatchOp::Regex));
            rules.push(Inhibition {
                name: body.name.map_or_else(String::new, |name| name.value),
                source,
                target,
                equal: body.equal.0.into_iter().map(|name| name.value).collect(),
            });
        }
        rules
    }

    pub(super) fn intervals(
        &mut self,
        bodies: Vec<Spanned<NamedBody>>,
    ) -> BTreeMap<String, Vec<Interval>> {
        let mut found = BTreeMap::new();
        for body in bodies {
            let at = position_of(body.referenced);
            let name = body.value.name.map_or_else(String::new, |name| name.value);
            if name.is_empty() {
                self.refuse(at, "missing name in time interval", "");
            }
            let intervals = body.value.time_intervals.unwrap_or_default();
            let intervals = intervals.into_iter().map(|one| self.interval(one.value)).collect();
            if found.insert(name.clone(), intervals).is_some() {
                self.refuse(at, format!("time interval {name:?} is not unique"), "");
            }
        }
        found
    }

    fn interval(&mut self, body: IntervalBody) -> Interval {
        let times = body.times.unwrap_or_default();
        let zone = body.location.and_then(|name| {
            let zone = interval::zone(&name.value, self.local_zone);
            zone.map_err(|why| {
                self.refuse(position_of(name.referenced), why, "such as Europe/Berlin")
            })
            .ok()
        });
        Interval {
            times: times.into_iter().filter_map(|one| self.times(&one)).collect(),
            weekdays: self.ranges(&body.weekdays, interval::weekdays),
            days_of_month: self.ranges(&body.days_of_month, interval::days_of_month),
            months: self.ranges(&body.months, interval::months),
            years: self.ranges(&body.years, interval::years),
            zone,
        }
    }

    fn times(&mut self, body: &Spanned<TimesBody>) -> Option<(u32, u32)> {
        let at = position_of(body.referenced);
        let (Some(from), Some(to)) = (&body.value.start_time, &body.value.end_time) else {
            self.refuse(at, "both start and end times must be provided", "");
            return None;
        };
        let read = interval::minute_of(&from.value)
            .and_then(|start| interval::minute_of(&to.value).map(|end| (start, end)));
        match read {
            Ok((start, end)) if start < end => Some((start, end)),
            Ok(_) => {
                self.refuse(at, "start time cannot be equal or greater than end time", "");
                None
            }
            Err(why) => {
                self.refuse(at, why, "write it like \"09:00\"");
                None
            }
        }
    }

    fn ranges(
        &mut self,
        texts: &Texts,
        read: fn(&str) -> Result<(i32, i32), String>,
    ) -> Vec<(i32, i32)> {
        let mut found = Vec::new();
        for text in &texts.0 {
            match read(&text.value) {
                Ok(range) => found.push(range),
                Err(why) => self.refuse(position_of(text.referenced), why, ""),
            }
        }
        found
    }

    /// Checks that what routes name exists.
    pub(super) fn references(
        &mut self,
        receivers: &[Receiver],
        intervals: &BTreeMap<String, Vec<Interval>>,
    ) {
        for (name, at) in std::mem::take(&mut self.receivers_used) {
            if !receivers.iter().any(|receiver| receiver.name == name) {
                self.refuse(at, format!("undefined receiver {name:?} used in route"), "");
            }
        }
        for (name, at) in std::mem::take(&mut self.intervals_used) {
            if !intervals.contains_key(&name) {
                self.refuse(at, format!("undefined time interval {name:?} used in route"), "");
            }
        }
    }
}

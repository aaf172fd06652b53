//! The engine: alerts, groups, silences and what was told, as a function of what happens and when. No clock, no I/O.
//!
//! Each call takes the present and leaves behind records of what must be durable ([`Router::take_records`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use model::metric::Labels;
use model::time::Timestamp;

use super::config::{Config, Integration, Route};
use super::dedup::{Present, Reason, Told, reason};
use super::held::Held;
use super::inhibit::Sources;
use super::matcher::{is_classic, quote};
use super::record::Record;
use super::silence::{Silence, Silences, Unsilenced};
use crate::state::nanoseconds;

/// A flush may always take this long, however short its group's interval, in nanoseconds.
const FLUSH_MIN_NS: i64 = 10_000_000_000;
/// Between two looks for what can be forgotten, in nanoseconds.
const FORGET_EVERY_NS: i64 = 60_000_000_000;

/// Bounds of a [`Router`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most alerts, before posted ones are refused.
    pub alerts_max: usize,
    /// Most groups, before posted alerts that would make another are refused.
    pub groups_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { alerts_max: 100_000, groups_max: 50_000 }
    }
}

/// Why a posted alert was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Full {
    /// There are as many alerts as may be.
    Alerts,
    /// There are as many groups as may be.
    Groups,
}

/// A route and the labels its alerts have in common.
pub(crate) type GroupId = (usize, Labels);

/// Alerts that are told of together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) key: String,
    pub(crate) members: BTreeSet<Labels>,
    pub(crate) flushed: bool,
    pub(crate) next: Timestamp,
    flight: Option<Flight>,
}

/// A flush under way.
#[derive(Clone, Debug, Default)]
struct Flight {
    waiting: usize,
    failed: bool,
    /// Alerts resolved in it, with when they were last told of then.
    resolved: Vec<(Labels, Timestamp)>,
}

/// An alert and the groups it is in.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) held: Held,
    pub(crate) groups: Vec<GroupId>,
}

/// Which group was told what: key of the group, receiver, place of the integration in it.
pub(crate) type LogKey = (String, String, String);

/// Something to tell someone.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To be given back with the outcome.
    pub ticket: Ticket,
    /// Name of the receiver.
    pub receiver: String,
    /// `webhook`, `slack`, …
    pub kind: &'static str,
    /// Number among those of its kind in the receiver.
    pub index: usize,
    /// Identity of the group: path of matchers and labels.
    pub group_key: String,
    /// Labels the alerts are grouped by.
    pub group_labels: Labels,
    /// Labels of the route, templates as written.
    pub route_labels: BTreeMap<String, String>,
    /// Why it is told.
    pub reason: Reason,
    /// The alerts; one at least.
    pub alerts: Vec<Shown>,
    /// When it is told: what templates take for now.
    pub at: Timestamp,
    /// When trying has to end.
    pub deadline: Timestamp,
    /// The same for every try of the same message, over restarts too.
    pub idempotency: u128,
}

/// An alert in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The alert; without an end while it fires.
    pub alert: Held,
    /// Whether it is resolved.
    pub resolved: bool,
}

/// What the outcome of a delivery refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    group: GroupId,
    key: LogKey,
    present: Present,
    seq: u64,
    /// Firing alerts the receiver did not know of before.
    news: Vec<u128>,
}

/// Figures since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Alerts told of, news of known ones included.
    pub received: u64,
    /// Alerts refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Flushes of groups.
    pub flushes: u64,
    /// Messages not sent, by reason: `silence`, `inhibition`, `time_interval`.
    pub suppressed: BTreeMap<&'static str, u64>,
}

/// What keeps an alert quiet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muting {
    /// Ids of silences.
    pub silences: Vec<String>,
    /// An alert that inhibits it.
    pub inhibited_by: Option<Labels>,
}

/// All state of routing.
#[derive(Clone, Debug)]
pub struct Router {
    pub(crate) config: Arc<Config>,
    limits: Limits,
    pub(crate) alerts: HashMap<Labels, Entry>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    queue: BTreeSet<(Timestamp, GroupId)>,
    pub(crate) log: BTreeMap<LogKey, Told>,
    pub(crate) silences: Silences,
    sources: Sources,
    forgot_at: Timestamp,
    counts: Counts,
    records: Vec<Record>,
}

impl Router {
    /// The state that `records` leave behind; nothing when there are none.
    #[must_use]
    pub fn new(config: Arc<Config>, limits: Limits, records: Vec<Record>, now: Timestamp) -> Self {
        let mut router = Self {
            sources: Sources::new(config.inhibitions.len()),
            config,
            limits,
            alerts: HashMap::new(),
            groups: BTreeMap::new(),
            queue: BTreeSet::new(),
            log: BTreeMap::new(),
            silences: Silences::default(),
            forgot_at: now,
            counts: Counts::default(),
            records: Vec::new(),
        };
        let (mut alerts, mut timers) = (BTreeMap::new(), HashMap::new());
        for record in records {
            match record {
                Record::Alert(held) => drop(alerts.insert(held.labels.clone(), held)),
                Record::AlertGone(labels) => drop(alerts.remove(&labels)),
                Record::Silence(silence) => router.silences.insert(silence),
                Record::Group { key, next, flushed } => drop(timers.insert(key, (next, flushed))),
                Record::GroupGone(key) => drop(timers.remove(&key)),
                Record::Told { key, told } => drop(router.log.insert(key, told)),
            }
        }
        for held in alerts.into_values() {
            router.place(held, now);
        }
        for (id, group) in &mut router.groups {
            let Some((next, flushed)) = timers.get(&group.key) else { continue };
            let interval = nanoseconds(router.config.routes[id.0].group_interval);
            router.queue.remove(&(group.next, id.clone()));
            // A clock set back must not put a group off for ever.
            group.next = (*next).min(Timestamp(now.0.saturating_add(interval)));
            group.flushed = *flushed;
            router.queue.insert((group.next, id.clone()));
        }
        router.records.clear(); // It is all on disk already.
        router
    }

    /// What has to be made durable since this was last called.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Records that alone leave the present state behind.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        let alerts = self.alerts.values().map(|entry| Record::Alert(entry.held.clone()));
        let silences = self.silences.all().cloned().map(Record::Silence);
        // A flush under way has not happened yet: it is repeated by the next start.
        let groups = self.groups.values().filter(|g| g.flushed && g.flight.is_none());
        let groups = groups.map(Group::record);
        let told = self.log.iter();
        let told = told.map(|(key, told)| Record::Told { key: key.clone(), told: told.clone() });
        alerts.chain(silences).chain(groups).chain(told).collect()
    }

    /// The configuration in force.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Figures since the start.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Counts a posted alert that was no alert.
    pub fn count_refused(&mut self, reason: &'static str) {
        *self.counts.refused.entry(reason).or_default() += 1;
    }

    /// When [`Router::tick`] is to be called next; `None` for not before something happens.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes news of an alert of ours: it is never refused.
    pub fn take(&mut self, held: Held, now: Timestamp) {
        self.counts.received += 1;
        let held = match self.alerts.get(&held.labels) {
            Some(known) => known.held.merged(held, now),
            None => held,
        };
        self.place(held, now);
    }

    /// Compares what rules of ours fire with what is held: texts are refreshed, what is missing is taken, and what no
    /// rule fires is resolved.
    pub fn agree(&mut self, firing: Vec<Held>, now: Timestamp) {
        let names: HashSet<&Labels> = firing.iter().map(|held| &held.labels).collect();
        let ours = self.alerts.values().filter(|entry| entry.held.ends_at.is_none());
        let gone = ours.filter(|entry| !names.contains(&entry.held.labels));
        let gone: Vec<Held> = gone
            .map(|entry| Held { ends_at: Some(now), updated_at: now, ..entry.held.clone() })
            .collect();
        let news = firing.iter().filter(|held| {
            let known = self.alerts.get(&held.labels).map(|entry| &entry.held);
            known.is_none_or(|known| {
                known.annotations != held.annotations || known.ends_at.is_some()
            })
        });
        let news: Vec<Held> = news.cloned().collect();
        for held in gone.into_iter().chain(news) {
            self.take(held, now);
        }
    }

    /// Takes a posted alert.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn post(&mut self, held: Held, now: Timestamp) -> Result<(), Full> {
        let full = if self.alerts.contains_key(&held.labels) {
            None
        } else if self.alerts.len() >= self.limits.alerts_max {
            Some((Full::Alerts, "alerts_max"))
        } else if self.groups.len() >= self.limits.groups_max && self.needs_group(&held.labels) {
            Some((Full::Groups, "groups_max"))
        } else {
            None
        };
        if let Some((full, reason)) = full {
            self.count_refused(reason);
            return Err(full);
        }
        self.take(held, now);
        Ok(())
    }

    fn needs_group(&self, labels: &Labels) -> bool {
        let routes = self.config.routes_of(labels).into_iter();
        routes
            .map(|route| (route, self.config.routes[route].group_labels(labels)))
            .any(|id| !self.groups.contains_key(&id))
    }

    /// Puts an alert into its groups.
    fn place(&mut self, held: Held, now: Timestamp) {
        self.records.push(Record::Alert(held.clone()));
        let labels = held.labels.clone();
        if let Some(entry) = self.alerts.get_mut(&labels)
            && !entry.groups.is_empty()
        {
            entry.held = held;
            for id in entry.groups.clone() {
                self.hasten(&id, &labels, now);
            }
            return;
        }
        let config = Arc::clone(&self.config);
        self.sources.add(&config.inhibitions, &labels);
        let mut groups = Vec::new();
        for route in config.routes_of(&labels) {
            let id = (route, config.routes[route].group_labels(&labels));
            if groups.contains(&id) {
                continue;
            }
            self.join(&id, &labels, &config.routes[route], now);
            groups.push(id);
        }
        self.alerts.insert(labels.clone(), Entry { held, groups: groups.clone() });
        for id in groups {
            self.hasten(&id, &labels, now);
        }
    }

    fn join(&mut self, id: &GroupId, labels: &Labels, route: &Route, now: Timestamp) {
        let next = Timestamp(now.0.saturating_add(nanoseconds(route.group_wait)));
        let group = self.groups.entry(id.clone()).or_insert_with(|| {
            self.queue.insert((next, id.clone()));
            let key = group_key(&route.key, &id.1);
            Group { key, members: BTreeSet::new(), flushed: false, next, flight: None }
        });
        group.members.insert(labels.clone());
    }

    /// An alert that has fired for longer than a new group waits is told at once.
    fn hasten(&mut self, id: &GroupId, labels: &Labels, now: Timestamp) {
        let (Some(group), Some(entry)) = (self.groups.get_mut(id), self.alerts.get(labels)) else {
            return;
        };
        let wait = nanoseconds(self.config.routes[id.0].group_wait);
        let is_old = entry.held.starts_at.0.saturating_add(wait) < now.0;
        if !group.flushed && group.next > now && is_old {
            self.queue.remove(&(group.next, id.clone()));
            group.next = now;
            self.queue.insert((now, id.clone()));
        }
    }

    /// Adds or edits a silence; the id of the one in force.
    ///
    /// # Errors
    /// When its id is unknown, it makes no sense, or there is no room.
    pub fn silence(&mut self, silence: Silence, now: Timestamp) -> Result<String, Unsilenced> {
        let changed = self.silences.set(silence, now)?;
        let id = changed.last().map(|silence| silence.id.clone()).unwrap_or_default();
        self.records.extend(changed.into_iter().map(Record::Silence));
        Ok(id)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// When its id is unknown.
    pub fn expire(&mut self, id: &str, now: Timestamp) -> Result<(), Unsilenced> {
        let changed = self.silences.expire(id, now)?;
        self.records.extend(changed.map(Record::Silence));
        Ok(())
    }

    /// Flushes the groups whose time has come.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while let Some((_, id)) = self.queue.first().filter(|(at, _)| *at <= now).cloned() {
            self.queue.pop_first();
            if self.groups.get(&id).is_some_and(|group| group.flight.is_none()) {
                deliveries.extend(self.flush(&id, now));
            } // Else it is queued again when its flush has ended.
        }
        if now.0.saturating_sub(self.forgot_at.0) >= FORGET_EVERY_NS {
            self.forgot_at = now;
            self.silences.forget(now);
            // What a group that is still there was told stays: a receiver that is down for long learns of the end too.
            let live: BTreeSet<&str> = self.groups.values().map(|group| &*group.key).collect();
            self.log.retain(|key, told| now < told.expires_at || live.contains(&*key.0));
        }
        deliveries
    }

    fn flush(&mut self, id: &GroupId, now: Timestamp) -> Vec<Delivery> {
        self.counts.flushes += 1;
        let config = Arc::clone(&self.config);
        let route = &config.routes[id.0];
        let Some(group) = self.groups.get(id) else { return Vec::new() };
        let members: Vec<Held> = group
            .members
            .iter()
            .filter_map(|labels| self.alerts.get(labels).map(|entry| entry.held.clone()))
            .collect();
        let resolved: Vec<_> = members
            .iter()
            .filter(|held| held.is_resolved(now))
            .map(|held| (held.labels.clone(), held.updated_at))
            .collect();
        let (heard, quiet) = self.sort_out(route, members, now);
        let receiver = config.receiver(&route.receiver);
        let integrations = receiver.map_or(&[][..], |receiver| &receiver.integrations);
        let deliveries: Vec<Delivery> = integrations
            .iter()
            .filter_map(|integration| self.message(id, integration, (&heard, &quiet), now))
            .collect();
        let next = Timestamp(now.0.saturating_add(nanoseconds(route.group_interval)));
        if let Some(group) = self.groups.get_mut(id) {
            group.next = next;
            group.flushed = true;
            group.flight = Some(Flight { waiting: deliveries.len(), failed: false, resolved });
        }
        self.queue.insert((next, id.clone()));
        if deliveries.is_empty() {
            self.land(id, now);
        }
        deliveries
    }

    /// Alerts that may be told of, and muted ones: of these a receiver that was told of one is told that it is resolved.
    fn sort_out(
        &mut self,
        route: &Route,
        members: Vec<Held>,
        now: Timestamp,
    ) -> (Vec<Shown>, Vec<Shown>) {
        let by_time = !self.muting_intervals(route, now).is_empty();
        let (mut heard, mut quiet) = (Vec::new(), Vec::new());
        for alert in members {
            let resolved = alert.is_resolved(now);
            let muting = self.muting(&alert.labels, now);
            let reason = if muting.inhibited_by.is_some() {
                Some("inhibition")
            } else if by_time {
                Some("time_interval")
            } else if !muting.silences.is_empty() {
                Some("silence")
            } else {
                None
            };
            let ends_at = alert.ends_at.filter(|_| resolved);
            let shown = Shown { alert: Held { ends_at, ..alert }, resolved };
            match reason {
                None => heard.push(shown),
                Some(reason) => {
                    *self.counts.suppressed.entry(reason).or_default() += 1;
                    quiet.push(shown);
                }
            }
        }
        (heard, quiet)
    }

    /// What keeps an alert with these labels quiet, whatever its route.
    #[must_use]
    pub fn muting(&self, labels: &Labels, now: Timestamp) -> Muting {
        let is_firing = |source: &Labels| {
            self.alerts.get(source).is_some_and(|entry| !entry.held.is_resolved(now))
        };
        let rules = &self.config.inhibitions;
        let inhibited_by = self.sources.muting(rules, labels, is_firing).cloned();
        Muting { silences: self.silences.of(labels, now), inhibited_by }
    }

    /// Time intervals for which a route is mute now: mute ones it is in, active ones it is outside of all.
    #[must_use]
    pub fn muting_intervals(&self, route: &Route, now: Timestamp) -> Vec<String> {
        let within = |name: &String| {
            self.config.intervals.get(name).is_some_and(|all| all.iter().any(|i| i.contains(now)))
        };
        let inactive = !route.active_in.is_empty() && !route.active_in.iter().any(within);
        let active = route.active_in.iter().filter(|_| inactive);
        active.chain(route.mute_in.iter().filter(|name| within(name))).cloned().collect()
    }

    /// What one integration has to be told, if anything.
    fn message(
        &mut self,
        id: &GroupId,
        integration: &Integration,
        (heard, quiet): (&[Shown], &[Shown]),
        now: Timestamp,
    ) -> Option<Delivery> {
        let config = Arc::clone(&self.config);
        let route = &config.routes[id.0];
        let group_key = self.groups.get(id)?.key.clone();
        let key = (group_key.clone(), route.receiver.clone(), integration.place());
        let told = self.log.get(&key);
        let known = |shown: &&Shown| told.is_some_and(|told| told.knows(shown.alert.id()));
        let (mut alerts, mut owed) = (heard.to_vec(), Vec::new());
        for shown in quiet.iter().filter(known) {
            if shown.resolved {
                alerts.push(shown.clone());
            } else {
                owed.push(shown.alert.id());
            }
        }
        if alerts.is_empty() {
            return None;
        }
        owed.sort_unstable();
        let present = Present { owed, ..Present::of(&alerts) };
        let when = (now, route.repeat_interval);
        let reason = reason(told, &present, integration.send_resolved, when)?;
        let seq = told.map_or(0, |told| told.seq) + 1;
        if !integration.send_resolved {
            alerts.retain(|shown| !shown.resolved);
        }
        let idempotency = idempotency(&key, seq, &present);
        let news = present.firing.iter().filter(|id| !told.is_some_and(|told| told.knows(**id)));
        let news: Vec<u128> = news.copied().collect();
        let ticket = Ticket { group: id.clone(), key, present, seq, news };
        if alerts.is_empty() {
            self.tell(ticket, now);
            return None;
        }
        if integration.send_resolved {
            self.owe(&ticket, now);
        }
        alerts.sort_by_key(order);
        let interval = nanoseconds(route.group_interval).max(FLUSH_MIN_NS);
        Some(Delivery {
            ticket,
            receiver: route.receiver.clone(),
            kind: integration.kind,
            index: integration.index,
            group_key,
            group_labels: id.1.clone(),
            route_labels: route.labels.clone(),
            reason,
            alerts,
            at: now,
            deadline: Timestamp(now.0.saturating_add(interval)),
            idempotency,
        })
    }

    /// Notes before a message leaves whom it makes known: should a crash keep us from learning that it arrived, the end
    /// of these alerts is told all the same.
    fn owe(&mut self, ticket: &Ticket, now: Timestamp) {
        if ticket.news.is_empty() {
            return;
        }
        let mut told = self.log.get(&ticket.key).cloned().unwrap_or_default();
        told.expires_at = told.expires_at.max(self.kept_until(ticket, now));
        told.owed.extend(&ticket.news);
        told.owed.sort_unstable();
        self.note(ticket.key.clone(), told);
    }

    /// Takes back what [`Router::owe`] noted: the message did not arrive.
    fn disown(&mut self, ticket: &Ticket) {
        let Some(mut told) = self.log.get(&ticket.key).cloned() else { return };
        let noted = told.owed.len();
        told.owed.retain(|id| ticket.news.binary_search(id).is_err());
        if told.owed.len() < noted {
            self.note(ticket.key.clone(), told);
        }
    }

    /// Notes what a receiver was told.
    fn tell(&mut self, ticket: Ticket, now: Timestamp) {
        let expires_at = self.kept_until(&ticket, now);
        let Ticket { key, present, seq, .. } = ticket;
        let Present { firing, resolved, owed } = present;
        self.note(key, Told { seq, at: now, expires_at, firing, resolved, owed });
    }

    fn note(&mut self, key: LogKey, told: Told) {
        self.records.push(Record::Told { key: key.clone(), told: told.clone() });
        self.log.insert(key, told);
    }

    fn kept_until(&self, ticket: &Ticket, now: Timestamp) -> Timestamp {
        let repeat = nanoseconds(self.config.routes[ticket.group.0].repeat_interval);
        Timestamp(now.0.saturating_add(repeat.saturating_mul(2)))
    }

    /// Takes the outcome of a delivery.
    pub fn delivered(&mut self, ticket: Ticket, ok: bool, now: Timestamp) {
        let id = ticket.group.clone();
        if ok {
            self.tell(ticket, now);
        } else {
            self.disown(&ticket);
        }
        let Some(flight) = self.groups.get_mut(&id).and_then(|group| group.flight.as_mut()) else {
            return;
        };
        flight.waiting = flight.waiting.saturating_sub(1);
        flight.failed |= !ok;
        if flight.waiting == 0 {
            self.land(&id, now);
        }
    }

    /// Ends a flush: after a success the alerts resolved in it leave, unless there was news of them since.
    fn land(&mut self, id: &GroupId, now: Timestamp) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let flight = group.flight.take().unwrap_or_default();
        if !flight.failed {
            for (labels, updated_at) in flight.resolved {
                let Some(entry) = self.alerts.get_mut(&labels) else { continue };
                if entry.held.updated_at != updated_at || !entry.held.is_resolved(now) {
                    continue;
                }
                group.members.remove(&labels);
                entry.groups.retain(|other| other != id);
                if entry.groups.is_empty() {
                    self.alerts.remove(&labels);
                    self.sources.remove(&self.config.inhibitions, &labels);
                    self.records.push(Record::AlertGone(labels));
                }
            }
        }
        if group.members.is_empty() {
            self.queue.remove(&(group.next, id.clone()));
            self.records.push(Record::GroupGone(group.key.clone()));
            self.groups.remove(id);
            return;
        }
        self.records.push(group.record());
        // A flush that came due meanwhile was passed over.
        self.queue.insert((group.next, id.clone()));
    }
}

impl Group {
    fn record(&self) -> Record {
        Record::Group { key: self.key.clone(), next: self.next, flushed: self.flushed }
    }
}

impl Present {
    fn of(alerts: &[Shown]) -> Self {
        let ids = |resolved: bool| {
            let some = alerts.iter().filter(|shown| shown.resolved == resolved);
            let mut ids: Vec<u128> = some.map(|shown| shown.alert.id()).collect();
            ids.sort_unstable();
            ids
        };
        Self { firing: ids(false), resolved: ids(true), owed: Vec::new() }
    }
}

/// By job, by instance (a missing one last), by number of labels, by labels.
fn order(shown: &Shown) -> impl Ord + use<> {
    let labels = &shown.alert.labels;
    let text = |name: &str| {
        let value = labels.value(name);
        (value.is_none(), value.unwrap_or_default().to_owned())
    };
    (text("job"), text("instance"), labels.len(), labels.clone())
}

/// `{}/{severity="page"}:{alertname="X"}`.
fn group_key(route: &str, labels: &Labels) -> String {
    let mut key = format!("{route}:{{");
    for (i, (name, value)) in labels.iter().enumerate() {
        key.push_str(if i > 0 { ", " } else { "" });
        let written = if is_classic(name) { key.write_str(name) } else { quote(&mut key, name) };
        let written =
            written.and_then(|()| key.write_char('=')).and_then(|()| quote(&mut key, value));
        written.expect("a String takes all text");
    }
    key.push('}');
    key
}

fn idempotency(key: &LogKey, seq: u64, present: &Present) -> u128 {
    let mut bytes = Vec::new();
    for text in [&key.0, &key.1, &key.2] {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0xff); // No text has this byte.
    }
    bytes.extend_from_slice(&seq.to_le_bytes());
    for ids in [&present.firing, &present.resolved] {
        bytes.extend_from_slice(&(ids.len() as u64).to_le_bytes());
        ids.iter().for_each(|id| bytes.extend_from_slice(&id.to_le_bytes()));
    }
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

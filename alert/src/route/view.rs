//! What is held for notification, as APIs show it.

use std::collections::BTreeMap;

use model::metric::Labels;
use model::time::Timestamp;

use super::config::Route;
use super::dedup::Told;
use super::held::Held;
use super::router::{Entry, GroupId, Muting, Router};
use super::silence::Silence;

/// An alert that has not ended.
#[derive(Clone, Debug)]
pub struct AlertView {
    /// The alert.
    pub held: Held,
    /// Names of the receivers it is told to.
    pub receivers: Vec<String>,
    /// What keeps it quiet.
    pub muting: Muting,
    /// Time intervals that keep it quiet, on any of its routes.
    pub muted_by: Vec<String>,
}

/// A group of alerts.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Labels its alerts have in common.
    pub labels: Labels,
    /// Labels of its route, templates as written.
    pub route_labels: BTreeMap<String, String>,
    /// Who is told.
    pub receiver: String,
    /// Its identity.
    pub key: String,
    /// When it is due next.
    pub next: Timestamp,
    /// When anybody was told of it last.
    pub told_at: Option<Timestamp>,
    /// Its alerts that have not ended.
    pub alerts: Vec<AlertView>,
}

impl Router {
    /// Alerts that have not ended, in the order of their labels.
    #[must_use]
    pub fn alerts(&self, now: Timestamp) -> Vec<AlertView> {
        let firing = self.alerts.values().filter(|entry| !entry.held.is_resolved(now));
        let mut views: Vec<AlertView> =
            firing.map(|entry| self.view(entry, &entry.groups, now)).collect();
        views.sort_by(|a, b| a.held.labels.cmp(&b.held.labels));
        views
    }

    /// Groups with alerts that have not ended, by labels and receiver.
    #[must_use]
    pub fn groups(&self, now: Timestamp) -> Vec<GroupView> {
        let mut views = Vec::with_capacity(self.groups.len());
        for (id, group) in &self.groups {
            let route = &self.config.routes[id.0];
            let members = group.members.iter().filter_map(|labels| self.alerts.get(labels));
            let firing = members.filter(|entry| !entry.held.is_resolved(now));
            let here = std::slice::from_ref(id);
            let alerts: Vec<AlertView> = firing.map(|entry| self.view(entry, here, now)).collect();
            if alerts.is_empty() {
                continue;
            }
            views.push(GroupView {
                labels: id.1.clone(),
                route_labels: route.labels.clone(),
                receiver: route.receiver.clone(),
                key: group.key.clone(),
                next: group.next,
                told_at: self.told_at(&group.key, route),
                alerts,
            });
        }
        views.sort_by(|a, b| (&a.labels, &a.receiver).cmp(&(&b.labels, &b.receiver)));
        views
    }

    fn told_at(&self, key: &str, route: &Route) -> Option<Timestamp> {
        let receiver = self.config.receiver(&route.receiver)?;
        let told = receiver.integrations.iter().filter_map(|integration| {
            self.log.get(&(key.to_owned(), receiver.name.clone(), integration.place()))
        });
        told.map(|told: &Told| told.at).max()
    }

    fn view(&self, entry: &Entry, groups: &[GroupId], now: Timestamp) -> AlertView {
        let routes = entry.groups.iter().map(|(route, _)| &self.config.routes[*route]);
        let mut receivers: Vec<String> = routes.map(|route| route.receiver.clone()).collect();
        receivers.sort();
        receivers.dedup();
        let routes = groups.iter().map(|(route, _)| &self.config.routes[*route]);
        let mut muted_by: Vec<String> =
            routes.flat_map(|route| self.muting_intervals(route, now)).collect();
        muted_by.sort();
        muted_by.dedup();
        let muting = self.muting(&entry.held.labels, now);
        AlertView { held: entry.held.clone(), receivers, muting, muted_by }
    }

    /// All silences, in no order.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.all()
    }

    /// The silence of this id.
    #[must_use]
    pub fn silence_of(&self, id: &str) -> Option<&Silence> {
        self.silences.get(id)
    }

    /// Alerts, groups, silences and entries of the log now.
    #[must_use]
    pub fn sizes(&self) -> [(&'static str, usize); 4] {
        [
            ("alerts", self.alerts.len()),
            ("groups", self.groups.len()),
            ("silences", self.silences.all().len()),
            ("told", self.log.len()),
        ]
    }
}

//! Notifications: an Alertmanager configuration in, a router on a task, deliveries to `action`.

mod shown;

use std::path::Path;
use std::sync::Arc;

use action::notify::{Channels, Integration, Message, MessageAlert, Surroundings};
use alert::route::config::Reading;
use alert::route::{self, Deliver, Delivery, Dispatcher, Limits, fingerprint};
use anyhow::{Context, Result, anyhow};
use futures::future::BoxFuture;
use model::time::Clock;

use crate::config::Config;

/// What notifications need to run, checked and ready.
pub struct Notify {
    /// Alerts, groups and silences.
    pub dispatcher: Arc<Dispatcher>,
    /// Who is told, and how.
    pub channels: Arc<Channels>,
    /// The configuration as it may be shown, secrets masked; `None` without one.
    pub shown: Option<String>,
    /// Address under which people reach this server, for links.
    pub external_url: String,
}

/// Reads the configuration of routes; without one nobody is told.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn routes(config: &Config) -> Result<route::Config> {
    let Some(path) = &config.alert.alertmanager_config else { return Ok(route::Config::none()) };
    read(path)
}

/// Reads one file.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn read(path: &Path) -> Result<route::Config> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let parsed = route::Config::parse(&text, &name, &Reading { local_zone: local_zone() });
    parsed.map_err(|problems| anyhow!("{problems}"))
}

/// The time zone of this host, as `/etc/localtime` names it.
fn local_zone() -> String {
    let target = std::fs::read_link("/etc/localtime").unwrap_or_default();
    let target = target.to_string_lossy();
    let name = target.split_once("zoneinfo/").map_or("UTC", |(_, name)| name);
    name.to_owned()
}

/// Makes a channel of each integration of `routes`.
///
/// # Errors
/// Everything that is wrong with their settings, each with its place.
pub fn channels(
    config: &Config,
    routes: &route::Config,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Channels>> {
    let all: Vec<(&str, &route::config::Integration)> = routes
        .receivers
        .iter()
        .flat_map(|receiver| receiver.integrations.iter().map(|one| (receiver.name.as_str(), one)))
        .collect();
    let integrations: Vec<Integration<'_>> = all
        .iter()
        .map(|(receiver, one)| Integration {
            receiver,
            kind: one.kind,
            index: one.index,
            settings: &one.settings,
        })
        .collect();
    let templates = templates(routes)?;
    let surroundings =
        Surroundings { global: &routes.global, templates, external_url: external_url(config) };
    let opened = Channels::open(&config.action, surroundings, &integrations, clock);
    opened.map_err(|problems| {
        let told = problems.into_iter().map(|problem| {
            let of = problem.integration.map(|i| all[i].1);
            routes.problem(of, problem.field.as_deref(), problem.text).to_string()
        });
        anyhow!("{}", told.collect::<Vec<_>>().join("\n"))
    })
}

/// The files of templates that `routes` names; relative paths start at its folder. A pattern may fit none.
fn templates(routes: &route::Config) -> Result<Vec<(String, String)>> {
    let folder = Path::new(routes.file()).parent().unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for glob in &routes.templates {
        let path = folder.join(glob);
        let files = match super::rules::matching(&path) {
            Ok(files) => files,
            Err(_) if glob.contains('*') => continue,
            Err(error) => return Err(error),
        };
        for file in files {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(&file);
            found.push((name.clone(), text.with_context(|| format!("cannot read {name}"))?));
        }
    }
    Ok(found)
}

/// Address under which people reach this server, for links.
fn external_url(config: &Config) -> String {
    let given = config.action.external_url.as_deref().unwrap_or(&config.alert.external_url);
    let url = match given {
        "" => format!("http://{}", config.listen),
        url => url.to_owned(),
    };
    url.trim_end_matches('/').to_owned()
}

impl Notify {
    /// Opens everything.
    ///
    /// # Errors
    /// A configuration that is wrong, or a journal that cannot be read or written.
    pub fn open(config: &Config, routes: route::Config, clock: &Arc<dyn Clock>) -> Result<Self> {
        let channels = channels(config, &routes, Arc::clone(clock))?;
        for warning in &routes.warnings {
            tracing::warn!(warning, "in the configuration of notifications");
        }
        let given = config.alert.alertmanager_config.as_ref();
        let shown = given.map(|_| shown::yaml(routes.source()));
        let limits = Limits {
            alerts_max: config.alert.routed_alerts_max,
            groups_max: config.alert.routed_groups_max,
        };
        let dispatcher = Dispatcher::open(
            Arc::new(routes),
            limits,
            &config.data_dir.join("alert"),
            Arc::clone(clock),
        )?;
        Ok(Self { dispatcher, channels, shown, external_url: external_url(config) })
    }

    /// Whether a configuration was given.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.shown.is_some()
    }
}

/// Hands deliveries to `action`.
pub(super) struct Outbox(pub(super) Arc<Channels>);

impl Deliver for Outbox {
    fn deliver(&self, delivery: Delivery) -> BoxFuture<'static, bool> {
        let channels = Arc::clone(&self.0);
        Box::pin(async move { channels.deliver(message(delivery)).await.is_ok() })
    }
}

fn message(delivery: Delivery) -> Message {
    let alerts = delivery.alerts.into_iter().map(|shown| MessageAlert {
        fingerprint: fingerprint(&shown.alert.labels),
        labels: shown.alert.labels,
        annotations: shown.alert.annotations,
        starts_at: shown.alert.starts_at,
        ends_at: shown.alert.ends_at,
        generator_url: shown.alert.generator_url,
    });
    Message {
        receiver: delivery.receiver,
        kind: delivery.kind.to_owned(),
        index: delivery.index,
        group_key: delivery.group_key,
        group_labels: delivery.group_labels,
        route_labels: delivery.route_labels,
        reason: delivery.reason.words(),
        alerts: alerts.collect(),
        at: delivery.at,
        deadline: delivery.deadline,
        idempotency: delivery.idempotency,
    }
}

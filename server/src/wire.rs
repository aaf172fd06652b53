//! Builds the parts, connects them, runs them, takes them down in order.
//!
//! Start: data folder and store, query engine, rules and webhooks, doors, agent. Stop: agent, doors, rules, webhooks,
//! store, so that nobody loses what is already accepted.

mod actions;
mod arrivals;
pub mod notify;
mod record;
mod reload;
mod rules;
pub(crate) mod telemetry;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use model::time::Clock;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::allocator;
use crate::config::Config;
use crate::http::{App, Notices};
use crate::listen::{self, Addresses};
use crate::query_log;
use crate::serve::serve;
use crate::settings::Settings;
pub use actions::runbooks;
use notify::Notify;
pub use reload::Reloader;
pub use rules::{Rules, groups as rule_groups};
use watch::Watchers;

/// Connections at once of each door, where the system allows as many files.
const CONNECTIONS_MAX: usize = 10_000;
/// How long requests under way may take to finish once we were told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Installs the process's TLS provider; later calls change nothing.
pub fn crypto() {
    drop(rustls::crypto::ring::default_provider().install_default()); // Err: installed already.
}

/// Takes all the open files the system allows: segments, connections and the agent's view of processes need them.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Runs the server until SIGINT or SIGTERM.
///
/// # Errors
/// When a part cannot start, with the reason and the remedy, or when the store cannot be closed cleanly.
pub async fn run(mut config: Config, clock: Arc<dyn Clock>) -> Result<()> {
    crypto();
    raise_file_limit();
    let started = clock.now();
    let settings = Settings::new(&config)?;
    // Wrong settings, broken rules or a taken port are told before the store is touched.
    let (groups, routes, scrape, runbooks) = files(&config)?;
    let doors = Doors::open(&config).await?;
    let store = open_store(&mut config, &clock).await?;
    let addresses = doors.addresses()?;
    let engine = query::Engine::new(Arc::clone(&store), config.query.clone())?;
    let collector =
        collector::Collector::new(Arc::clone(&store), config.collector.clone(), Arc::clone(&clock));
    let Reaching { notifier, notify, actions } =
        reach(&config, (routes, runbooks), &engine, &clock)?;
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let alerts = rules::start(
        &mut tasks,
        rules::Parts {
            groups,
            config: config.alert.clone(),
            engine: Arc::clone(&engine),
            notifier: Arc::clone(&notifier),
            notify: Arc::clone(&notify),
            actions: Arc::clone(&actions),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            dir: config.data_dir.join("alert"),
            stop: stop.clone(),
        },
    )?;
    let reloader =
        Reloader::new(config.clone(), Arc::clone(&alerts), scrape.reloader(), Arc::clone(&clock));
    let log_dropped = log_queries(&mut tasks, &config, &engine, (&clock, &stop))?;
    let app = Arc::new(App {
        store: Arc::clone(&store),
        engine,
        collector: Arc::clone(&collector),
        alerts,
        notifier,
        notify,
        actions,
        scrape: scrape.handle(),
        clock: Arc::clone(&clock),
        addresses: addresses.clone(),
        admin: config.admin.unwrap_or_else(|| config.listen.ip().is_loopback()),
        hosts: config.hosts,
        started,
        rate: telemetry::Rate::default(),
        settings,
        notices: Notices::default(),
        log_dropped,
        reloader: Arc::clone(&reloader),
        lifecycle: config.lifecycle,
        stop: stop.clone(),
    });
    tasks.spawn(telemetry::run(Arc::clone(&app), stop.clone()));
    tasks.spawn(allocator::run(Arc::clone(&store), stop.clone()));
    doors.serve(&mut tasks, &app, &collector, &stop);
    listen::publish(&config.data_dir, &addresses)?;
    announce(&addresses, &config.data_dir)?;
    let host = config.watch_host.then_some(config.agent);
    let watchers = Watchers::start(host, scrape, &addresses, &clock);
    let outcome = until_told(&mut tasks, &reloader).await;
    tracing::info!("stopping");
    watchers.stop().await;
    drain(&mut tasks, &stop).await;
    listen::withdraw(&config.data_dir)?;
    store.shutdown().await.map_err(|error| anyhow!("{error}"))?;
    outcome
}

/// What stands in the files the configuration names, checked.
fn files(
    config: &Config,
) -> Result<(Vec<alert::rule::Group>, alert::route::Config, agent::Scrape, action::Runbooks)> {
    config.check()?;
    let scrape = agent::Scrape::load(&config.agent.scrape)?;
    Ok((rule_groups(config)?, notify::routes(config)?, scrape, runbooks(config)?))
}

/// All that reaches out: messages, and changes.
struct Reaching {
    notifier: Arc<action::Notifier>,
    notify: Arc<Notify>,
    actions: Arc<action::Actions>,
}

/// Opens all that reaches out.
fn reach(
    config: &Config,
    (routes, runbooks): (alert::route::Config, action::Runbooks),
    engine: &Arc<query::Engine>,
    clock: &Arc<dyn Clock>,
) -> Result<Reaching> {
    let notifier = open_notifier(config, clock)?;
    let notify = Arc::new(Notify::open(config, routes, clock)?);
    let parts = (engine, &notifier, &notify);
    let actions = actions::open(config, runbooks, parts, clock)?;
    Ok(Reaching { notifier, notify, actions })
}

/// Opens the journal of signed webhooks and of actions.
fn open_notifier(config: &Config, clock: &Arc<dyn Clock>) -> Result<Arc<action::Notifier>> {
    let dir = config.data_dir.join("action");
    let notifier = action::Notifier::open(config.action.clone(), &dir, Arc::clone(clock));
    notifier.map_err(|error| anyhow!("{error}"))
}

/// Starts the log of queries if there is to be one; how many of its lines were lost.
fn log_queries(
    tasks: &mut JoinSet<Result<()>>,
    config: &Config,
    engine: &query::Engine,
    (clock, stop): (&Arc<dyn Clock>, &CancellationToken),
) -> Result<Arc<query_log::Dropped>> {
    let dropped = Arc::default();
    if let Some(path) = &config.query_log {
        let log = query_log::open(path, engine, Arc::clone(clock), &dropped)?;
        tasks.spawn(log.run(stop.clone()));
    }
    Ok(dropped)
}

/// Opens the store with every part's files below its folder, and withdraws addresses that an earlier server left.
async fn open_store(config: &mut Config, clock: &Arc<dyn Clock>) -> Result<Arc<store::Store>> {
    config.store.data_dir.clone_from(&config.data_dir);
    config.store.memory_limit = config.memory_limit;
    if config.query.spill_dir.is_none() {
        config.query.spill_dir = Some(config.data_dir.join("spill"));
    }
    let store = store::Store::open(config.store.clone(), Arc::clone(clock)).await;
    let store = store.map_err(|error| anyhow!("{error}"))?;
    // Of a server that died: the folder is ours now.
    listen::withdraw(&config.data_dir)?;
    Ok(store)
}

/// The three listeners.
struct Doors {
    http: TcpListener,
    otlp_grpc: TcpListener,
    otlp_http: TcpListener,
}

impl Doors {
    async fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            http: listen::bind("listen", config.listen).await?,
            otlp_grpc: listen::bind("otlp-grpc", config.otlp_grpc).await?,
            otlp_http: listen::bind("otlp-http", config.otlp_http).await?,
        })
    }

    fn addresses(&self) -> Result<Addresses> {
        Ok(Addresses {
            http: self.http.local_addr()?,
            otlp_grpc: self.otlp_grpc.local_addr()?,
            otlp_http: self.otlp_http.local_addr()?,
        })
    }

    fn serve(
        self,
        tasks: &mut JoinSet<Result<()>>,
        app: &Arc<App>,
        collector: &Arc<collector::Collector>,
        stop: &CancellationToken,
    ) {
        let main = crate::http::router(Arc::clone(app))
            .merge(collector.http_routes())
            .merge(collector.write_routes());
        let guard = || {
            axum::middleware::from_fn_with_state(Arc::clone(app), crate::http::no_foreign_origin)
        };
        let cross_origin =
            axum::middleware::from_fn_with_state(Arc::clone(app), crate::http::cross_origin);
        let otlp = collector.http_routes().layer(guard());
        let grpc = collector.grpc_routes().layer(guard());
        let doors = [
            (self.http, main.layer(cross_origin).layer(guard())),
            (self.otlp_http, otlp),
            (self.otlp_grpc, grpc),
        ];
        let connections_max = connections_max(doors.len());
        for (listener, routes) in doors {
            tasks.spawn(serve(listener, routes, connections_max, stop.clone()));
        }
    }
}

/// Connections of one of `n_doors` doors. Together half of the files we may open: the other half is for segments, the
/// log and the agent.
fn connections_max(n_doors: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files / 2 / n_doors).clamp(1, CONNECTIONS_MAX)
}

fn announce(addresses: &Addresses, data_dir: &Path) -> Result<()> {
    crate::cli::say(&format!(
        "Headrope {version} is ready: http://{http}\n  OTLP gRPC  http://{grpc}\n  OTLP HTTP  http://{otlp}\n  data       {data}",
        version = env!("CARGO_PKG_VERSION"),
        http = addresses.http,
        grpc = addresses.otlp_grpc,
        otlp = addresses.otlp_http,
        data = data_dir.display(),
    ))
}

/// Waits for a signal to stop, or for a part that failed; files are read anew at SIGHUP.
async fn until_told(tasks: &mut JoinSet<Result<()>>, reloader: &Arc<Reloader>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => drop(reloader.reload().await), // An error is told there.
            ended = tasks.join_next() => match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(panic)) => return Err(anyhow!("a part of the server failed: {panic}")),
                None => return Err(anyhow!("every part of the server has ended")),
            },
        }
    }
}

/// Stops everything and waits for it, at most [`DRAIN`].
async fn drain(tasks: &mut JoinSet<Result<()>>, stop: &CancellationToken) {
    stop.cancel();
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(
            seconds = DRAIN.as_secs(),
            "requests did not finish in time, they are cut off"
        );
        tasks.shutdown().await;
    }
}

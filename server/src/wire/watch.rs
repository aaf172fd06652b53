//! The agent inside this process: it watches this host and scrapes targets, and sends over loopback like any other. One
//! code path.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use model::time::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DRAIN;
use crate::listen::Addresses;

/// What sends to our own doors.
pub(super) struct Watchers {
    tasks: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Watchers {
    /// Watches this host if `host` says how, and scrapes.
    pub(super) fn start(
        host: Option<agent::Config>,
        mut scrape: agent::Scrape,
        addresses: &Addresses,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        if let Some(mut config) = host {
            config.endpoint = format!("grpc://{}", addresses.otlp_grpc);
            let watching = agent::run(config, Arc::clone(clock), stop.clone());
            tasks.push(tokio::spawn(async move {
                // A host we cannot watch is no reason to stop serving the others.
                if let Err(error) = watching.await {
                    tracing::error!(%error, "the agent inside this process stopped, this host is not watched");
                }
            }));
        }
        scrape.write_to(format!("http://{}/api/v1/write", reachable(addresses.http)));
        let scraping = scrape.run(Arc::clone(clock), stop.clone());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = scraping.await {
                tracing::error!(%error, "scraping stopped, no target is scraped");
            }
        }));
        Self { tasks, stop }
    }

    /// Lets them send what they hold while the doors are still open.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let ended = async {
            for task in self.tasks {
                drop(task.await); // A panic was told by its hook.
            }
        };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("the agent inside this process did not stop in time");
        }
    }
}

/// An address at which this host reaches the listener at `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

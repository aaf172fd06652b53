//! Sends a stream to a server as fast as the server takes it, and reads what that cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::client::Client;
use crate::clock;
use crate::peer::{Kind, Peer};
use crate::process;
use crate::stream::{Request, Stream};

/// Longest time one stream may take; the rest is not sent then.
const TIME_MAX: Duration = Duration::from_secs(300);
/// Pause after a refusal that names none.
const PAUSE: Duration = Duration::from_millis(50);

/// What sending a stream gave and cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Items acknowledged.
    pub items: u64,
    /// Requests refused with 429 or 503, and sent again.
    pub refused: u64,
    /// Wall seconds from the first request to the last acknowledgement.
    pub wall_s: f64,
    /// CPU seconds of the server in that time.
    pub cpu_s: f64,
    /// CPU seconds of this process in that time.
    pub client_cpu_s: f64,
    /// Resident bytes of the server at the end, and at most.
    pub memory: (u64, u64),
}

impl Run {
    /// Items a wall second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.items as f64 / self.wall_s.max(1e-9)
    }

    /// Items a CPU second of the server.
    #[must_use]
    pub fn per_cpu_second(&self) -> f64 {
        self.items as f64 / self.cpu_s.max(1e-9)
    }
}

/// Sends all of `stream` to `peer`, each client over a connection of its own.
///
/// # Errors
///
/// When a request fails or is refused for good; `Unsupported` comes as an error that names the status 404.
pub fn send(stream: &Stream, peer: &Peer) -> Result<Run> {
    let address = match stream.path {
        "/api/v1/write" => &peer.http,
        _ => peer.otlp.as_ref().context("it takes no OTLP")?,
    };
    let (items, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let before = (peer.cpu_seconds()?, process::cpu_seconds(std::process::id())?);
    let begin = clock::now();
    let sending = |requests: &[Request]| -> Result<()> {
        let mut client = Client::new(address);
        let mut body = Vec::new();
        for &request in requests {
            stream.body(request, &mut body)?;
            refused.fetch_add(post(&mut client, peer.kind, stream, &body)?, Ordering::Relaxed);
            items.fetch_add(request.items, Ordering::Relaxed);
            if begin.elapsed() > TIME_MAX {
                break;
            }
        }
        Ok(())
    };
    let sending = &sending;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            stream.clients.iter().map(|requests| scope.spawn(move || sending(requests))).collect();
        let mut ends = threads.into_iter().map(|thread| thread.join());
        ends.try_for_each(|end| end.map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })?;
    Ok(Run {
        items: items.into_inner(),
        refused: refused.into_inner(),
        wall_s: begin.elapsed().as_secs_f64(),
        cpu_s: peer.cpu_seconds()? - before.0,
        client_cpu_s: process::cpu_seconds(std::process::id())? - before.1,
        memory: process::memory_bytes(peer.id())?,
    })
}

/// Sends one body until it is taken; returns how often it was refused.
fn post(client: &mut Client, kind: Kind, stream: &Stream, body: &[u8]) -> Result<u64> {
    let begin = clock::now();
    for refused in 0.. {
        let answer = client.post(stream.path, stream.headers, body)?;
        if answer.is_success() {
            return Ok(refused);
        }
        if !matches!(answer.status, 429 | 503) || begin.elapsed() > TIME_MAX {
            bail!("{} answered {}: {}", stream.path, answer.status, answer.text());
        }
        if kind == Kind::Headrope && answer.retry_after_s.is_none() {
            bail!("{} answered {} and no pause: {}", stream.path, answer.status, answer.text());
        }
        clock::pause(
            answer.retry_after_s.map_or(PAUSE, Duration::from_secs).min(Duration::from_secs(1)),
        );
    }
    Ok(0)
}

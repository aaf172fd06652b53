//! Serves a router on a listener: bounded connections, and none that may dawdle over its first bytes or its headers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a client may take for its first byte, and for the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two signs of life asked of an HTTP/2 client, and how long it may take to give one.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 250;
/// Pause after the system could not give us a connection, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The client's end of a connection, among the extensions of each of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves until `stop`, then lets requests under way finish. Above `connections_max` at once, new connections wait in the
/// listener's queue; each door counts its own, so that idle clients of one do not shut the others.
///
/// # Errors
/// Never: what goes wrong with a connection is that connection's end.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    connections_max: usize,
    stop: CancellationToken,
) -> Result<()> {
    let permits = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            biased; // Stop wins, or a flood of connections would delay it.
            () = stop.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit?,
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let connection = converse((stream, Peer(peer)), routes.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener); // Nobody waits in a queue that is no longer looked at.
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// One connection, HTTP/1 or HTTP/2, to its end.
async fn converse((stream, peer): (TcpStream, Peer), routes: Router, stop: CancellationToken) {
    let mut byte = [0];
    let first_byte = tokio::time::timeout(HEADER_TIMEOUT, stream.peek(&mut byte));
    let spoke = tokio::select! {
        () = stop.cancelled() => return,
        spoke = first_byte => matches!(spoke, Ok(Ok(1))),
    };
    if !spoke {
        return;
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX);
    let routes = tower::ServiceExt::map_request(routes, move |mut request: http::Request<_>| {
        request.extensions_mut().insert(peer);
        request
    });
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let question = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(question).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_door_whose_connections_are_all_taken_leaves_the_others_open() {
        let stop = CancellationToken::new();
        let (mut doors, mut addresses) = (JoinSet::new(), Vec::new());
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let routes = Router::new().fallback(|| async { "open" });
            doors.spawn(serve(listener, routes, 1, stop.clone()));
        }
        let _silent = TcpStream::connect(addresses[0]).await.unwrap();
        assert!(ask(addresses[1]).await.ends_with("open"));
        stop.cancel();
        while doors.join_next().await.is_some() {}
    }
}

//! The one accept loop of every server: HTTP/2 with limits on everything that a peer can make grow, and on the same port
//! so much HTTP/1.1 as it takes to answer the metrics.
//!
//! tonic's own server passes "no limit" where hyper has safe defaults, so connections are served by hyper here and
//! tonic only routes. Must never know what it serves.

mod answer;
mod answer_body;
mod budget;
mod cores;
mod ending;
mod gathered;
mod http1;
mod message_size;
mod plain;
mod protocol;
mod served;
mod streams;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::{Code, body::Body};
use tower_service::Service;

pub use self::served::{Placement, Served};
use self::{
    answer_body::AnswerBody,
    budget::Budget,
    ending::Ending,
    gathered::Gathered,
    message_size::{MessageLimits, MessageSize},
    protocol::{Protocol, Replayed},
    streams::WithCalls,
};
use crate::{
    deadline::{deadline_exceeded, grpc_timeout},
    shutdown::Shutdown,
    telemetry::{context::inherit, span::Span},
};

/// What peers can make a server hold. At each limit the peer is made to wait or is refused; nobody else notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's backlog. Default 10,000: some 20 KiB each.
    pub connections: usize,
    /// Requests at once that are none of gRPC's: a further connection of HTTP/1.1 is closed, a further request over
    /// HTTP/2 gets 503. Default 256: scrapers are few, and each may hold 100 KiB of metrics for as long as it reads them.
    pub plain_requests: usize,
    /// Calls at once on a connection; HTTP/2 makes the peer queue further ones. Default 1,024: a proxy or a channel
    /// that carries many watches needs hundreds.
    pub streams: u32,
    /// Streams that a peer has reset before they were handled, beyond which the connection is closed (CVE-2023-44487).
    pub pending_resets: usize,
    /// Streams that the server has reset for the peer's errors, beyond which the connection is closed
    /// (CVE-2025-8671).
    pub error_resets: usize,
    /// The metadata of one call. Default 16 KiB.
    pub header_list_size_bytes: u32,
    /// One message from a peer. Default 4 MiB, as other gRPC servers have it; RESOURCE_EXHAUSTED
    /// (MESSAGE_TOO_LARGE) beyond. More than 4 MiB needs the same limit on the generated server
    /// (`max_decoding_message_size`), which otherwise keeps to 4 MiB.
    pub message_size_bytes: usize,
    /// The announced sizes of the messages of a connection's running calls, the last one of each; a call beyond fails
    /// with RESOURCE_EXHAUSTED (TOO_MANY_PENDING_BYTES). Default 32 MiB: eight of the largest messages at once. Must not
    /// be less than one of them. A message that comes whole in one piece is not counted.
    pub pending_size_bytes: usize,
    /// The same over all connections. Default 256 MiB: what a small machine can spare, and 8 connections at their
    /// limit.
    pub pending_total_size_bytes: usize,
    /// How long the server waits for the rest of a message that has begun; DEADLINE_EXCEEDED (MESSAGE_TIMEOUT) beyond.
    /// Default 30 s: 4 MiB over a line of 1.2 Mbit/s. An answer over HTTP/1.1 has to be read within the same.
    pub message_timeout: Duration,
    /// What waits to be sent on one stream. Default 64 KiB: a slow reader stops its own sender.
    pub send_buffer_size_bytes: usize,
    /// How long a peer may take to say that it speaks HTTP/2, or to ask for something over HTTP/1.1. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a connection may carry no call before it is closed in good order. Default 15 min.
    pub idle_timeout: Duration,
    /// How often a silent peer is pinged, and how long it may take to answer. Default 20 s each.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            plain_requests: 256,
            streams: 1_024,
            pending_resets: 20,
            error_resets: 1_024,
            header_list_size_bytes: 16 * 1024,
            message_size_bytes: 4 * 1024 * 1024,
            pending_size_bytes: 32 * 1024 * 1024,
            pending_total_size_bytes: 256 * 1024 * 1024,
            message_timeout: Duration::from_secs(30),
            send_buffer_size_bytes: 64 * 1024,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15 * 60),
            keep_alive: Duration::from_secs(20),
        }
    }
}

/// The backlog of connections not yet accepted. The usual 128 stalls a thousand clients that come at once for seconds.
const BACKLOG: u32 = 4_096;
/// How long to wait when accepting fails for lack of descriptors or memory: calls that end free them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a peer whose first words are on their way when the server stops may take: it may already have sent a call
/// behind them, which would be lost without a word.
const LATE_GREETING_MAX: Duration = Duration::from_millis(500);
/// Flow-control windows: 1 MiB a stream, 2 MiB a connection, so that one call does not fill a fast link's delay.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// How large a frame may be: each costs both sides something, and a message of a MiB would be 64 with HTTP/2's default.
const FRAME_BYTES: u32 = 64 * 1024;

/// Binds a listening socket; port 0 takes a free port.
///
/// # Errors
/// When the address is taken or not this machine's.
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted service must not wait for its old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown`, then lets running calls finish until `grace` ends. Returns how many connections had to be
/// cut off. `grace` is polled only after `shutdown`, so it can be what is left of a deadline by then; a duration is
/// `async move { sleep(grace).await }`.
pub async fn serve(
    listener: TcpListener,
    served: impl Into<Served>,
    limits: Limits,
    shutdown: Shutdown,
    grace: impl Future<Output = ()>,
) -> usize {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let server = Arc::new(Server {
        served: served.into().prepare(),
        plain_slots: Arc::new(Semaphore::new(limits.plain_requests)),
        pending_total: Budget::new("pending_total_size_bytes", limits.pending_total_size_bytes),
        limits,
        shutdown,
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = server.shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (stream, slot) = accept(&listener, &slots) => {
                let serving = server.clone();
                let run = async move |stream| {
                    serving.connection(stream).await;
                    drop(slot);
                };
                match server.served.cores() {
                    Some(cores) => cores.spawn(&mut connections, stream, run),
                    None => drop(connections.spawn(inherit(run(stream)))),
                }
            }
        }
    }
    drop(listener);
    let all_done = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        biased;
        () = all_done => return 0,
        () = grace => {}
    }
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let slot = slots
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "cannot accept connections");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Server {
    served: Served,
    limits: Limits,
    plain_slots: Arc<Semaphore>,
    pending_total: Budget,
    shutdown: Shutdown,
}

impl Server {
    async fn connection(&self, stream: TcpStream) {
        // Small messages must not wait for each other. A socket that is already gone fails here and again below.
        let _ = stream.set_nodelay(true);
        let Ok(peer) = stream.peer_addr() else {
            return;
        };
        let too_late = async {
            self.shutdown.cancelled().await;
            sleep(LATE_GREETING_MAX).await;
        };
        let told = tokio::select! {
            () = too_late => return,
            told = timeout(self.limits.handshake_timeout, protocol::tell(stream)) => told,
        };
        match told {
            Ok(Some((Protocol::Http2, io))) => self.http2_connection(io, peer).await,
            // In a box, so that the connections that stay are not made larger by those that do not.
            Ok(Some((Protocol::Http1, io))) => Box::pin(http1::serve(self, io)).await,
            Ok(None) | Err(_) => {}
        }
    }

    async fn http2_connection(&self, io: Replayed<TokioIo<TcpStream>>, peer: SocketAddr) {
        let calls = watch::Sender::new(0_usize);
        let service = Calls {
            served: self.served.clone(),
            peer: Peer {
                address: peer,
                name: peer.to_string().into(),
            },
            messages: MessageLimits {
                size_bytes: self.limits.message_size_bytes,
                timeout: self.limits.message_timeout,
                pending: Budget::new("pending_size_bytes", self.limits.pending_size_bytes),
                pending_total: self.pending_total.clone(),
            },
            plain_slots: self.plain_slots.clone(),
            running: calls.clone(),
        };
        let started = streams::Calls::new(self.served.is_together());
        let io = Gathered::new(io);
        let connection = self.http2(started.clone()).serve_connection(io.clone(), service);
        let mut connection = WithCalls::new(connection, io, started);
        tokio::select! {
            _ = &mut connection => return,
            () = self.shutdown.cancelled() => {}
            () = idle(calls.subscribe(), self.limits.idle_timeout) => {}
        }
        connection.connection.as_mut().graceful_shutdown();
        // Its faults are its peer's.
        let _ = connection.await;
    }

    fn http2(&self, calls: streams::Calls) -> http2::Builder<streams::Calls> {
        let limits = &self.limits;
        let mut http2 = http2::Builder::new(calls);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_pending_accept_reset_streams(limits.pending_resets)
            .max_local_error_reset_streams(limits.error_resets)
            .max_header_list_size(limits.header_list_size_bytes)
            .max_send_buf_size(limits.send_buffer_size_bytes)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.keep_alive);
        http2
    }
}

/// Ends when a connection has carried no call for `limit`.
async fn idle(mut running: watch::Receiver<usize>, limit: Duration) {
    // The sender lives as long as the connection, which owns this future.
    while running.wait_for(|calls| *calls == 0).await.is_ok() {
        if timeout(limit, running.wait_for(|calls| *calls > 0)).await.is_err() {
            return;
        }
    }
}

/// The calls of one connection.
struct Calls {
    served: Served,
    peer: Peer,
    messages: MessageLimits,
    plain_slots: Arc<Semaphore>,
    running: watch::Sender<usize>,
}

/// Counts a call until its answer has been sent or given up. Only the first and the last one are news.
struct Running(watch::Sender<usize>);

impl Running {
    fn start(calls: &watch::Sender<usize>) -> Self {
        calls.send_if_modified(|count| {
            *count += 1;
            *count == 1
        });
        Self(calls.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_if_modified(|count| {
            *count -= 1;
            *count == 0
        });
    }
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<AnswerBody>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = Running::start(&self.running);
        if plain::is_plain(&request) {
            let answer = plain::answer_if_free(&request, self.served.metrics(), &self.plain_slots);
            return Box::pin(std::future::ready(Ok(answer.map(|body| AnswerBody {
                body,
                ending: Ending::default(),
                _running: running,
            }))));
        }
        let call = self.served.start(request.uri().path());
        let (context, span) = Span::server(&request, self.peer.address);
        let mut ending = Ending { call, span };
        let (uri, time) = (request.uri().clone(), grpc_timeout(request.headers()));
        let mut request = request.map(|body| Body::new(MessageSize::new(body, self.messages.clone())));
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.served.routes.clone().call(request);
        Box::pin(context.scope(async move {
            let response = match time {
                // The handler is dropped with its future. A stream of answers that has begun is its caller's to end.
                Some(time) => match timeout(time, answer).await {
                    Ok(response) => response?,
                    Err(_) => deadline_exceeded().into_http(),
                },
                None => answer.await?,
            };
            let response = match answer::explained(response.headers(), uri.path()) {
                Some(status) => {
                    if status.code() == Code::Unimplemented {
                        ending.span.note_unknown_method();
                    }
                    status.into_http()
                }
                None => response,
            };
            ending.note(response.headers());
            Ok(response.map(|body| AnswerBody {
                body,
                ending,
                _running: running,
            }))
        }))
    }
}

/// Who makes a call, in the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address that it comes from.
    pub address: SocketAddr,
    /// The address as text: one for all calls of a connection, since some are remembered with who made them.
    pub name: Arc<str>,
}

#[cfg(test)]
mod tests;

//! One HTTP/2 connection to one address, as a tower service: what probes and balancers are made of.
//!
//! It never reconnects: whoever owns it sees its end, and decides.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, ToSocketAddrs},
    sync::watch,
    time::{sleep, timeout},
};
use tonic::body::Body;
use tower_service::Service;

use crate::{first_bytes::FirstBytes, model::Address, telemetry::context::InheritingExecutor};

/// Flow-control windows, as the server side has them.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// When a connection attempt without an answer is given company.
const SECOND_TRY_AFTER: Duration = Duration::from_millis(250);
/// How long a response may still be on its way to a call when its connection has ended.
const RESPONSE_AFTER_END: Duration = Duration::from_millis(50);
/// When the kernel asks an idle peer for a sign of life, and how often then.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long what was sent may stay unacknowledged before the connection is broken off.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host answered that nothing listens there, or hung up: the caller should go elsewhere.
    #[error("{0}")]
    Refused(String),
    /// This process or machine lacks what it takes to connect, such as descriptors: it says nothing of the host.
    #[error("cannot open a connection: {0}")]
    Local(io::Error),
    /// Nothing answered in time, or the host cannot be reached or found: it may come back.
    #[error("{0}")]
    Silent(String),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset};
        match error.kind() {
            ConnectionRefused => Self::Refused("connection refused".to_owned()),
            ConnectionReset => Self::Refused("connection reset".to_owned()),
            _ if is_local(&error) => Self::Local(error),
            _ => Self::Silent(error.to_string()),
        }
    }
}

/// Whether an error is about this machine: no descriptors, no memory, no ports, no network.
fn is_local(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let local = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
        Errno::NETDOWN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| local.contains(&errno))
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// In good order, by either side.
    #[error("the connection was closed")]
    Closed,
    /// It broke: the peer died, or hung up.
    #[error("{0}")]
    Broken(String),
    /// What the peer said was not HTTP/2.
    #[error("what answers does not speak HTTP/2: {0}")]
    NotHttp2(String),
    /// What the peer said was TLS, which this side does not speak.
    #[error("what answers speaks TLS: {0}")]
    Tls(String),
    /// The kernel gave it up: what was sent was never acknowledged, or the host cannot be reached any more.
    #[error("{0}")]
    Silent(String),
}

/// The head of a frame up to its type (RFC 9113, section 4.1). The first frame of a server is SETTINGS.
const FRAME_TYPE_END: usize = 4;
const SETTINGS: u8 = 4;
/// What a TLS server begins with when it is not greeted in TLS: an alert, or a handshake record, of version 3.x (RFC 8446,
/// section 5.1). As the length of a frame it would be far more than HTTP/2 allows at first.
const TLS_RECORDS: [[u8; 2]; 2] = [[0x15, 0x03], [0x16, 0x03]];

fn is_settings(head: &[u8; FRAME_TYPE_END]) -> bool {
    head[FRAME_TYPE_END - 1] == SETTINGS
}

impl End {
    /// Judges a connection that is over, by its error and what the peer said first.
    fn judge(ended: hyper::Result<()>, first_bytes: Option<[u8; FRAME_TYPE_END]>) -> Self {
        let said = |bytes: [u8; FRAME_TYPE_END]| format!("it began with `{}`", bytes.escape_ascii());
        match (ended, first_bytes) {
            (_, Some(bytes)) if TLS_RECORDS.iter().any(|record| bytes.starts_with(record)) => Self::Tls(said(bytes)),
            (_, Some(bytes)) if !is_settings(&bytes) => Self::NotHttp2(said(bytes)),
            (Ok(()), _) => Self::Closed,
            (Err(error), _) if is_broken_by_silence(&error) => Self::Silent(describe(&error)),
            (Err(error), _) => Self::Broken(describe(&error)),
        }
    }
}

/// Whether a connection broke because nothing came back any more, rather than because the peer hung up.
fn is_broken_by_silence(error: &hyper::Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let kind = causes.find_map(|error| Some(error.downcast_ref::<io::Error>()?.kind()));
    kind.is_some_and(is_silence)
}

/// Whether an error of a connection says that nothing came back any more.
pub fn is_silence(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown)
}

impl From<End> for ConnectError {
    fn from(end: End) -> Self {
        Self::Refused(end.to_string())
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// The kernel of the peer has accepted it, nobody else has said anything.
    Dialled,
    /// The peer speaks HTTP/2.
    Greeted,
    Over(End),
}

/// An open connection. Clones share it; it closes when the last one is dropped and its calls have ended.
#[derive(Clone)]
pub struct Connection {
    sender: Arc<Sender>,
    authority: HeaderValue,
    progress: watch::Receiver<Progress>,
}

/// What hands requests to hyper; `None` once the connection is over. It is dropped then, whoever holds the connection:
/// a request that is handed over in the moment in which the connection ends comes back with the last sender.
type Sender = Mutex<Option<http2::SendRequest<Body>>>;

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects within `patience`. Cancel safe.
    ///
    /// # Errors
    /// Whether the host refused or was silent.
    pub async fn open(address: &Address, patience: Duration) -> Result<Self, ConnectError> {
        within(patience, Self::open_some_time(address)).await
    }

    async fn open_some_time(address: &Address) -> Result<Self, ConnectError> {
        let stream = connect(address.as_str()).await?;
        let (io, mut first_bytes) = FirstBytes::<_, FRAME_TYPE_END>::new(TokioIo::new(stream));
        let (sender, connection) = http2::Builder::new(InheritingExecutor)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .timer(TokioTimer::new())
            .handshake(io)
            .await
            .map_err(|error| ConnectError::Refused(describe(&error)))?;
        let (progress, watched) = watch::channel(Progress::Dialled);
        let sender = Arc::new(Mutex::new(Some(sender)));
        let in_use = Arc::downgrade(&sender);
        // Detached: it ends by itself once every clone is dropped, or the peer hangs up.
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let (ended, greeting) = tokio::select! {
                ended = &mut connection => (ended, first_bytes.try_recv().ok()),
                greeting = &mut first_bytes => {
                    if greeting.as_ref().is_ok_and(is_settings) {
                        progress.send_replace(Progress::Greeted);
                    }
                    (connection.await, greeting.ok())
                }
            };
            drop(in_use.upgrade().and_then(|sender| lock(&sender).take()));
            progress.send_replace(Progress::Over(End::judge(ended, greeting)));
        });
        Ok(Self {
            sender,
            authority: HeaderValue::try_from(address.as_str()).expect("an address is a header value"),
            progress: watched,
        })
    }

    /// Waits until the peer has shown that it speaks HTTP/2: a connection that only its kernel has accepted can still be
    /// dropped, and nobody would know whether a request on it was handled. Cancel safe.
    ///
    /// # Errors
    /// How the connection ended before.
    pub async fn greeted(&self) -> Result<(), End> {
        let mut progress = self.progress.clone();
        let known = progress.wait_for(|progress| *progress != Progress::Dialled).await;
        match known.as_deref() {
            Ok(Progress::Over(end)) => Err(end.clone()),
            Ok(_) => Ok(()),
            // Nobody tells any more when the task was cancelled with its runtime.
            Err(_) => Err(End::Closed),
        }
    }

    /// Waits for the connection's end. Cancel safe.
    pub async fn ended(&self) -> End {
        ended(&self.progress).await
    }

    /// Whether a new call would fail at once.
    pub fn is_closed(&self) -> bool {
        lock(&self.sender).as_ref().is_none_or(http2::SendRequest::is_closed)
    }

    /// Sends a request, and gives it back when it never left: then it is safe to send it elsewhere.
    ///
    /// # Errors
    /// [`SendError::Unsent`] with the request, [`SendError::Refused`], or the fault of the connection.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let request = self.absolute(request);
        let sender = lock(&self.sender).clone();
        let Some(mut sender) = sender else {
            return Err(SendError::Unsent(Box::new(request)));
        };
        let mut sent = std::pin::pin!(sender.try_send_request(request));
        drop(sender);
        let end = tokio::select! {
            biased;
            response = &mut sent => return received(response),
            end = ended(&self.progress) => end,
        };
        // A response that came with the end is there by now, and a request that was handed over too late comes back.
        match timeout(RESPONSE_AFTER_END, sent).await {
            Ok(response) => received(response),
            Err(_) => Err(SendError::Ended(end)),
        }
    }

    /// HTTP/2 sends scheme and authority with every request; generated clients give only a path.
    fn absolute(&self, mut request: Request<Body>) -> Request<Body> {
        let path = request.uri().path_and_query().cloned();
        let uri = Uri::builder()
            .scheme("http")
            .authority(self.authority.as_bytes())
            .path_and_query(path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")));
        *request.uri_mut() = uri.build().expect("an address and a path are a URI");
        *request.version_mut() = http::Version::HTTP_2;
        request
            .headers_mut()
            .entry(header::TE)
            .or_insert(HeaderValue::from_static("trailers"));
        let agent = HeaderValue::from_static(concat!("homeroom/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(header::USER_AGENT).or_insert(agent);
        request
    }
}

/// A panic elsewhere cannot leave an option in a bad state.
fn lock(sender: &Sender) -> MutexGuard<'_, Option<http2::SendRequest<Body>>> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects within `patience` to one of `hosts`, for who speaks HTTP/2 on it himself. Cancel safe.
///
/// # Errors
/// Whether the hosts refused or were silent.
pub async fn dial_hosts(hosts: &[SocketAddr], patience: Duration) -> Result<TcpStream, ConnectError> {
    within(patience, connect(hosts)).await
}

async fn within<T, E: Into<ConnectError>>(
    patience: Duration,
    opening: impl Future<Output = Result<T, E>>,
) -> Result<T, ConnectError> {
    let opened = timeout(patience, opening).await;
    let opened = opened.map_err(|_| ConnectError::Silent(format!("no answer in {patience:?}")))?;
    opened.map_err(Into::into)
}

/// What a sent request came to.
fn received(response: Result<Response<Incoming>, TrySendError<Request<Body>>>) -> Result<Response<Body>, SendError> {
    response
        .map(|response| response.map(Body::new))
        .map_err(|mut error| match error.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None => match error.into_error() {
                refused if is_refused(&refused) => SendError::Refused(refused),
                error => SendError::Failed(error),
            },
        })
}

async fn ended(progress: &watch::Receiver<Progress>) -> End {
    let mut progress = progress.clone();
    let over = progress
        .wait_for(|progress| matches!(progress, Progress::Over(_)))
        .await;
    match over.as_deref() {
        Ok(Progress::Over(end)) => end.clone(),
        // Nobody tells any more when the task was cancelled with its runtime.
        _ => End::Closed,
    }
}

/// Whether the server has said that it did not handle the request: it reset its stream so (REFUSED_STREAM), or left it
/// out of those that it still handles (GOAWAY with a lower last stream; RFC 9113, sections 8.7 and 6.8).
fn is_refused(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (refused || cause.is_go_away())
    })
}

/// Connects, and tries a second time beside the first one when that has no answer soon: a first packet that is lost, as
/// happens when its listener is just being closed, is repeated by the kernel only after a second.
async fn connect(to: impl ToSocketAddrs + Copy) -> io::Result<TcpStream> {
    let first = TcpStream::connect(to);
    let second = async {
        sleep(SECOND_TRY_AFTER).await;
        TcpStream::connect(to).await
    };
    let stream = tokio::select! {
        biased;
        stream = first => stream,
        stream = second => stream,
    }?;
    stream.set_nodelay(true)?;
    notice_silence(&stream)?;
    Ok(stream)
}

/// Lets the kernel find out that a host has vanished. Not HTTP/2 pings: stock gRPC servers close connections that ping
/// more often than every five minutes.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE_IDLE)
        .with_interval(KEEP_ALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection was closing: the request never left, and can be sent elsewhere.
    #[error("the connection was closing")]
    Unsent(Box<Request<Body>>),
    /// The server refused the request before it handled anything of it: who still has it can send it elsewhere.
    #[error("the server refused the request: {}", describe(.0))]
    Refused(hyper::Error),
    /// The call failed; the request may have been handled.
    #[error("{}", describe(.0))]
    Failed(hyper::Error),
    /// The connection ended; the request may have been handled.
    #[error("{0}")]
    Ended(End),
}

/// A fault of the connection during a call, for who cannot send the request elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

/// An error with its causes, which hyper leaves out of its text.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connection = self.clone();
        Box::pin(async move { connection.send(request).await.map_err(|error| Fault(error.to_string())) })
    }
}

#[cfg(test)]
mod tests;

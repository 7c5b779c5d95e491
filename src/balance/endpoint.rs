//! One address that calls go to: its connection, its load, and whether it is to be left alone for a while.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};
use tonic::{Code, body::Body};

use super::{
    connection_lost,
    latency::{Estimate, Latency},
};
use crate::{
    backoff::Backoff,
    model::{Address, Revision},
    transport::{ConnectError, Connection, describe},
};

/// How long a dial may take: a host that needs longer is no better than one that is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an endpoint that cannot be reached is left alone, at first and at most.
const EJECTION_FIRST: Duration = Duration::from_millis(200);
const EJECTION_MAX: Duration = Duration::from_secs(10);

/// What the answer UNAVAILABLE counts for, at least, as a latency.
const UNAVAILABLE_COSTS: Duration = Duration::from_secs(1);

/// An address that calls go to.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    outstanding: AtomicUsize,
    /// The connection that calls share, until it is over.
    connection: Mutex<Option<Connection>>,
    /// Held while dialling, so that one dial serves all calls that wait for it. Taken before the other locks, of which
    /// nobody holds two.
    dialling: tokio::sync::Mutex<()>,
    ejection: Mutex<Ejection>,
    latency: Mutex<Latency>,
}

#[derive(Debug)]
struct Ejection {
    /// The registration that the ejection is about: another one starts with a clean slate.
    revision: Revision,
    until: Option<Instant>,
    backoff: Backoff,
    /// When the last dial failed, and why.
    failed: Option<(Instant, String)>,
}

impl Endpoint {
    pub(super) fn new(address: Address, revision: Revision) -> Self {
        let backoff = Backoff::new(EJECTION_FIRST, EJECTION_MAX);
        Self {
            address,
            outstanding: AtomicUsize::new(0),
            connection: Mutex::default(),
            dialling: tokio::sync::Mutex::default(),
            ejection: Mutex::new(Ejection {
                revision,
                until: None,
                backoff,
                failed: None,
            }),
            latency: Mutex::default(),
        }
    }

    /// Takes note of the time that an answer has taken to begin. Who turns calls away is quick with it, and must not be
    /// preferred for that.
    pub(super) fn answered(&self, sent: Instant, unavailable: bool) {
        let now = Instant::now();
        let least = if unavailable { UNAVAILABLE_COSTS } else { Duration::ZERO };
        self.latency().record((now - sent).max(least), now);
    }

    /// How long it takes to answer, as far as that is known.
    pub(super) fn estimate(&self, now: Instant) -> Option<Estimate> {
        self.latency().estimate(now)
    }

    /// A panic elsewhere cannot leave two numbers in a bad state.
    fn latency(&self) -> MutexGuard<'_, Latency> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Whether it failed lately. News of it from the registry (another revision) end an ejection.
    pub(super) fn is_ejected(&self, revision: Revision, now: Instant) -> bool {
        let mut ejection = self.ejection();
        if ejection.revision != revision {
            ejection.revision = revision;
            ejection.until = None;
            ejection.backoff.reset();
        }
        ejection.until.is_some_and(|until| now < until)
    }

    /// The connection that is open.
    pub(super) fn open(&self) -> Option<Connection> {
        self.lock().as_ref().filter(|open| !open.is_closed()).cloned()
    }

    /// The open connection, or a new one. Cancel safe.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Connection, ConnectError> {
        let endpoint = self.clone();
        // Not tied to the call, which may have less time than a dial: a host that is silent must be found out. It ends
        // by the time-out of the dial.
        let dial = tokio::spawn(async move { endpoint.open_or_dial().await });
        dial.await
            .unwrap_or_else(|error| Err(ConnectError::Silent(error.to_string())))
    }

    async fn open_or_dial(&self) -> Result<Connection, ConnectError> {
        let asked = Instant::now();
        let _dialling = self.dialling.lock().await;
        if let Some(open) = self.open() {
            return Ok(open);
        }
        // The dial that this call waited for has failed: so would another one.
        if let Some(cause) = self.failed_since(asked) {
            return Err(ConnectError::Silent(cause));
        }
        match self.dial().await {
            Ok(open) => {
                self.recovered();
                Ok(self.lock().insert(open).clone())
            }
            Err(error) => {
                self.eject(&error);
                Err(error)
            }
        }
    }

    async fn dial(&self) -> Result<Connection, ConnectError> {
        let dial = async {
            let connection = Connection::open(&self.address, CONNECT_TIMEOUT).await?;
            connection.greeted().await?;
            Ok(connection)
        };
        timeout(CONNECT_TIMEOUT, dial)
            .await
            .unwrap_or_else(|_| Err(ConnectError::Silent(format!("no answer in {CONNECT_TIMEOUT:?}"))))
    }

    /// Lets the next call dial.
    pub(super) fn forget_connection(&self) {
        *self.lock() = None;
    }

    /// Ends when the connection that is open now ends; at once when there is none. Cancel safe.
    pub(super) async fn disconnected(&self) {
        let open = self.lock().clone();
        if let Some(open) = open {
            open.ended().await;
        }
    }

    fn failed_since(&self, time: Instant) -> Option<String> {
        let ejection = self.ejection();
        let (failed, cause) = ejection.failed.as_ref()?;
        (time < *failed).then(|| cause.clone())
    }

    fn eject(&self, error: &ConnectError) {
        let mut ejection = self.ejection();
        let (now, delay) = (Instant::now(), ejection.backoff.next_delay());
        ejection.until = Some(now + delay);
        ejection.failed = Some((now, error.to_string()));
    }

    fn recovered(&self) {
        let mut ejection = self.ejection();
        ejection.until = None;
        ejection.backoff.reset();
        ejection.failed = None;
    }

    /// A panic elsewhere cannot leave an option in a bad state.
    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic elsewhere cannot leave the few fields in a bad state.
    fn ejection(&self) -> MutexGuard<'_, Ejection> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a call as outstanding until it is dropped, which is when its answer has been read or given up.
#[derive(Debug)]
pub(super) struct Outstanding(Arc<Endpoint>);

impl Outstanding {
    pub(super) fn start(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(endpoint.clone())
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that keeps its call outstanding, and whose failure says what was lost.
pub(super) fn counted(body: Body, outstanding: Outstanding) -> Body {
    let address = outstanding.endpoint().address.clone();
    let body = body.map_frame(move |frame| {
        let _until_the_body_is_dropped = &outstanding;
        frame
    });
    // A fault of the connection has no code: whatever else fails has.
    Body::new(body.map_err(move |error| match error.code() {
        Code::Unknown => connection_lost(&address, &describe(&error)),
        _ => error,
    }))
}

#[cfg(test)]
mod tests {
    use tonic::service::Routes;

    use super::*;
    use crate::{
        listener::Limits,
        testing::{Port, Server, skip, soon},
    };

    fn silent() -> ConnectError {
        ConnectError::Silent("no answer".to_owned())
    }

    #[tokio::test]
    async fn a_call_that_waited_for_a_dial_shares_its_failure_and_the_next_call_dials_again() {
        let port = Port::take();
        let endpoint = Arc::new(Endpoint::new(port.address().into(), Revision(1)));
        let dial = endpoint.dialling.lock().await;
        let mut waiting = Box::pin(endpoint.open_or_dial());
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
        skip(CONNECT_TIMEOUT / 2).await;
        endpoint.eject(&silent());
        drop(dial);
        let server = Server::start_on(port.listen(), Routes::default(), Limits::default(), CONNECT_TIMEOUT);
        let error = waiting.await.expect_err("the dial has failed");
        assert_eq!(error.to_string(), "no answer");
        endpoint.connection().await.expect("somebody listens now");
        drop(server);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_ends_with_its_time_or_with_news_of_the_endpoint() {
        let port = Port::take();
        let endpoint = Endpoint::new(port.address().into(), Revision(1));
        assert!(!endpoint.is_ejected(Revision(1), Instant::now()));
        endpoint.eject(&silent());
        assert!(endpoint.is_ejected(Revision(1), Instant::now()));
        assert!(!endpoint.is_ejected(Revision(1), Instant::now() + EJECTION_FIRST));
        assert!(
            !endpoint.is_ejected(Revision(2), Instant::now()),
            "it was registered anew"
        );
        for _ in 0..20 {
            endpoint.eject(&silent());
        }
        assert!(!endpoint.is_ejected(Revision(2), Instant::now() + EJECTION_MAX));
        endpoint.recovered();
        assert!(!endpoint.is_ejected(Revision(2), Instant::now()));
    }

    #[tokio::test]
    async fn a_host_that_accepts_and_says_nothing_is_found_out() {
        let port = Port::take();
        let listener = port.listen();
        let endpoint = Arc::new(Endpoint::new(port.address().into(), Revision(1)));
        let dialling = tokio::spawn({
            let endpoint = endpoint.clone();
            async move { endpoint.connection().await }
        });
        let accepted = soon("a connection", listener.accept()).await.expect("a connection");
        skip(CONNECT_TIMEOUT).await;
        let error = soon("the end of the dial", dialling).await.expect("no panic");
        assert!(matches!(error, Err(ConnectError::Silent(_))), "{error:?}");
        assert!(endpoint.is_ejected(Revision(1), Instant::now()));
        drop(accepted);
    }

    #[tokio::test]
    async fn a_connection_that_is_dropped_before_anything_was_said_is_a_refusal() {
        let port = Port::take();
        let listener = port.listen();
        let endpoint = Arc::new(Endpoint::new(port.address().into(), Revision(1)));
        let hang_up = async { drop(soon("a connection", listener.accept()).await) };
        let (error, ()) = tokio::join!(endpoint.connection(), hang_up);
        assert!(matches!(error, Err(ConnectError::Refused(_))), "{error:?}");
    }
}

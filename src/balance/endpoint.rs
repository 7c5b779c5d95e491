//! One address that calls go to: its connection, its load, and whether it is to be left alone for a while.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    model::{Address, Revision},
    transport::{ConnectError, Connection},
};

/// How long a dial may take: a host that needs longer is no better than one that is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an endpoint that cannot be reached is left alone, at first and at most.
const EJECTION_FIRST: Duration = Duration::from_millis(200);
const EJECTION_MAX: Duration = Duration::from_secs(10);

/// An address that calls go to.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    outstanding: AtomicUsize,
    /// Held while dialling, so that one dial serves all calls that wait for it. Taken before `ejection`.
    connection: tokio::sync::Mutex<Option<Connection>>,
    ejection: Mutex<Ejection>,
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
            connection: tokio::sync::Mutex::new(None),
            ejection: Mutex::new(Ejection {
                revision,
                until: None,
                backoff,
                failed: None,
            }),
        }
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

    /// The open connection, or a new one. Cancel safe.
    pub(super) async fn connection(self: &Arc<Self>) -> Result<Connection, ConnectError> {
        if let Ok(connection) = self.connection.try_lock()
            && let Some(open) = connection.as_ref().filter(|open| !open.is_closed())
        {
            return Ok(open.clone());
        }
        let endpoint = self.clone();
        // Not tied to the call, which may have less time than a dial: a host that is silent must be found out. It ends
        // by the time-out of the dial.
        let dial = tokio::spawn(async move { endpoint.open_or_dial().await });
        dial.await
            .unwrap_or_else(|error| Err(ConnectError::Silent(error.to_string())))
    }

    async fn open_or_dial(&self) -> Result<Connection, ConnectError> {
        let asked = Instant::now();
        let mut connection = self.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        // The dial that this call waited for has failed: so would another one.
        if let Some(cause) = self.failed_since(asked) {
            return Err(ConnectError::Silent(cause));
        }
        match Connection::open(&self.address, CONNECT_TIMEOUT).await {
            Ok(open) => {
                self.recovered();
                Ok(connection.insert(open).clone())
            }
            Err(error) => {
                self.eject(&error);
                Err(error)
            }
        }
    }

    /// Lets the next call dial. A dial that is under way is new enough.
    pub(super) fn forget_connection(&self) {
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }

    /// Ends when the connection that is open now ends; at once when there is none. Cancel safe.
    pub(super) async fn disconnected(&self) {
        let open = self.connection.lock().await.clone();
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
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that keeps its call outstanding.
pub(super) fn counted(body: tonic::body::Body, outstanding: Outstanding) -> tonic::body::Body {
    use http_body_util::BodyExt;
    tonic::body::Body::new(Pin::new(Box::new(body)).map_frame(move |frame| {
        let _until_the_body_is_dropped = &outstanding;
        frame
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Port, skip};

    fn silent() -> ConnectError {
        ConnectError::Silent("no answer".to_owned())
    }

    #[tokio::test]
    async fn a_call_that_waited_for_a_dial_shares_its_failure_and_the_next_call_dials_again() {
        let port = Port::take();
        let endpoint = Arc::new(Endpoint::new(port.address().into(), Revision(1)));
        let dial = endpoint.connection.lock().await;
        let mut waiting = Box::pin(endpoint.open_or_dial());
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
        skip(CONNECT_TIMEOUT / 2).await;
        endpoint.eject(&silent());
        drop(dial);
        let _listener = port.listen();
        let error = waiting.await.expect_err("the dial has failed");
        assert_eq!(error.to_string(), "no answer");
        endpoint.connection().await.expect("somebody listens now");
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
}

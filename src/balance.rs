//! Calls to a service, spread over its instances: a tower service for any generated client.
//!
//! It connects before it sends, so a call that cannot reach one endpoint goes to another without having left. A call that
//! a server has refused without handling it (REFUSED_STREAM, or GOAWAY with a lower last stream) is sent again. One that
//! may have been handled is not: it fails with UNAVAILABLE (CONNECTION_LOST), or with what the server answered, unless
//! its caller has said that it can be repeated ([`Channel::idempotent`]).
//!
//! What is sent again needs a request that was held whole (at most 64 KiB, not a stream that is still being made), goes
//! to another endpoint where there is one, and takes from a budget: a fifth of the calls, and five a second.

mod budget;
mod endpoint;
mod held;
mod latency;
mod outgoing;
mod pick;
mod targets;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use self::{
    budget::RetryBudget,
    endpoint::{Endpoint, Outstanding, counted},
    held::begun,
    outgoing::Outgoing,
    targets::Targets,
};
use crate::{
    deadline::{deadline_exceeded, grpc_timeout},
    discovery::Discovery,
    model::Address,
    status::Refusal,
    telemetry::span::Span,
    transport::{ConnectError, Connection, SendError},
};

/// How long a call without a deadline waits for the first endpoint.
const WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// How many times a call is sent again after a connection that closed before it left.
const RESENDS_MAX: usize = 3;
/// How many times a call is sent again after it was refused, or failed and can be repeated.
const RETRIES_MAX: usize = 2;

/// A channel to a service. Clones share its connections. Errors are [`Status`]es: UNAVAILABLE (NO_ENDPOINT) when no
/// instance came within the call's deadline, UNAVAILABLE (CONNECT_FAILED) when none could be reached.
#[derive(Debug, Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    idempotent: bool,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    /// Replaced when the view has changed; never held while something is awaited.
    targets: Mutex<Arc<Targets>>,
    budget: Mutex<RetryBudget>,
}

/// Where the endpoints come from.
#[derive(Debug)]
enum Source {
    Fixed {
        address: Address,
    },
    Discovered {
        service: String,
        zone: String,
        discovery: Discovery,
    },
}

impl Channel {
    /// A channel to one address.
    pub fn fixed(address: Address) -> Self {
        let targets = Targets::fixed(address.clone());
        Self::new(Source::Fixed { address }, targets)
    }

    /// A channel to the instances of `service` that `discovery` finds, those in `zone` first: others are called only
    /// while none of these can be. An empty zone makes no difference.
    pub fn discovered(service: &str, zone: &str, discovery: Discovery) -> Self {
        let source = Source::Discovered {
            service: service.to_owned(),
            zone: zone.to_owned(),
            discovery,
        };
        Self::new(source, Targets::default())
    }

    fn new(source: Source, targets: Targets) -> Self {
        let shared = Shared {
            source,
            targets: Mutex::new(Arc::new(targets)),
            budget: Mutex::new(RetryBudget::new(Instant::now())),
        };
        Self {
            shared: Arc::new(shared),
            idempotent: false,
        }
    }

    /// The same channel, for calls that do no harm when they are handled twice, such as reads and what carries an id of
    /// its own. A call that was lost with its connection, or was answered with UNAVAILABLE and no message, is sent again
    /// to another endpoint, at most twice and within the budget of the channel. So that this holds in the middle of an
    /// answer, too, one of up to 64 KiB is held back until it is whole, but never longer than 10 ms: a stream begins by so
    /// much later, and what it loses after that is not asked for again.
    #[must_use]
    pub fn idempotent(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            idempotent: true,
        }
    }

    /// Gives up the connections that are open: further calls open new ones, running calls keep theirs.
    pub(crate) fn reconnect(&self) {
        for target in self.shared.targets().all() {
            target.endpoint.forget_connection();
        }
    }

    /// Ends when one of the connections that are open now ends; at once when there is none. Cancel safe.
    pub(crate) async fn disconnected(&self) {
        let targets = self.shared.targets();
        let ends: Vec<_> = targets
            .all()
            .map(|target| Box::pin(target.endpoint.disconnected()))
            .collect();
        if !ends.is_empty() {
            futures_util::future::select_all(ends).await;
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut span = Span::client(&mut request);
        let (shared, idempotent) = (self.shared.clone(), self.idempotent);
        let deadline = grpc_timeout(request.headers()).map(|timeout| Instant::now() + timeout);
        Box::pin(async move {
            let wait_until = deadline.unwrap_or_else(|| Instant::now() + WAIT_DEFAULT);
            let call = shared.call(request, idempotent, wait_until, &mut span);
            let answer = match deadline {
                Some(deadline) => timeout_at(deadline, call)
                    .await
                    .unwrap_or_else(|_| Err(deadline_exceeded())),
                None => call.await,
            };
            span.over(answer)
        })
    }
}

/// What one call has come to so far.
#[derive(Debug, Default)]
struct Tries {
    /// Where it could not be sent to: it will not be tried again.
    unreachable: Vec<(Address, ConnectError)>,
    /// Where it was sent in vain: it goes elsewhere while there are others.
    failed: Vec<Address>,
    resends: usize,
}

impl Shared {
    async fn call(
        &self,
        request: Request<Body>,
        idempotent: bool,
        wait_until: Instant,
        span: &mut Span,
    ) -> Result<Response<Body>, Status> {
        span.set_server(self.server());
        self.budget().deposit(Instant::now());
        let mut request = Outgoing::new(request).await?;
        let mut tries = Tries::default();
        loop {
            let Some((outstanding, connection)) = self.endpoint(&mut tries, wait_until, span).await? else {
                continue;
            };
            let endpoint = outstanding.endpoint().clone();
            span.set_peer(&endpoint.address);
            let attempt = request.next().expect("only what can be sent again comes here again");
            let sent = Instant::now();
            let (repeatable, result) = match connection.send(attempt).await {
                Ok(response) => {
                    let unavailable = is_unavailable(&response);
                    endpoint.answered(sent, unavailable);
                    let response = response.map(|body| counted(body, outstanding));
                    let answer = if idempotent {
                        begun(response).await
                    } else {
                        Ok(response)
                    };
                    let lost = answer.as_ref().is_err_and(|status| status.code() == Code::Unavailable);
                    (idempotent && (unavailable || lost), answer)
                }
                Err(SendError::Unsent(unsent)) if tries.resends < RESENDS_MAX => {
                    tries.resends += 1;
                    request.take_back(*unsent);
                    continue;
                }
                Err(error) => (
                    idempotent || matches!(error, SendError::Refused(_)),
                    Err(connection_lost(&endpoint.address, &error)),
                ),
            };
            let again = repeatable && request.is_whole() && tries.failed.len() < RETRIES_MAX;
            if !again || !self.budget().withdraw(Instant::now()) {
                return result;
            }
            span.failed_try("retry", &endpoint.address, &cause(&result));
            tries.failed.push(endpoint.address.clone());
        }
    }

    /// An endpoint for the next try, with an open connection; `None` when the pick has to be made again.
    async fn endpoint(
        &self,
        tries: &mut Tries,
        wait_until: Instant,
        span: &mut Span,
    ) -> Result<Option<(Outstanding, Connection)>, Status> {
        let Some(endpoint) = self.pick(tries) else {
            if let Some((address, error)) = tries.unreachable.pop() {
                return Err(connect_failed(&address, &error));
            }
            self.some_endpoint(wait_until).await?;
            return Ok(None);
        };
        // Counted while it is being connected, too: an endpoint that calls wait for is not idle.
        let outstanding = Outstanding::start(&endpoint);
        if let Some(open) = endpoint.open() {
            return Ok(Some((outstanding, open)));
        }
        match endpoint.connection().await {
            // While it was dialled it may have said goodbye to everybody but those who were not connected yet.
            Ok(connection) => Ok(self.names(&endpoint).then_some((outstanding, connection))),
            Err(error) => {
                span.failed_try("unreachable", &endpoint.address, &error);
                tries.unreachable.push((endpoint.address.clone(), error));
                Ok(None)
            }
        }
    }

    /// The endpoint for the next try: not one that this call found unreachable, and neither one where it failed nor an
    /// ejected one while there are others.
    fn pick(&self, tries: &Tries) -> Option<Arc<Endpoint>> {
        let (targets, now, mut random) = (self.targets(), Instant::now(), fastrand::Rng::new());
        let reachable = |address: &Address| tries.unreachable.iter().all(|(unreachable, _)| unreachable != address);
        let picked = targets.pick(
            |target| {
                let address = &target.endpoint.address;
                reachable(address) && !tries.failed.contains(address) && !target.is_ejected(now)
            },
            now,
            &mut random,
        );
        let picked = picked.or_else(|| targets.pick(|target| reachable(&target.endpoint.address), now, &mut random));
        picked.map(|target| target.endpoint.clone())
    }

    /// What the newest view names.
    fn targets(&self) -> Arc<Targets> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Source::Discovered { zone, discovery, .. } = &self.source {
            let view = discovery.view();
            if !targets.are_of(&view) {
                *targets = Arc::new(Targets::of(view, zone, &targets));
            }
        }
        targets.clone()
    }

    /// A panic elsewhere cannot leave two numbers in a bad state.
    fn budget(&self) -> MutexGuard<'_, RetryBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom calls go to: a service by its name, or an address.
    fn server(&self) -> &str {
        match &self.source {
            Source::Fixed { address } => address.as_str(),
            Source::Discovered { service, .. } => service,
        }
    }

    /// Whether the newest view still names an endpoint.
    fn names(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.targets()
            .all()
            .any(|target| Arc::ptr_eq(&target.endpoint, endpoint))
    }

    /// Waits until the source names an endpoint.
    async fn some_endpoint(&self, wait_until: Instant) -> Result<(), Status> {
        let Source::Discovered { service, discovery, .. } = &self.source else {
            return Ok(());
        };
        let some = discovery.wait_for(|view| view.instances().any(|instance| instance.is_serving()));
        timeout_at(wait_until, some).await.map_err(|_| no_endpoint(service))
    }
}

/// Whether the whole answer is the status UNAVAILABLE: "trailers only", in the words of the gRPC protocol over HTTP/2.
fn is_unavailable(response: &Response<Body>) -> bool {
    let code = response.headers().get("grpc-status");
    code.is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::Unavailable)
}

/// Why a call is made again: the message of its error, or that the server was not available.
fn cause(result: &Result<Response<Body>, Status>) -> &str {
    match result {
        Ok(_) => "the server is unavailable",
        Err(status) => status.message(),
    }
}

fn no_endpoint(service: &str) -> Status {
    Refusal::new(
        Code::Unavailable,
        "NO_ENDPOINT",
        format!("no instance of `{service}` is serving"),
    )
    .with("service", service)
    .retry_after(Duration::from_secs(1))
    .into()
}

fn connect_failed(address: &Address, error: &ConnectError) -> Status {
    Refusal::new(
        Code::Unavailable,
        "CONNECT_FAILED",
        format!("cannot connect to {address}: {error}"),
    )
    .with("address", address)
    .with("cause", error)
    .retry_after(Duration::from_secs(1))
    .into()
}

fn connection_lost(address: &Address, error: &dyn std::fmt::Display) -> Status {
    let message = format!("lost the connection to {address} during the call: {error}");
    Refusal::new(Code::Unavailable, "CONNECTION_LOST", message)
        .with("address", address)
        .with("cause", error)
        .into()
}

#[cfg(test)]
mod tests;

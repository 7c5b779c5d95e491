//! Calls to a service, spread over its instances: a tower service for any generated client.
//!
//! It connects before it sends, so a call that cannot reach one endpoint goes to another without having left. Only a
//! call that was under way when its connection broke fails, since it may have been handled.

mod endpoint;
mod pick;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use self::{
    endpoint::{Endpoint, Outstanding, counted},
    pick::{Candidate, pick},
};
use crate::{
    deadline::{deadline_exceeded, grpc_timeout},
    discovery::{Discovery, View},
    model::{Address, Registration, Revision},
    status::Refusal,
    telemetry::context::{Context, TRACEPARENT},
    transport::{ConnectError, SendError},
};

/// How long a call without a deadline waits for the first endpoint.
const WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// How many times a call is sent again after a connection that closed before it left.
const RESENDS_MAX: usize = 3;

/// A channel to a service. Clones share its connections. Errors are [`Status`]es: UNAVAILABLE (NO_ENDPOINT) when no
/// instance came within the call's deadline, UNAVAILABLE (CONNECT_FAILED) when none could be reached.
#[derive(Debug, Clone)]
pub struct Channel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    /// Guards the map only; never held while something is awaited.
    endpoints: Mutex<HashMap<Address, Arc<Endpoint>>>,
}

/// Where the endpoints come from.
#[derive(Debug)]
enum Source {
    Fixed(Address),
    Discovered { service: String, discovery: Discovery },
}

/// An endpoint as the source names it.
struct Target {
    address: Address,
    weight: u32,
    revision: Revision,
}

impl Channel {
    /// A channel to one address.
    pub fn fixed(address: Address) -> Self {
        Self::new(Source::Fixed(address))
    }

    /// A channel to the instances of `service` that `discovery` finds.
    pub fn discovered(service: &str, discovery: Discovery) -> Self {
        Self::new(Source::Discovered {
            service: service.to_owned(),
            discovery,
        })
    }

    fn new(source: Source) -> Self {
        let shared = Shared {
            source,
            endpoints: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Gives up the connections that are open: further calls open new ones, running calls keep theirs.
    pub(crate) fn reconnect(&self) {
        for endpoint in self.shared.lock().values() {
            endpoint.forget_connection();
        }
    }

    /// Ends when one of the connections that are open now ends; at once when there is none. Cancel safe.
    pub(crate) async fn disconnected(&self) {
        let endpoints: Vec<_> = self.shared.lock().values().cloned().collect();
        let ends = endpoints.iter().map(|endpoint| Box::pin(endpoint.disconnected()));
        let ends: Vec<_> = ends.collect();
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
        if let Some(trace) = Context::current().trace {
            request
                .headers_mut()
                .entry(TRACEPARENT)
                .or_insert_with(|| trace.header());
        }
        let shared = self.shared.clone();
        let deadline = grpc_timeout(request.headers()).map(|timeout| Instant::now() + timeout);
        Box::pin(async move {
            let wait_until = deadline.unwrap_or_else(|| Instant::now() + WAIT_DEFAULT);
            let call = shared.call(request, wait_until);
            match deadline {
                Some(deadline) => timeout_at(deadline, call)
                    .await
                    .unwrap_or_else(|_| Err(deadline_exceeded())),
                None => call.await,
            }
        })
    }
}

impl Shared {
    async fn call(&self, mut request: Request<Body>, wait_until: Instant) -> Result<Response<Body>, Status> {
        let mut unreachable: Vec<(Address, ConnectError)> = Vec::new();
        let mut resends = 0;
        loop {
            let Some(endpoint) = self.pick(&unreachable) else {
                match unreachable.pop() {
                    Some((address, error)) => return Err(connect_failed(&address, &error)),
                    None => self.some_endpoint(wait_until).await?,
                }
                continue;
            };
            // Counted while it is being connected, too: an endpoint that calls wait for is not idle.
            let outstanding = Outstanding::start(&endpoint);
            let mut connection = match endpoint.connection().await {
                Ok(connection) => connection,
                Err(error) => {
                    unreachable.push((endpoint.address.clone(), error));
                    continue;
                }
            };
            match connection.send(request).await {
                Ok(response) => return Ok(response.map(|body| counted(body, outstanding))),
                Err(SendError::Unsent(unsent)) if resends < RESENDS_MAX => {
                    resends += 1;
                    request = *unsent;
                }
                Err(error) => return Err(connection_lost(&endpoint.address, &error)),
            }
        }
    }

    /// The endpoint for the next try: not one that this call found unreachable, and not an ejected one while there are
    /// others.
    fn pick(&self, unreachable: &[(Address, ConnectError)]) -> Option<Arc<Endpoint>> {
        let mut targets = self.source.targets();
        targets.retain(|target| unreachable.iter().all(|(address, _)| *address != target.address));
        let now = Instant::now();
        let all: Vec<_> = self.endpoints(&targets);
        let ejected = |(endpoint, target): &(Arc<Endpoint>, &Target)| endpoint.is_ejected(target.revision, now);
        let fit: Vec<_> = all.iter().filter(|pair| !ejected(pair)).cloned().collect();
        let eligible = if fit.is_empty() { all } else { fit };
        let candidate = |(endpoint, target): &(Arc<Endpoint>, &Target)| Candidate {
            weight: target.weight,
            outstanding: endpoint.outstanding(),
        };
        let candidates: Vec<_> = eligible.iter().map(candidate).collect();
        let picked = pick(&candidates, &mut fastrand::Rng::new())?;
        Some(eligible[picked].0.clone())
    }

    fn endpoints<'t>(&self, targets: &'t [Target]) -> Vec<(Arc<Endpoint>, &'t Target)> {
        let mut endpoints = self.lock();
        let endpoint = |target: &'t Target| {
            let known = endpoints.entry(target.address.clone());
            let endpoint = known.or_insert_with(|| Arc::new(Endpoint::new(target.address.clone(), target.revision)));
            (endpoint.clone(), target)
        };
        let named: Vec<_> = targets.iter().map(endpoint).collect();
        // What the source names no more, and no call uses, goes with its connection.
        if endpoints.len() > named.len() {
            endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        named
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Arc<Endpoint>>> {
        self.endpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until the source names an endpoint.
    async fn some_endpoint(&self, wait_until: Instant) -> Result<(), Status> {
        let Source::Discovered { service, discovery } = &self.source else {
            return Ok(());
        };
        let some = discovery.wait_for(|view| !targets(view).is_empty());
        timeout_at(wait_until, some).await.map_err(|_| no_endpoint(service))
    }
}

impl Source {
    fn targets(&self) -> Vec<Target> {
        match self {
            Self::Fixed(address) => vec![Target {
                address: address.clone(),
                weight: Registration::WEIGHT_DEFAULT,
                revision: Revision::default(),
            }],
            Self::Discovered { discovery, .. } => targets(&discovery.views().borrow()),
        }
    }
}

fn targets(view: &View) -> Vec<Target> {
    let serving = view.instances().filter(|instance| instance.is_serving());
    let target = |instance: &Arc<crate::model::Instance>| Target {
        address: instance.registration.address.clone(),
        weight: instance.registration.weight,
        revision: instance.revision,
    };
    serving.map(target).collect()
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

fn connection_lost(address: &Address, error: &SendError) -> Status {
    let message = format!("lost the connection to {address} during the call: {error}");
    Refusal::new(Code::Unavailable, "CONNECTION_LOST", message)
        .with("address", address)
        .with("cause", error)
        .into()
}

#[cfg(test)]
mod tests;

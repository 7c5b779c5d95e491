//! What tests talk to: a server that stops with its guard, and services that do what a test tells them.
//!
//! Behind the feature `testing`. Whatever waits here waits for an event, for at most ten seconds, and panics after that.

mod exposition;
mod registry;

use std::{fmt, net::SocketAddr, pin::Pin, time::Duration};

use futures_util::Stream;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, metadata::MetadataMap, service::Routes};

pub use self::exposition::{Exposition, Family, Reply, Sample, http1, scrape};
pub use self::registry::{ScriptedRegistry, Source, Stage, instance, patch, registered, snapshot};
use crate::{
    balance::Channel,
    listener::{self, Limits, Peer, Served},
    model::Address,
    proto::health::v1::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_server::{Health, HealthServer},
    },
    shutdown::Shutdown,
    telemetry::context::{Context, inherit},
};

/// How long a test waits for something that must come: far more than it takes, so that only a fault runs into it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many calls or messages may wait for the test; further ones make their sender wait.
const WAITING_MAX: usize = 64;

/// Waits for something that must come.
///
/// # Panics
/// When it does not come within ten seconds.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// Lets time pass at once, after all tasks that can run have set their timers. What then waits for a socket waits in
/// real time again, so that no timer overtakes it.
#[cfg(test)]
pub(crate) async fn skip(time: Duration) {
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A port of this machine that is nobody else's while this lives. Nothing listens on it at first: connections are
/// refused.
#[derive(Debug)]
pub struct Port {
    socket: TcpSocket,
}

impl Port {
    /// Takes a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is none, or outside a tokio runtime.
    pub fn take() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a socket that shares its port");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self { socket }
    }

    /// Where it is.
    ///
    /// # Panics
    /// Never: it is bound.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("the socket is bound")
    }

    /// Listens on it; again, once the last listener is gone.
    ///
    /// # Panics
    /// While there is a listener.
    pub fn listen(&self) -> TcpListener {
        listener::bind(self.address()).expect("nobody else has the port")
    }
}

/// A server on a port of its own. Dropping it is a crash: its connections are cut at once.
#[derive(Debug)]
pub struct Server {
    address: Address,
    shutdown: Shutdown,
    task: AbortOnDropHandle<usize>,
}

impl Server {
    /// Serves on a free port, with the default limits and a grace that no test needs.
    ///
    /// # Panics
    /// When there is no free port, or outside a tokio runtime.
    pub fn start(routes: Routes) -> Self {
        let listener = listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self::start_on(listener, routes, Limits::default(), PATIENCE)
    }

    /// Serves on this socket, with these limits, and with this grace in the end.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_on(listener: TcpListener, served: impl Into<Served>, limits: Limits, grace: Duration) -> Self {
        let address = listener.local_addr().expect("the socket is bound").into();
        let shutdown = Shutdown::new();
        let grace = async move { sleep(grace).await };
        let serve = listener::serve(listener, served.into(), limits, shutdown.clone(), grace);
        Self {
            address,
            shutdown,
            task: AbortOnDropHandle::new(tokio::spawn(inherit(serve))),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A new channel to it.
    pub fn channel(&self) -> Channel {
        Channel::fixed(self.address.clone())
    }

    /// Asks it to stop, without waiting.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Cuts its connections at once, and waits until its port is free.
    pub async fn crash(self) {
        self.task.abort();
        // It ends with the news that it was aborted.
        let _ = soon("the end of the server", self.task).await;
    }

    /// Stops it in good order. Returns how many connections had to be cut off.
    ///
    /// # Panics
    /// When it panicked, or does not stop.
    pub async fn stop(self) -> usize {
        self.shut_down();
        soon("the end of the server", self.task)
            .await
            .expect("the server does not panic")
    }
}

/// A call that waits for the test's answer.
#[derive(Debug)]
pub struct Call<Q, A> {
    /// What was asked.
    pub request: Q,
    /// What came along with it.
    pub metadata: MetadataMap,
    /// What the handler's task carries.
    pub context: Context,
    /// Where it came from.
    pub peer: Option<SocketAddr>,
    answer: oneshot::Sender<Result<A, Status>>,
}

impl<Q, A> Call<Q, A> {
    /// Answers. An answer that nobody waits for any more is lost.
    pub fn answer(self, answer: Result<A, Status>) {
        let _ = self.answer.send(answer);
    }

    /// Waits until the caller has given up or is gone.
    ///
    /// # Panics
    /// When it still waits after ten seconds.
    pub async fn cancelled(mut self) {
        soon("the end of the call", self.answer.closed()).await;
    }
}

/// The calls of one method, in the order in which they come.
#[derive(Debug)]
pub struct Calls<Q, A>(mpsc::Receiver<Call<Q, A>>);

impl<Q, A> Calls<Q, A> {
    /// The next call.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next(&mut self) -> Call<Q, A> {
        soon("a call", self.0.recv()).await.expect("the server runs")
    }

    /// The next call, or `None` once the server is gone.
    #[cfg(test)]
    pub(crate) async fn next_or_end(&mut self) -> Option<Call<Q, A>> {
        soon("a call", self.0.recv()).await
    }

    /// The next call if it is there already.
    pub fn try_next(&mut self) -> Option<Call<Q, A>> {
        self.0.try_recv().ok()
    }
}

impl<Q, A: Clone + Send + 'static> Calls<Q, A>
where
    Q: Send + 'static,
{
    /// Answers all calls alike from now on, until the server is gone; then tells how many they were.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn answer_all(mut self, answer: A) -> AbortOnDropHandle<usize> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut count = 0;
            while let Some(call) = self.0.recv().await {
                count += 1;
                call.answer(Ok(answer.clone()));
            }
            count
        }))
    }
}

/// A method that asks the test what to answer.
pub struct Method<Q, A>(mpsc::Sender<Call<Q, A>>);

impl<Q, A> Method<Q, A> {
    /// A method, and its calls.
    pub fn new() -> (Self, Calls<Q, A>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), Calls(receiver))
    }

    /// Handles a call.
    ///
    /// # Errors
    /// What the test answers, or CANCELLED when it drops the call or is over.
    pub async fn call(&self, request: Request<Q>) -> Result<Response<A>, Status> {
        let (answer, answered) = oneshot::channel();
        let (metadata, extensions, request) = request.into_parts();
        let call = Call {
            request,
            metadata,
            context: Context::current(),
            peer: extensions.get::<Peer>().map(|peer| peer.address),
            answer,
        };
        let over = |_| Status::cancelled("the test does not answer");
        self.0.send(call).await.map_err(|_| over(()))?;
        answered.await.map_err(|_| over(()))?.map(Response::new)
    }
}

impl<Q, A> fmt::Debug for Method<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method").finish_non_exhaustive()
    }
}

/// The calls of [`scripted_health`].
pub type HealthCalls = Calls<HealthCheckRequest, HealthCheckResponse>;

/// A health service whose `Check` answers as the test says: the simplest method there is, for whatever a test needs a
/// call for.
pub fn scripted_health() -> (HealthServer<impl Health>, HealthCalls) {
    let (check, calls) = Method::new();
    (HealthServer::new(ScriptedHealth { check }), calls)
}

struct ScriptedHealth {
    check: Method<HealthCheckRequest, HealthCheckResponse>,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn not_scripted<T>() -> Result<T, Status> {
    Err(Status::unimplemented("no test has needed it"))
}

#[tonic::async_trait]
impl Health for ScriptedHealth {
    type WatchStream = Messages<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.check.call(request).await
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        not_scripted()
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        not_scripted()
    }
}

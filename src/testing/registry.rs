//! A registry that answers as a test says.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, service::Routes};

use super::{Call, Calls, Messages, Method, PATIENCE, Server, WAITING_MAX, not_scripted, soon};
use crate::{
    balance::Channel,
    listener::{self, Limits},
    model::{Address, Instance},
    proto::registry::v1::{
        self as proto, AcknowledgeRevisionRequest, AcknowledgeRevisionResponse, DeregisterRequest, DeregisterResponse,
        GetInstanceRequest, GetInstanceResponse, GetStatusRequest, GetStatusResponse, ListChangesRequest,
        ListChangesResponse, ListInstancesRequest, ListInstancesResponse, ListServicesRequest, ListServicesResponse,
        RegisterRequest, RegisterResponse, RenewLeaseRequest, RenewLeaseResponse, WatchChangesRequest,
        WatchChangesResponse, WatchServicesRequest, WatchServicesResponse,
        registry_server::{Registry, RegistryServer},
    },
};

/// A registry that answers as the test says, and tells it what was asked. Dropping it is a crash.
#[derive(Debug)]
pub struct ScriptedRegistry {
    /// The calls of `Register`.
    pub registers: Calls<RegisterRequest, RegisterResponse>,
    /// The calls of `Deregister`.
    pub deregisters: Calls<DeregisterRequest, DeregisterResponse>,
    /// The calls of `WatchServices`, which [`Call::stream`] answers.
    pub watches: Calls<WatchServicesRequest, Source>,
    acknowledged: mpsc::Receiver<AcknowledgeRevisionRequest>,
    server: Server,
}

impl ScriptedRegistry {
    /// Starts on a free port.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start() -> Self {
        let listener = listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self::start_on(listener)
    }

    /// Starts on this socket.
    ///
    /// # Panics
    /// As [`Server::start_on`].
    pub fn start_on(listener: TcpListener) -> Self {
        let (register, registers) = Method::new();
        let (deregister, deregisters) = Method::new();
        let (watch, watches) = Method::new();
        let (acknowledge, acknowledged) = mpsc::channel(WAITING_MAX);
        let routes = Routes::new(RegistryServer::new(Scripted {
            register,
            deregister,
            watch,
            acknowledge,
        }));
        Self {
            registers,
            deregisters,
            watches,
            acknowledged,
            server: Server::start_on(listener, routes, Limits::default(), PATIENCE),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        self.server.address()
    }

    /// A new channel to it.
    pub fn channel(&self) -> Channel {
        self.server.channel()
    }

    /// Cuts its connections at once, and waits until its port is free.
    pub async fn crash(self) {
        self.server.crash().await;
    }

    /// The next revision that a watcher acknowledges, with the watch.
    ///
    /// # Panics
    /// When none comes.
    pub async fn acknowledged(&mut self) -> AcknowledgeRevisionRequest {
        let next = soon("an acknowledgement", self.acknowledged.recv()).await;
        next.expect("the server runs")
    }

    /// Waits for a watch and opens its stream.
    ///
    /// # Panics
    /// When none comes.
    pub async fn watch(&mut self) -> (WatchServicesRequest, Stage) {
        self.watches.next().await.stream()
    }
}

/// The receiving end of a scripted stream.
#[derive(Debug)]
pub struct Source(mpsc::Receiver<Result<WatchServicesResponse, Status>>);

/// The sending end of a scripted stream, which ends when this is dropped.
#[derive(Debug)]
pub struct Stage {
    messages: mpsc::Sender<Result<WatchServicesResponse, Status>>,
    named: AtomicBool,
}

impl Stage {
    /// Sends a message, or ends the stream with a status. The first message names the watch `w`.
    ///
    /// # Panics
    /// When the watcher is gone.
    pub async fn send(&self, mut message: Result<WatchServicesResponse, Status>) {
        if let Ok(message) = &mut message
            && !self.named.swap(true, Ordering::Relaxed)
        {
            "w".clone_into(&mut message.watch_id);
        }
        self.messages.send(message).await.expect("the watcher listens");
    }

    /// Waits until the watcher is gone.
    ///
    /// # Panics
    /// When it is still there after ten seconds.
    pub async fn cancelled(self) {
        soon("the end of the watch", self.messages.closed()).await;
    }
}

impl Call<WatchServicesRequest, Source> {
    /// Opens the stream.
    pub fn stream(self) -> (WatchServicesRequest, Stage) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let request = self.request.clone();
        self.answer(Ok(Source(receiver)));
        let stage = Stage {
            messages: sender,
            named: AtomicBool::new(false),
        };
        (request, stage)
    }
}

/// A serving instance as a registry tells of it; its id is its address.
pub fn instance(service: &str, address: &Address, revision: u64) -> proto::Instance {
    proto::Instance {
        service: service.to_owned(),
        id: address.to_string(),
        address: address.to_string(),
        incarnation: revision,
        revision,
        health: Some(proto::Health {
            state: proto::HealthState::Serving.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The snapshot of a watch: all instances at a revision, of the epoch 1.
///
/// # Panics
/// When an instance is not valid.
pub fn snapshot(revision: u64, instances: &[proto::Instance]) -> WatchServicesResponse {
    WatchServicesResponse {
        reset: true,
        ..patch(revision, instances, instances)
    }
}

/// A patch of a watch: the instances that changed, and all that the view has then.
///
/// # Panics
/// When an instance is not valid.
pub fn patch(revision: u64, updated: &[proto::Instance], view: &[proto::Instance]) -> WatchServicesResponse {
    let hash = |instance: &proto::Instance| {
        let instance = Instance::try_from(instance.clone()).expect("a valid instance");
        instance.view_hash()
    };
    WatchServicesResponse {
        revision,
        epoch: 1,
        updated: updated.to_vec(),
        view_hash: view.iter().map(hash).fold(0, u64::wrapping_add),
        ..Default::default()
    }
}

/// The answer of a registry that has registered what was asked, under this incarnation.
pub fn registered(request: &RegisterRequest, incarnation: u64) -> RegisterResponse {
    let instance = request.instance.clone().map(|instance| proto::Instance {
        incarnation,
        ..instance
    });
    RegisterResponse {
        instance,
        ..Default::default()
    }
}

struct Scripted {
    register: Method<RegisterRequest, RegisterResponse>,
    deregister: Method<DeregisterRequest, DeregisterResponse>,
    watch: Method<WatchServicesRequest, Source>,
    acknowledge: mpsc::Sender<AcknowledgeRevisionRequest>,
}

#[tonic::async_trait]
impl Registry for Scripted {
    type WatchServicesStream = Messages<WatchServicesResponse>;

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        self.register.call(request).await
    }

    async fn deregister(&self, request: Request<DeregisterRequest>) -> Result<Response<DeregisterResponse>, Status> {
        self.deregister.call(request).await
    }

    async fn watch_services(
        &self,
        request: Request<WatchServicesRequest>,
    ) -> Result<Response<Self::WatchServicesStream>, Status> {
        let Source(messages) = self.watch.call(request).await?.into_inner();
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn acknowledge_revision(
        &self,
        request: Request<AcknowledgeRevisionRequest>,
    ) -> Result<Response<AcknowledgeRevisionResponse>, Status> {
        // A test that does not look is over.
        let _ = self.acknowledge.send(request.into_inner()).await;
        Ok(Response::new(AcknowledgeRevisionResponse {}))
    }

    async fn get_instance(&self, _: Request<GetInstanceRequest>) -> Result<Response<GetInstanceResponse>, Status> {
        not_scripted()
    }

    async fn list_services(&self, _: Request<ListServicesRequest>) -> Result<Response<ListServicesResponse>, Status> {
        not_scripted()
    }

    async fn list_instances(
        &self,
        _: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        not_scripted()
    }

    async fn list_changes(&self, _: Request<ListChangesRequest>) -> Result<Response<ListChangesResponse>, Status> {
        not_scripted()
    }

    async fn renew_lease(&self, _: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        not_scripted()
    }

    type WatchChangesStream = Messages<WatchChangesResponse>;

    async fn watch_changes(
        &self,
        _: Request<WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        not_scripted()
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        not_scripted()
    }
}

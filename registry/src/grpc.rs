//! The wire: decodes requests, asks the engine, encodes answers.

mod changes;
mod limits;
mod list;
mod pages;
mod ready;
mod status;
mod watch_body;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{
    Stream, StreamExt,
    stream::{self, Empty},
};
use homeroom::{
    listener::Peer,
    model::{self, Epoch, Incarnation, Instance, InstanceKey, InvalidField, Registration, Revision, ServiceName},
    page::{PAGE_SIZE_BYTES_MAX, PAGE_SIZE_MAX},
    proto::registry::v1::{
        self as proto, AcknowledgeRevisionRequest, AcknowledgeRevisionResponse, DeregisterRequest, DeregisterResponse,
        GetInstanceRequest, GetStatusRequest, GetStatusResponse, ListChangesRequest, ListInstancesRequest,
        ListServicesRequest, ListServicesResponse, RenewLeaseRequest, RenewLeaseResponse, WatchChangesRequest,
        WatchServicesRequest,
        ready::{
            GetInstanceResponse, ListChangesResponse, ListInstancesResponse, RegisterRequest, RegisterResponse,
            WatchChangesResponse, WatchServicesResponse,
            registry_server::{Registry, RegistryServer},
        },
    },
    shutdown::Shutdown,
};
use prost::{DecodeError, Message};
use tonic::{Request, Response, Status};

pub use self::ready::ReadyAnswers;
pub(crate) use self::status::status;
use self::{
    pages::{Listed, Pages},
    watch_body::WatchBody,
};
use crate::{
    catalog::Departure,
    engine::Engine,
    error::Error,
    store::State,
    watch::{self, Scope, WatchId, Watcher},
};

const VERIFY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const VERIFY_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(600);
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);
const HEARTBEAT_MIN: Duration = Duration::from_millis(100);
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);

/// The server of the API over an engine. The streams of `WatchServices` end when the engine's feeds are closed, those of
/// `WatchChanges` at `shutdown`.
pub fn server(engine: Engine, shutdown: Shutdown) -> ReadyAnswers<RegistryServer<Api>> {
    ReadyAnswers::new(RegistryServer::new(Api {
        engine,
        shutdown,
        pages: Arc::default(),
    }))
}

/// The API over an engine. Some of its answers are made of bytes that are ready, which only [`server`] gives out.
#[derive(Debug, Clone)]
pub struct Api {
    engine: Engine,
    shutdown: Shutdown,
    pages: Arc<Pages>,
}

/// The host that makes a call.
fn registrant<T>(request: &Request<T>) -> Option<IpAddr> {
    let peer = request.extensions().get::<Peer>()?;
    Some(peer.address.ip().to_canonical())
}

/// Who makes a call.
fn actor<T>(request: &Request<T>) -> Arc<str> {
    match request.extensions().get::<Peer>() {
        Some(peer) => peer.name.clone(),
        None => "unknown".into(),
    }
}

/// The number of a registration; 0 stands for none.
fn incarnation(number: u64) -> Option<Incarnation> {
    (number != 0).then_some(Incarnation(number))
}

/// The first page of the serving instances that an instance requires.
fn required_instances(instance: &Instance, state: &State) -> Vec<Vec<u8>> {
    let required = instance.registration.required_services.iter();
    let required = required.flat_map(|service| state.catalog.instances_of(service));
    let serving = required.filter(|instance| instance.is_serving());
    let mut size_bytes = 0;
    serving
        .map(|instance| instance.encode_to_vec())
        .take(PAGE_SIZE_MAX)
        .take_while(|instance| {
            size_bytes += instance.len();
            size_bytes <= PAGE_SIZE_BYTES_MAX
        })
        .collect()
}

fn not_negative(
    field: &str,
    message: Option<prost_types::Duration>,
    max: Duration,
    default: Duration,
) -> Result<Duration, InvalidField> {
    model::duration(field, message, Duration::ZERO..=max, default)
}

#[tonic::async_trait]
impl Registry for Api {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let (actor, registrant) = (actor(&request), registrant(&request));
        let request = request.into_inner();
        let registration = self.registration(request.instance)?;
        let patience = not_negative(
            "verify_timeout",
            request.verify_timeout,
            VERIFY_TIMEOUT_MAX,
            VERIFY_TIMEOUT_DEFAULT,
        )?;
        let verify = request.verify.then_some(patience);
        let renews = incarnation(request.incarnation);
        let (instance, renewed) = self
            .engine
            .register(registration, renews, actor, registrant, verify)
            .await?;
        let message = instance.encode_to_vec();
        Ok(Response::new(self.engine.store.read(|state| {
            let cyclic = state.catalog.cyclic_services(&instance.registration);
            RegisterResponse {
                instance: message,
                required_instances: if renewed {
                    Vec::new()
                } else {
                    required_instances(&instance, state)
                },
                cyclic_services: cyclic.iter().map(ToString::to_string).collect(),
                revision: state.catalog.revision().0,
                epoch: state.catalog.epoch().0,
            }
        })))
    }

    async fn deregister(&self, request: Request<DeregisterRequest>) -> Result<Response<DeregisterResponse>, Status> {
        let actor = actor(&request);
        let request = request.into_inner();
        let departure = Departure {
            key: InstanceKey::parse(&request.service, &request.id)?,
            incarnation: incarnation(request.incarnation),
            actor,
        };
        let timeout = |timeout| not_negative("drain.timeout", timeout, DRAIN_TIMEOUT_MAX, DRAIN_TIMEOUT_DEFAULT);
        let drain = request.drain.map(|drain| timeout(drain.timeout)).transpose()?;
        let (revision, drained) = self.engine.deregister(departure, drain).await?;
        let epoch = self.engine.store.read(|state| state.catalog.epoch());
        Ok(Response::new(DeregisterResponse {
            revision: revision.0,
            watchers: u32::try_from(drained.watchers).unwrap_or(u32::MAX),
            late_watch_ids: drained.late.iter().map(ToString::to_string).collect(),
            epoch: epoch.0,
        }))
    }

    async fn get_instance(
        &self,
        request: Request<GetInstanceRequest>,
    ) -> Result<Response<GetInstanceResponse>, Status> {
        let request = request.into_inner();
        let key = InstanceKey::parse(&request.service, &request.id)?;
        let instance = self.engine.store.read(|state| state.catalog.get(&key).cloned());
        let instance = instance.ok_or(Error::InstanceNotFound(key))?;
        Ok(Response::new(GetInstanceResponse {
            instance: instance.encode_to_vec(),
        }))
    }

    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(
            self.engine.store.read(|state| list::services(&request, state))?,
        ))
    }

    async fn list_instances(
        &self,
        request: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        let request = request.into_inner();
        let listed = self.engine.store.read(|state| self.pages.list(&request, state))?;
        Ok(match listed {
            Listed::Message(message) => Response::new(message),
            Listed::Ready(body) => ready::answer(ListInstancesResponse::default(), body),
        })
    }

    type WatchServicesStream = Empty<Result<WatchServicesResponse, Status>>;

    async fn watch_services(
        &self,
        request: Request<WatchServicesRequest>,
    ) -> Result<Response<Self::WatchServicesStream>, Status> {
        let request = request.into_inner();
        let watch = watch::Request {
            position: (request.epoch != 0).then_some((Revision(request.revision), Epoch(request.epoch))),
            heartbeat_interval: model::duration(
                "heartbeat_interval",
                request.heartbeat_interval,
                HEARTBEAT_MIN..=HEARTBEAT_MAX,
                HEARTBEAT_DEFAULT,
            )?,
            acknowledges: request.acknowledges,
            scope: self.scope(request)?,
        };
        let watcher = Watcher::open(self.engine.store.clone(), &self.engine.watches, watch)?;
        Ok(ready::answer(stream::empty(), WatchBody::new(watcher)))
    }

    async fn acknowledge_revision(
        &self,
        request: Request<AcknowledgeRevisionRequest>,
    ) -> Result<Response<AcknowledgeRevisionResponse>, Status> {
        let request = request.into_inner();
        let id = WatchId::parse(&request.watch_id).ok_or(Error::WatchNotFound(request.watch_id))?;
        let current = |state: &State| (state.catalog.revision(), state.catalog.epoch());
        let current = self.engine.store.read(current);
        self.engine
            .watches
            .acknowledge(id, Revision(request.revision), current)?;
        Ok(Response::new(AcknowledgeRevisionResponse {}))
    }

    async fn renew_lease(&self, request: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        let request = request.into_inner();
        let key = InstanceKey::parse(&request.service, &request.id)?;
        let ttl = self.engine.renew_lease(key, incarnation(request.incarnation))?;
        Ok(Response::new(RenewLeaseResponse {
            ttl: ttl.try_into().ok(),
        }))
    }

    type WatchChangesStream = Pin<Box<dyn Stream<Item = Result<WatchChangesResponse, Status>> + Send>>;

    async fn watch_changes(
        &self,
        request: Request<WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        let messages = changes::messages(&self.engine, &request.into_inner(), self.shutdown.clone())?;
        Ok(Response::new(Box::pin(
            messages.map(|message| message.map_err(Into::into)),
        )))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(status(&self.engine, SystemTime::now())))
    }

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(
            self.engine.store.read(|state| list::changes(&request, state))?,
        ))
    }
}

impl Api {
    fn registration(&self, instance: Option<Vec<u8>>) -> Result<Registration, Status> {
        let bytes = instance.ok_or_else(|| InvalidField::new("instance", "must be given"))?;
        // As tonic says it of a whole message, which the listener explains to the caller.
        let unreadable = |error: DecodeError| Status::internal(error.to_string());
        let instance = proto::Instance::decode(&*bytes).map_err(unreadable)?;
        limits::instance(&instance, bytes.len(), &self.engine.limits)?;
        let registration = Registration::try_from(instance).map_err(|error| error.within("instance"))?;
        Ok(registration)
    }

    fn scope(&self, request: WatchServicesRequest) -> Result<Scope, Error> {
        limits::names(&request.services, &self.engine.limits)?;
        let Some(instance) = request.for_instance else {
            let names = request.services.iter().enumerate();
            let names = names.map(|(n, name)| ServiceName::parse(&format!("services[{n}]"), name));
            let names = names.collect::<Result<BTreeSet<_>, _>>()?;
            return Ok(Scope::services(names, request.include_all_health));
        };
        if !request.services.is_empty() {
            return Err(InvalidField::new("for_instance", "must not be given together with `services`").into());
        }
        let key = InstanceKey::try_from(instance).map_err(|error| error.within("for_instance"))?;
        let all = request.include_all_health;
        self.engine
            .store
            .read(|state| Scope::required_by(key, all, &state.catalog))
    }
}

#[cfg(test)]
mod tests;

//! How any service runs: bind, serve, register, be ready, and in the end drain.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::oneshot,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, body::Body, server::NamedService, service::RoutesBuilder};

use crate::{
    config::Config,
    health::{HealthReporter, health},
    listener::{self, Limits, Placement, Served},
    mesh::Mesh,
    metrics::Metrics,
    model::{Address, InvalidField, Registration, ServiceName},
    proto,
    registration::{Registrar, Standing},
    shutdown::{self, Shutdown},
    telemetry::context::{Context, Origin, inherit},
};

/// How long a service that starts waits for its registry before it gives up. Once it has found it, it never does.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(10);
/// How much of the grace watchers get to learn that a service leaves, at most.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Why a service could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on: free it, or choose another.
    #[error("cannot listen on {address}: {}", plain(cause))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The registry cannot be reached: start it, or name the right one.
    #[error("cannot reach the registry: {cause} (start it first, or name another with --registry)")]
    RegistryUnreachable {
        /// The last failure.
        cause: String,
    },
    /// The registry refuses this instance: mend what it names.
    #[error("the registry refuses this instance: {0}")]
    Refused(String),
    /// A name given to the service is not valid: mend the program.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// The signal handlers, the reflection service, or threads cannot be set up.
    #[error("cannot set up: {0}")]
    SetUp(String),
}

/// What the system says, without its number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is taken".to_owned(),
        io::ErrorKind::PermissionDenied => "not allowed".to_owned(),
        io::ErrorKind::AddrNotAvailable => "not an address of this machine".to_owned(),
        _ => error.to_string(),
    }
}

/// Binds where the configuration says.
///
/// # Errors
/// [`ServeError::Listen`].
///
/// # Panics
/// Outside a tokio runtime.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    listener::bind(address).map_err(|cause| ServeError::Listen { address, cause })
}

/// A service, from its name to its end.
///
/// ```no_run
/// # use homeroom::{Service, config::{Config, ServiceArgs}, proto::grades::v1::grades_server::*};
/// # async fn example(grades: impl Grades) -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::parse(&ServiceArgs::default(), 3002)?;
/// Service::new("grades").requires("log").add_service(GradesServer::new(grades)).serve(&config).await?;
/// # Ok(())
/// # }
/// ```
pub struct Service {
    name: String,
    requires: Vec<String>,
    registered: bool,
    routes: RoutesBuilder,
    grpc_names: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
    limits: Limits,
    metrics: Metrics,
    placement: Placement,
    alongside: Vec<BoxFuture<'static, ()>>,
}

impl Service {
    /// A service that clients call by `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            requires: Vec::new(),
            registered: true,
            routes: RoutesBuilder::default(),
            grpc_names: Vec::new(),
            // Error details are described too, so that reflection clients can show them.
            descriptors: vec![proto::FILE_DESCRIPTOR_SET, tonic_types::pb::FILE_DESCRIPTOR_SET],
            limits: Limits::default(),
            metrics: Metrics::new(),
            placement: Placement::default(),
            alongside: Vec::new(),
        }
    }

    /// Names a service that this one calls. It reports SERVING only once each of them has had a serving instance.
    #[must_use]
    pub fn requires(mut self, service: &str) -> Self {
        self.requires.push(service.to_owned());
        self
    }

    /// Serves without a registration: for the registry itself.
    #[must_use]
    pub fn unregistered(mut self) -> Self {
        self.registered = false;
        self
    }

    /// Adds a generated server.
    #[must_use]
    pub fn add_service<S>(mut self, server: S) -> Self
    where
        S: tower_service::Service<
                http::Request<Body>,
                Response = http::Response<Body>,
                Error = std::convert::Infallible,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add_service(server);
        self.grpc_names.push(S::NAME);
        self
    }

    /// Adds an encoded `FileDescriptorSet`, so that reflection can describe servers that are not Homeroom's own.
    #[must_use]
    pub fn descriptors(mut self, file_descriptor_set: &'static [u8]) -> Self {
        self.descriptors.push(file_descriptor_set);
        self
    }

    /// Runs a future while the service runs, in its name; it is dropped at the end.
    #[must_use]
    pub fn alongside(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.alongside.push(Box::pin(work));
        self
    }

    /// Changes what peers can make the server hold.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Says where calls run. Default: [`Placement::Apart`].
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// What the service answers under `/metrics`, to add instruments of its own.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Binds, installs the signal handlers, and runs. For the `main` of a service that needs nothing in between.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn serve(self, config: &Config) -> Result<(), ServeError> {
        let listener = bind(config.listen)?;
        let shutdown = shutdown::on_signals().map_err(|error| ServeError::SetUp(error.to_string()))?;
        self.run(config, listener, shutdown).await
    }

    /// Serves health, reflection and the added servers, registers, and stays until `shutdown`; then deregisters,
    /// answers NOT_SERVING, and lets running calls finish within the grace.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn run(self, config: &Config, listener: TcpListener, shutdown: Shutdown) -> Result<(), ServeError> {
        let cause = |cause| ServeError::Listen {
            address: config.listen,
            cause,
        };
        let listening = listener.local_addr().map_err(cause)?;
        let mesh = Mesh::of(config);
        let address = match &config.advertise {
            Some(address) => address.clone(),
            None => reachable(listening, &config.registry).await,
        };
        let origin = Origin {
            service: self.name.clone(),
            instance: address.to_string(),
        };
        let context = Context {
            origin: Some(origin.into()),
            ..Context::default()
        };
        let registration = self.registration(address, &config.zone)?;
        context
            .scope(self.run_as(registration, mesh, config.grace, listener, shutdown))
            .await
    }

    fn registration(&self, address: Address, zone: &str) -> Result<Option<Registration>, InvalidField> {
        if !self.registered {
            return Ok(None);
        }
        let message = proto::registry::v1::Instance {
            service: self.name.clone(),
            address: address.to_string(),
            zone: zone.to_owned(),
            required_services: self.requires.clone(),
            ..Default::default()
        };
        Registration::try_from(message).map(Some)
    }

    async fn run_as(
        mut self,
        registration: Option<Registration>,
        mesh: Mesh,
        grace: Duration,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> Result<(), ServeError> {
        let closing = Shutdown::new();
        let limits = self.limits.clone();
        let alongside = self.alongside.drain(..);
        let _alongside: Vec<_> = alongside
            .map(|work| AbortOnDropHandle::new(tokio::spawn(inherit(work))))
            .collect();
        let (reporter, served) = self.served(closing.clone())?;
        let (cut_off_at, deadline) = oneshot::channel();
        // The time is told at the signal; who never tells it never closes.
        let cut_off = async move {
            if let Ok(deadline) = deadline.await {
                sleep_until(deadline).await;
            }
        };
        let server = listener::serve(listener, served, limits, closing.clone(), cut_off);
        let server = AbortOnDropHandle::new(tokio::spawn(inherit(server)));
        let registrar = registration.map(|registration| {
            let required = registration.required_services.iter().cloned().collect();
            (Registrar::start(mesh.registry(), registration), required)
        });
        if let Some((registrar, _)) = &registrar {
            tokio::select! {
                standing = first_standing(registrar) => standing?,
                () = shutdown.cancelled() => {}
            }
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = readiness(&mesh, &reporter, registrar.as_ref()) => {}
        }
        shutdown.cancelled().await;
        tracing::info!("stopping");
        // The grace counts from here. The server is still there to be told.
        let _ = cut_off_at.send(Instant::now() + grace);
        if let Some((registrar, _)) = registrar {
            say_goodbye(registrar, grace / 2).await;
        }
        reporter.set_serving(false);
        closing.cancel();
        match server.await {
            Ok(0) => {}
            Ok(cut) => tracing::warn!(
                connections = cut,
                "cut off connections with calls that did not end in time"
            ),
            Err(error) => tracing::error!(%error, "the server failed"),
        }
        Ok(())
    }

    fn served(self, closing: Shutdown) -> Result<(HealthReporter, Served), ServeError> {
        let (reporter, health) = health(&self.grpc_names, closing);
        let mut names = self.grpc_names;
        names.push("grpc.health.v1.Health");
        names.extend(REFLECTION_NAMES);
        let mut descriptors = self.descriptors;
        descriptors.push(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET);
        descriptors.push(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
        let reflection = || {
            let builder = tonic_reflection::server::Builder::configure().include_reflection_service(false);
            let names = names.iter();
            let builder = names.fold(builder, |builder, name| builder.with_service_name(*name));
            let sets = descriptors.iter();
            sets.fold(builder, |builder, set| {
                builder.register_encoded_file_descriptor_set(set)
            })
        };
        let set_up = |error: tonic_reflection::server::Error| ServeError::SetUp(error.to_string());
        let (v1, v1alpha) = (
            reflection().build_v1().map_err(set_up)?,
            reflection().build_v1alpha().map_err(set_up)?,
        );
        let mut routes = self.routes;
        routes.add_service(health).add_service(v1).add_service(v1alpha);
        let served = Served::with_metrics(routes.routes(), self.metrics, &names, &descriptors);
        let served = served.placed(self.placement);
        Ok((reporter, served.map_err(|error| ServeError::SetUp(error.to_string()))?))
    }
}

/// Deregisters within `patience`, most of which watchers get to learn of it.
async fn say_goodbye(registrar: Registrar, patience: Duration) {
    let drain = DRAIN_MAX.min(patience);
    let goodbye = timeout(patience, registrar.deregister(drain)).await;
    let goodbye = goodbye.unwrap_or_else(|_| Err(Status::deadline_exceeded("the registry did not answer in time")));
    if let Err(status) = goodbye {
        tracing::warn!(reason = %status.message(), "cannot deregister, the registry will notice");
    }
}

/// Both versions of server reflection: each lists both.
const REFLECTION_NAMES: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Waits until the registry has accepted this instance for the first time.
async fn first_standing(registrar: &Registrar) -> Result<(), ServeError> {
    let mut standing = registrar.standing();
    let decided = standing.wait_for(|standing| matches!(standing, Standing::Registered(_) | Standing::Refused(_)));
    match timeout(REGISTRY_PATIENCE, decided).await {
        Ok(Ok(standing)) => match &*standing {
            Standing::Refused(status) => Err(ServeError::Refused(words(status))),
            _ => Ok(()),
        },
        Ok(Err(_)) | Err(_) => Err(ServeError::RegistryUnreachable {
            cause: match &*registrar.standing().borrow() {
                Standing::Unreachable(cause) => cause.clone(),
                _ => "it does not answer".to_owned(),
            },
        }),
    }
}

fn words(status: &Status) -> String {
    format!("{} ({:?})", status.message(), status.code())
}

/// Reports SERVING once each required service has a serving instance, or is known to wait for us in a cycle. A latch:
/// a dependency that is lost later does not take its dependents down with it.
async fn readiness(mesh: &Mesh, reporter: &HealthReporter, registrar: Option<&(Registrar, Vec<ServiceName>)>) {
    if let Some((registrar, required)) = registrar
        && !required.is_empty()
    {
        let views = mesh.watch(required.clone());
        let (mut view, mut standing) = (views.views(), registrar.standing());
        loop {
            let missing = missing(required, &view.borrow_and_update(), &standing.borrow_and_update());
            if missing.is_empty() {
                break;
            }
            tracing::info!(required.services = %missing.join(", "), "waiting for required services");
            tokio::select! {
                Ok(()) = view.changed() => {}
                Ok(()) = standing.changed() => {}
                else => return,
            }
        }
    }
    tracing::info!("serving");
    reporter.set_serving(true);
}

fn missing(required: &[ServiceName], view: &crate::discovery::View, standing: &Standing) -> Vec<String> {
    let waits_for_us = |name: &ServiceName| match standing {
        Standing::Registered(registered) => registered.cyclic_services.contains(name),
        _ => false,
    };
    let present = |name: &ServiceName| view.instances().any(|instance| instance.key().service == *name);
    let missing = required.iter().filter(|name| !present(name) && !waits_for_us(name));
    missing.map(ToString::to_string).collect()
}

/// The address that others reach a listening socket at: itself, or the interface towards the registry when it listens
/// on all of them.
async fn reachable(listening: SocketAddr, registry: &Address) -> Address {
    if !listening.ip().is_unspecified() {
        return listening.into();
    }
    let any: SocketAddr = match listening {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    // Connecting a UDP socket sends nothing; it only chooses the interface.
    let interface = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(registry.as_str()).await?;
        socket.local_addr()
    };
    let ip = interface.await.map_or(listening.ip(), |local| local.ip());
    let loopback = if listening.is_ipv4() {
        [127, 0, 0, 1].into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    let ip = if ip.is_unspecified() { loopback } else { ip };
    SocketAddr::new(ip, listening.port()).into()
}

#[cfg(test)]
mod tests;

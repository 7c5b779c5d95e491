//! The registry as a service.

use std::time::SystemTime;

use homeroom::{Service, proto::registry::v1::registry_server::RegistryServer, server::ServeError, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::{config::RegistryConfig, engine::Engine, grpc::Api, probe, store::Store};

/// Serves the registry until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: RegistryConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), ServeError> {
    let configured = config.storing.service.listen;
    let listens = listener.local_addr().unwrap_or(configured).ip();
    let probes = probe::Options::new(&config.settings, listens);
    let engine = Engine::new(Store::new(SystemTime::now()), probes);
    let prober = engine.prober.clone();
    Service::new("registry")
        .unregistered()
        .alongside(async move { prober.run().await })
        .add_service(RegistryServer::new(Api::new(engine, shutdown.clone())))
        .run(&config.storing.service, listener, shutdown)
        .await
}

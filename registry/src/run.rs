//! The registry as a service.

use std::time::SystemTime;

use homeroom::{
    Service,
    proto::registry::v1::{StoreState, registry_server::RegistryServer},
    server::ServeError,
    shutdown::Shutdown,
};
use tokio::net::TcpListener;

use crate::{
    config::RegistryConfig,
    engine::Engine,
    grpc::Api,
    metrics::{Brake, RegistryMetrics, Sources},
    store::Store,
};

/// Serves the registry until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: RegistryConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), ServeError> {
    let service = Service::new("registry").unregistered();
    let _told = RegistryMetrics::new(service.metrics());
    let engine = Engine::new(Store::new(SystemTime::now()));
    let sources = Sources {
        engine: engine.clone(),
        // There is no brake, and nothing is kept on disk.
        brake: Box::new(Brake::default),
        store: Box::new(|| StoreState::Ephemeral),
    };
    sources.register(service.metrics());
    let prober = engine.prober.clone();
    service
        .alongside(async move { prober.run().await })
        .add_service(RegistryServer::new(Api::new(engine, shutdown.clone())))
        .run(&config.storing.service, listener, shutdown)
        .await
}

//! The registry as a service.

use std::time::SystemTime;

use homeroom::{Service, proto::registry::v1::registry_server::RegistryServer, server::ServeError, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::{config::RegistryConfig, engine::Engine, grpc::Api, store::Store};

/// Serves the registry until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: RegistryConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), ServeError> {
    let settings = &config.settings;
    let store = Store::with_limits(SystemTime::now(), &settings.limits);
    let engine = Engine::new(store, settings);
    let prober = engine.prober.clone();
    Service::new("registry")
        .unregistered()
        .alongside(async move { prober.run().await })
        .add_service(RegistryServer::new(Api::new(engine, shutdown.clone())))
        .run(&config.storing.service, listener, shutdown)
        .await
}

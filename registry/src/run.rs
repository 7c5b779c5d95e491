//! The registry as a service.

use std::time::SystemTime;

use homeroom::{Service, server::ServeError, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::{
    config::RegistryConfig,
    engine::Engine,
    grpc,
    metrics::{self, RegistryMetrics},
    store::Store,
};

/// Serves the registry until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: RegistryConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), ServeError> {
    let service = Service::new("registry").unregistered().calls_together();
    let settings = &config.settings;
    let _told = RegistryMetrics::new(service.metrics(), &settings.limits);
    let store = Store::with_limits(SystemTime::now(), &settings.limits);
    let engine = Engine::new(store, settings);
    let known = engine.clone();
    metrics::tell_status(service.metrics(), move || grpc::status(&known, SystemTime::now()));
    let prober = engine.prober.clone();
    let (feeds, stopping) = (engine.store.feeds().clone(), shutdown.clone());
    service
        .alongside(async move { prober.run().await })
        .alongside(async move {
            stopping.cancelled().await;
            feeds.close();
        })
        .add_service(grpc::server(engine, shutdown.clone()))
        .run(&config.storing.service, listener, shutdown)
        .await
}

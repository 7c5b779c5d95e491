//! The registry as a service.

use std::{sync::Arc, time::SystemTime};

use homeroom::{Service, server::ServeError, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::{
    config::RegistryConfig,
    engine::Engine,
    grpc,
    metrics::{self, RegistryMetrics},
    probe,
    store::Store,
};

/// Serves the registry until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: RegistryConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), ServeError> {
    let service = Service::new("registry").unregistered().calls_together();
    let settings = &config.settings;
    let told = RegistryMetrics::new(service.metrics(), &settings.limits);
    let store = Store::with_limits(SystemTime::now(), &settings.limits);
    let configured = config.storing.service.listen;
    let listens = listener.local_addr().unwrap_or(configured).ip();
    let probes = probe::Options {
        on_probe: {
            let told = told.clone();
            Arc::new(move |result, took| told.on_probe(result, took))
        },
        ..probe::Options::new(settings, listens)
    };
    let engine = Engine::new(store, settings, probes);
    engine
        .watches
        .observe_propagation(move |after| told.on_propagated(after));
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

//! The registry as a service.

use std::{sync::Arc, time::SystemTime};

use homeroom::{Service, listener::Placement, server::ServeError, shutdown::Shutdown};
use tokio::{net::TcpListener, task::spawn_blocking};

use crate::{
    config::RegistryConfig,
    engine::Engine,
    grpc,
    metrics::{self, RegistryMetrics},
    probe,
    store::{OpenError, Store},
};

/// Why the registry could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What it keeps cannot be used: do what the message says.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// It cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves the registry until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: RegistryConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), RunError> {
    let service = Service::new("registry").unregistered().placement(Placement::Together);
    let settings = &config.settings;
    let told = RegistryMetrics::new(service.metrics(), &settings.limits);
    let store = open(&config).await?;
    let on_sync = told.clone();
    store.set_on_sync(Arc::new(move |took| on_sync.on_sync(took)));
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
    let store = engine.store.clone();
    let served = service
        .alongside(async move { prober.run().await })
        .alongside(async move {
            stopping.cancelled().await;
            feeds.close();
        })
        .add_service(grpc::server(engine, shutdown.clone()))
        .run(&config.storing.service, listener, shutdown)
        .await;
    spawn_blocking(move || store.close())
        .await
        .expect("closing a store does not panic");
    Ok(served?)
}

async fn open(config: &RegistryConfig) -> Result<Store, OpenError> {
    let limits = config.settings.limits.clone();
    if config.settings.ephemeral {
        return Ok(Store::ephemeral(SystemTime::now(), &limits));
    }
    let directory = config.storing.data_dir.clone();
    let opened = spawn_blocking(move || Store::open(&directory, &limits)).await;
    opened.expect("opening a store does not panic")
}

//! The registry as a service.

use std::time::SystemTime;

use homeroom::{Service, proto::registry::v1::registry_server::RegistryServer, server::ServeError, shutdown::Shutdown};
use tokio::{net::TcpListener, task::spawn_blocking};

use crate::{
    config::RegistryConfig,
    engine::Engine,
    grpc::Api,
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
    let engine = Engine::new(open(&config).await?);
    let store = engine.store.clone();
    let prober = engine.prober.clone();
    let served = Service::new("registry")
        .unregistered()
        .alongside(async move { prober.run().await })
        .add_service(RegistryServer::new(Api::new(engine, shutdown.clone())))
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

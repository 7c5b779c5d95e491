//! Log as a service.

use homeroom::{Service, proto::log::v1::log_server::LogServer, server::ServeError, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::{
    config::LogConfig,
    error::Error,
    grpc::{
        LogApi,
        otlp::{Export, Logs, Metrics, Traces},
    },
};

/// Why Log could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log cannot be opened: mend the data directory, or name another.
    #[error("{0}")]
    Store(#[from] Error),
    /// It cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves Log until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: LogConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), RunError> {
    let log = LogApi::open(&config.storing.data_dir, &config.settings.store, shutdown.clone()).await?;
    let service = Service::new("log")
        .add_service(LogServer::new(log.clone()))
        .add_service(Export::<Logs>::new(log.clone()))
        .add_service(Export::<Traces>::new(log.clone()))
        .add_service(Export::<Metrics>::new(log.clone()));
    let served = service.run(&config.storing.service, listener, shutdown).await;
    log.close().await;
    Ok(served?)
}

//! Log as a service.

use homeroom::{Service, proto::log::v1::log_server::LogServer, server::ServeError, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::{config::LogConfig, error::Error, grpc::LogApi};

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
    let data_dir = &config.storing.data_dir;
    let mut log = LogApi::open(data_dir, &config.settings.store, shutdown.clone()).await?;
    let mut service = Service::new("log");
    let mut forward = None;
    if let Some(endpoint) = config.settings.forward {
        let (position, work) = log.forward(data_dir, endpoint).await;
        service = service.alongside(work);
        forward = Some(position);
    }
    log.tell(service.metrics());
    let service = service.add_service(LogServer::new(log.clone()));
    let served = service.run(&config.storing.service, listener, shutdown).await;
    if let Some(position) = forward {
        position.save().await;
    }
    log.close().await;
    Ok(served?)
}

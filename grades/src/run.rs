//! Grades as a service: what a business service looks like.

use homeroom::{
    Service, config::StoringConfig, proto::grades::v1::grades_server::GradesServer, server::ServeError,
    shutdown::Shutdown,
};
use tokio::net::TcpListener;

use crate::{error::Error, grpc::GradesApi};

/// Why Grades could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database cannot be opened: mend the data directory, or name another.
    #[error("{0}")]
    Store(#[from] Error),
    /// It cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves Grades until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: StoringConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), RunError> {
    let grades = GradesApi::open(&config.data_dir).await?;
    let service = Service::new("grades")
        .requires("log")
        .add_service(GradesServer::new(grades.clone()));
    let served = service.run(&config.service, listener, shutdown).await;
    grades.close().await;
    Ok(served?)
}

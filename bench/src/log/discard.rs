//! A collector of OpenTelemetry that keeps nothing: tonic's own server, and generated code that reads each request.

use std::net::SocketAddr;

use anyhow::Result;
use homeroom::proto::opentelemetry::proto::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
    logs_service_server::{LogsService, LogsServiceServer},
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// As large as Log's own.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// Serves until it is killed.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = homeroom::listener::bind(listen)?;
    crate::process::say_listening(listener.local_addr()?);
    Server::builder()
        .add_service(LogsServiceServer::new(Discard).max_decoding_message_size(REQUEST_BYTES_MAX))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

#[derive(Debug)]
struct Discard;

#[tonic::async_trait]
impl LogsService for Discard {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        drop(request);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

//! OTLP over gRPC: `Export` of logs, spans and metrics, as every OpenTelemetry SDK and collector calls it.
//!
//! The generated servers decode a request before they call: it is taken as it is here, for [`otlp`] to read in place.

use std::{convert::Infallible, marker::PhantomData, task::Poll, time::SystemTime};

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use homeroom::{
    model::InvalidField,
    proto::opentelemetry::proto::collector::{
        logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
        metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
        trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
    },
};
use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstEncoder;
use tower_service::Service;

use super::LogApi;
use crate::{
    entry::Time,
    error::Error,
    otlp::{self, Converted},
    store::{Durability, Fate},
};

/// What is exported.
pub trait Signal: Clone + Send + Sync + 'static {
    /// The service that takes it.
    const NAME: &'static str;
    /// The answer.
    type Answer: Message + Default + 'static;

    /// Keeps what a request has, and answers once it survives a power cut.
    fn export(log: &LogApi, request: Bytes) -> impl Future<Output = Result<Self::Answer, Status>> + Send;
}

/// Log records.
#[derive(Debug, Clone)]
pub struct Logs;
/// Spans.
#[derive(Debug, Clone)]
pub struct Traces;
/// Metrics, which are not kept: a sender whose settings are the same for all signals is told so, and goes on.
#[derive(Debug, Clone)]
pub struct Metrics;

impl Signal for Logs {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
    type Answer = ExportLogsServiceResponse;

    async fn export(log: &LogApi, request: Bytes) -> Result<Self::Answer, Status> {
        let rejected = log.keep(otlp::logs(&request, now())?).await?;
        let partial_success = rejected.map(|(count, error_message)| ExportLogsPartialSuccess {
            rejected_log_records: count,
            error_message,
        });
        Ok(ExportLogsServiceResponse { partial_success })
    }
}

impl Signal for Traces {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
    type Answer = ExportTraceServiceResponse;

    async fn export(log: &LogApi, request: Bytes) -> Result<Self::Answer, Status> {
        let rejected = log.keep(otlp::spans(&request, now())?).await?;
        let partial_success = rejected.map(|(count, error_message)| ExportTracePartialSuccess {
            rejected_spans: count,
            error_message,
        });
        Ok(ExportTraceServiceResponse { partial_success })
    }
}

impl Signal for Metrics {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
    type Answer = ExportMetricsServiceResponse;

    async fn export(_: &LogApi, request: Bytes) -> Result<Self::Answer, Status> {
        let partial_success = Some(ExportMetricsPartialSuccess {
            rejected_data_points: otlp::data_points(&request).cast_signed(),
            error_message: "metrics are not stored".to_owned(),
        });
        Ok(ExportMetricsServiceResponse { partial_success })
    }
}

fn now() -> Time {
    Time::from(SystemTime::now())
}

impl LogApi {
    /// Writes and syncs the batches of a request. Returns how many of its records were refused, and why the first was;
    /// `None` for none.
    ///
    /// After an error some batches may be kept: the sender comes again with all of them, as OTLP has it.
    async fn keep(&self, converted: Converted) -> Result<Option<(i64, String)>, Error> {
        let (fate, mut queued) = (Fate::default(), Vec::new());
        for batch in converted.batches {
            queued.push(self.store.append(batch, Durability::Synced, &fate).await?);
        }
        for written in queued {
            written.wait().await?;
        }
        let why = converted
            .first_error
            .map(|InvalidField { field, allowed }| format!("{field} {allowed}"));
        Ok(why.map(|why| (converted.rejected.cast_signed(), why)))
    }
}

/// The server of a signal.
#[derive(Debug, Clone)]
pub struct Export<S> {
    log: LogApi,
    signal: PhantomData<S>,
}

impl<S: Signal> Export<S> {
    /// Takes what senders export into a log.
    pub fn new(log: LogApi) -> Self {
        Self {
            log,
            signal: PhantomData,
        }
    }
}

impl<S: Signal> NamedService for Export<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Signal> Service<http::Request<Body>> for Export<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let export = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next();
            if method != Some("Export") {
                return Ok(Status::unimplemented("").into_http());
            }
            let mut accepted = EnabledCompressionEncodings::default();
            accepted.enable(CompressionEncoding::Gzip);
            let server = Grpc::new(Raw(PhantomData::<S::Answer>));
            let mut server = server.apply_compression_config(accepted, EnabledCompressionEncodings::default());
            Ok(server.unary(export, request).await)
        })
    }
}

impl<S: Signal> UnaryService<Bytes> for Export<S> {
    type Response = S::Answer;
    type Future = BoxFuture<'static, Result<Response<S::Answer>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let log = self.log.clone();
        Box::pin(async move {
            let answer = S::export(&log, request.into_inner()).await;
            let answer = answer.inspect_err(|status| log.metrics.on_refused(status));
            answer.map(Response::new)
        })
    }
}

/// Takes requests as they are, and answers with messages.
struct Raw<M>(PhantomData<M>);

impl<M: Message + Default + 'static> Codec for Raw<M> {
    type Encode = M;
    type Decode = Bytes;
    type Encoder = ProstEncoder<M>;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        RawDecoder
    }
}

struct RawDecoder;

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}

#[cfg(test)]
mod tests;

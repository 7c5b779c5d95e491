//! Reaches the services: through the registry, as every client does.

use std::time::{Duration, SystemTime};

use homeroom::{
    Mesh,
    balance::Channel,
    discovery::Discovery,
    model::ServiceName,
    proto::{
        grades::v1::grades_client::GradesClient,
        log::v1::{Durability, Entry, Span, SpanKind, SpanStatus, WriteRequest, log_client::LogClient},
        registry::v1::{ListInstancesRequest, registry_client::RegistryClient},
    },
    telemetry::{TraceContext, context::Context},
};
use tonic::{Request, Status};

use crate::{args::Shared, failure::Failure};

/// How long one call may take when nobody says.
const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long Log may take to keep the root of a trace, which the command's answer waits for.
const ROOT_TIMEOUT: Duration = Duration::from_secs(1);

/// The mesh, as one command sees it.
#[derive(Debug, Clone)]
pub struct Client {
    mesh: Mesh,
    timeout: Duration,
}

impl Client {
    /// A client of the registry that the flags name.
    pub fn new(shared: &Shared) -> Self {
        Self {
            mesh: Mesh::new(shared.registry.clone()),
            timeout: shared.timeout.unwrap_or(CALL_TIMEOUT_DEFAULT),
        }
    }

    /// A request that may take as long as the flags say.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A live view of services, which outlives the registry's absence.
    pub fn watch(&self, services: Vec<ServiceName>) -> Discovery {
        self.mesh.watch(services)
    }

    /// The registry.
    pub fn registry(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.mesh.registry())
    }

    /// Log.
    ///
    /// # Errors
    /// When the registry cannot be reached, or knows no instance that is serving.
    pub async fn log(&self) -> Result<LogClient<Channel>, Failure> {
        Ok(LogClient::new(self.channel("log").await?))
    }

    /// Grades.
    ///
    /// # Errors
    /// When the registry cannot be reached, or knows no instance that is serving.
    pub async fn grades(&self) -> Result<GradesClient<Channel>, Failure> {
        Ok(GradesClient::new(self.channel("grades").await?))
    }

    /// Makes a call in a trace of its own, whose root is the command `name`, so that what it causes can be found in Log.
    /// Tells which trace that is. Without Log the trace lacks its root, and the call is as good.
    pub async fn traced<T>(
        &self,
        name: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> (Result<T, Status>, TraceContext) {
        let (trace, start) = (TraceContext::start(), SystemTime::now());
        let result = Context::current().with_trace(trace).scope(call).await;
        let mut request = Request::new(WriteRequest {
            entries: vec![root(trace, name, start, result.as_ref().err())],
            durability: Durability::Written.into(),
        });
        request.set_timeout(ROOT_TIMEOUT);
        if let Ok(mut log) = self.log().await {
            let _ = log.write(request).await;
        }
        (result, trace)
    }

    /// A person should hear at once what a service would patiently wait for.
    async fn channel(&self, service: &str) -> Result<Channel, Failure> {
        let request = ListInstancesRequest {
            service: service.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let serving = self
            .registry()
            .list_instances(self.request(request))
            .await?
            .into_inner();
        if serving.instances.is_empty() {
            return Err(Failure::Connect(format!("no instance of `{service}` is serving")));
        }
        self.mesh
            .channel(service)
            .map_err(|error| Failure::Usage(error.to_string()))
    }
}

/// The span of a command that has made a call.
fn root(trace: TraceContext, name: &str, start: SystemTime, failed: Option<&Status>) -> Entry {
    let status = match failed {
        Some(_) => SpanStatus::Error,
        None => SpanStatus::Unspecified,
    };
    let span = Span {
        kind: SpanKind::Client.into(),
        end_time: Some(SystemTime::now().into()),
        status: status.into(),
        status_message: failed.map(|status| status.message().to_owned()).unwrap_or_default(),
        ..Default::default()
    };
    Entry {
        time: Some(start.into()),
        service: "homeroom".to_owned(),
        message: name.to_owned(),
        trace_id: trace.trace_id(),
        span_id: trace.span_id(),
        span: Some(span),
        ..Default::default()
    }
}

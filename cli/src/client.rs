//! Reaches the services: through the registry, as every client does.

use std::time::Duration;

use homeroom::{
    Mesh,
    balance::Channel,
    discovery::Discovery,
    model::ServiceName,
    proto::{
        grades::v1::grades_client::GradesClient,
        log::v1::log_client::LogClient,
        registry::v1::{ListInstancesRequest, registry_client::RegistryClient},
    },
    telemetry::{TraceContext, context::Context},
};
use tonic::Request;

use crate::{args::Shared, failure::Failure};

/// How long one call may take when nobody says.
const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

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

/// Runs a command in a trace of its own, so that what it causes can be found in the logs.
pub async fn traced<F: Future>(command: impl FnOnce(TraceContext) -> F) -> F::Output {
    let trace = TraceContext::start();
    Context::current().with_trace(trace).scope(command(trace)).await
}

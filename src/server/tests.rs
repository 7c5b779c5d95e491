use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::task::JoinHandle;
use tonic::{Code, Request};

use super::{DRAIN_MAX, REGISTRY_PATIENCE, ServeError, Service, bind};
use crate::{
    balance::Channel,
    config::Config,
    model::Address,
    proto::{
        health::v1::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient},
        registry::v1::{DeregisterResponse, RegisterResponse},
    },
    shutdown::Shutdown,
    status::Refusal,
    testing::{Port, ScriptedRegistry, instance, patch, registered, skip, snapshot, soon},
};

/// A service that runs on a free port.
struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    end: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    fn start(service: Service, registry: &Address) -> Self {
        let config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            registry: registry.clone(),
            zone: String::new(),
            grace: Duration::from_secs(5),
            telemetry: crate::telemetry::Settings::default(),
        };
        let listener = bind(config.listen).expect("a free port");
        let address = listener.local_addr().expect("the socket is bound");
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        Self {
            address,
            shutdown,
            end: tokio::spawn(async move { service.run(&config, listener, stop).await }),
        }
    }

    fn channel(&self) -> Channel {
        Channel::fixed(self.address.into())
    }

    async fn end(self) -> Result<(), ServeError> {
        soon("the end of the service", self.end).await.expect("no panic")
    }

    /// The health of the whole server, as it changes.
    async fn health(&self) -> Health {
        let request = HealthCheckRequest::default();
        let stream = HealthClient::new(self.channel()).watch(request).await;
        Health(stream.expect("a health service").into_inner())
    }

    async fn is_serving(&self) -> bool {
        let request = HealthCheckRequest::default();
        let answer = HealthClient::new(self.channel()).check(request).await;
        answer.expect("an answer").into_inner().status() == ServingStatus::Serving
    }
}

struct Health(tonic::Streaming<crate::proto::health::v1::HealthCheckResponse>);

impl Health {
    async fn next(&mut self) -> ServingStatus {
        let message = soon("a health status", self.0.message()).await;
        message.expect("an open stream").expect("another message").status()
    }
}

/// Answers the next registration, which names these services as cyclic.
async fn accept(registry: &mut ScriptedRegistry, cyclic: &[&str]) {
    let call = registry.registers.next().await;
    let answer = RegisterResponse {
        cyclic_services: cyclic.iter().map(ToString::to_string).collect(),
        ..registered(&call.request, 7)
    };
    call.answer(Ok(answer));
}

fn other() -> Address {
    SocketAddr::from(([127, 0, 0, 1], 1)).into()
}

#[tokio::test]
async fn a_service_serves_once_what_it_requires_has_appeared_and_keeps_serving_when_that_is_lost() {
    let mut registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("grades").requires("log"), registry.address());
    let mut health = service.health().await;
    assert_eq!(health.next().await, ServingStatus::NotServing);
    let call = registry.registers.next().await;
    let registered_as = call.request.instance.clone().expect("an instance");
    assert_eq!(
        (registered_as.service.as_str(), registered_as.address.as_str()),
        ("grades", service.address.to_string().as_str())
    );
    assert_eq!(registered_as.required_services, ["log"]);
    let answer = registered(&call.request, 7);
    call.answer(Ok(answer));

    let (request, stage) = registry.watch().await;
    assert_eq!(request.services, ["log"]);
    stage.send(Ok(snapshot(1, &[]))).await;
    registry.acknowledged().await;
    assert!(!service.is_serving().await, "nobody serves `log` yet");
    let instances = [instance("log", &other(), 2)];
    stage.send(Ok(patch(2, &instances, &instances))).await;
    assert_eq!(health.next().await, ServingStatus::Serving);
    // Nobody looks any more, so nothing that happens to `log` can change it.
    stage.cancelled().await;
    assert!(service.is_serving().await);
}

#[tokio::test]
async fn all_required_services_are_waited_for() {
    let mut registry = ScriptedRegistry::start();
    let service = Service::new("grades").requires("log").requires("billing");
    let service = Running::start(service, registry.address());
    let mut health = service.health().await;
    assert_eq!(health.next().await, ServingStatus::NotServing);
    accept(&mut registry, &[]).await;
    let (_, stage) = registry.watch().await;
    let log = instance("log", &other(), 1);
    stage.send(Ok(snapshot(1, std::slice::from_ref(&log)))).await;
    registry.acknowledged().await;
    assert!(!service.is_serving().await, "nobody serves `billing` yet");
    let billing = instance("billing", &other(), 2);
    stage
        .send(Ok(patch(2, std::slice::from_ref(&billing), &[log, billing.clone()])))
        .await;
    assert_eq!(health.next().await, ServingStatus::Serving);
}

#[tokio::test]
async fn a_service_does_not_wait_for_one_that_waits_for_it() {
    let mut registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("grades").requires("log"), registry.address());
    let mut health = service.health().await;
    assert_eq!(health.next().await, ServingStatus::NotServing);
    accept(&mut registry, &["log"]).await;
    assert_eq!(health.next().await, ServingStatus::Serving);
}

#[tokio::test]
async fn an_unregistered_service_serves_at_once_and_asks_no_registry() {
    let mut registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("registry").unregistered(), registry.address());
    let mut health = service.health().await;
    if health.next().await == ServingStatus::NotServing {
        assert_eq!(health.next().await, ServingStatus::Serving);
    }
    service.shutdown.cancel();
    service.end().await.expect("it stops in good order");
    assert!(registry.registers.try_next().is_none());
}

#[tokio::test]
async fn a_service_is_deregistered_before_it_stops_to_serve() {
    let mut registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("grades"), registry.address());
    accept(&mut registry, &[]).await;
    let mut health = service.health().await;
    if health.next().await == ServingStatus::NotServing {
        assert_eq!(health.next().await, ServingStatus::Serving);
    }
    service.shutdown.cancel();
    let call = registry.deregisters.next().await;
    assert_eq!(call.request.incarnation, 7);
    let drain = call.request.drain.expect("watchers are told first").timeout;
    assert_eq!(drain, DRAIN_MAX.try_into().ok(), "less than half of the grace");
    assert!(
        service.is_serving().await,
        "who has not heard of it yet is still answered"
    );
    call.answer(Ok(DeregisterResponse::default()));
    service.end().await.expect("it stops in good order");
}

#[tokio::test]
async fn a_service_stops_in_good_order_though_the_registry_is_gone() {
    let mut registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("grades"), registry.address());
    accept(&mut registry, &[]).await;
    let mut health = service.health().await;
    if health.next().await == ServingStatus::NotServing {
        assert_eq!(health.next().await, ServingStatus::Serving);
    }
    registry.crash().await;
    service.shutdown.cancel();
    service.end().await.expect("the registry will notice");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_at_the_start_is_an_error() {
    let mut registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("grades"), registry.address());
    let _unanswered = registry.registers.next().await;
    skip(REGISTRY_PATIENCE).await;
    let error = service.end().await.expect_err("nobody answers");
    assert!(matches!(error, ServeError::RegistryUnreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_service_that_its_registry_refuses_does_not_run() {
    let mut registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("grades"), registry.address());
    let exists = Refusal::new(Code::AlreadyExists, "INSTANCE_EXISTS", "another one has it");
    registry.registers.next().await.answer(Err(exists.into()));
    let error = service.end().await.expect_err("it is refused");
    assert!(
        matches!(&error, ServeError::Refused(words) if words.contains("another one has it")),
        "{error}"
    );
}

#[tokio::test]
async fn a_name_that_is_not_valid_is_refused_before_anything_runs() {
    let registry = ScriptedRegistry::start();
    let service = Running::start(Service::new("Grades"), registry.address());
    let error = service.end().await.expect_err("no service has such a name");
    assert!(matches!(error, ServeError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_its_cause() {
    let port = Port::take();
    let _taken = port.listen();
    let error = bind(port.address()).expect_err("the port is taken");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: the port is taken", port.address())
    );
}

macro_rules! reflected {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let stream = Request::new(futures_util::stream::iter([request]));
        let answers = ServerReflectionClient::new($channel)
            .server_reflection_info(stream)
            .await;
        let answer = answers.expect("a reflection service").into_inner().message().await;
        let answer = answer.expect("an answer").expect("an answer");
        match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                let names = list.service.into_iter().map(|service| service.name);
                names.collect::<BTreeSet<_>>()
            }
            other => panic!("not a list: {other:?}"),
        }
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_list_exactly_what_is_served() {
    let registry = ScriptedRegistry::start();
    let (log, _ingests) = crate::telemetry::tests::scripted_log();
    let service = Service::new("log").unregistered().add_service(log);
    let service = Running::start(service, registry.address());
    let expected = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "homeroom.log.v1.Log",
    ];
    let expected: BTreeSet<_> = expected.map(str::to_owned).into();
    assert_eq!(reflected!(v1, service.channel()), expected);
    assert_eq!(reflected!(v1alpha, service.channel()), expected);
}

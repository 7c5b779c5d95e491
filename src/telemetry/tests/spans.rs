use std::time::Duration;

use http::HeaderValue;
use tonic::{Code, Request, Response, Status, service::Routes};

use super::{
    super::{Context, Sampler, TraceContext, conventions, queue::Entries},
    recording,
};
use crate::{
    balance::Channel,
    proto::{
        grades::v1::{
            AddGradeRequest, AddGradeResponse, GetStudentRequest, GetStudentResponse, ListStudentsRequest,
            ListStudentsResponse,
            grades_client::GradesClient,
            grades_server::{Grades, GradesServer},
        },
        health::v1::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient},
        log::v1::{Entry, Span, SpanKind, SpanStatus},
        registry::v1::{WatchServicesRequest, registry_client::RegistryClient},
    },
    testing::{Port, ScriptedRegistry, Server, scripted_health, snapshot, soon},
};

const CHECK: &str = "grpc.health.v1.Health/Check";

/// The next spans, in the order in which they end, which for the two sides of a call is any: the client's first.
async fn spans<const N: usize>(entries: &Entries) -> [Entry; N] {
    let mut spans = Vec::new();
    while spans.len() < N {
        soon("a span", entries.some()).await;
        spans.extend(
            entries
                .take(usize::MAX)
                .into_iter()
                .filter(|entry| entry.span.is_some()),
        );
    }
    spans.sort_by_key(|entry| std::cmp::Reverse(span(entry).kind));
    spans.try_into().expect("no more spans")
}

fn span(entry: &Entry) -> &Span {
    entry.span.as_ref().expect("it is a span")
}

fn attribute<'e>(entry: &'e Entry, key: &str) -> &'e str {
    entry.attributes.get(key).map_or("", String::as_str)
}

async fn check(channel: Channel) -> Result<HealthCheckResponse, Status> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.map(Response::into_inner)
}

fn in_trace<F: Future>(trace: TraceContext, future: F) -> impl Future<Output = F::Output> {
    Context::default().with_trace(trace).scope(future)
}

/// A service whose calls are traced, and fail.
struct Unscripted;

#[tonic::async_trait]
impl Grades for Unscripted {
    async fn list_students(&self, _: Request<ListStudentsRequest>) -> Result<Response<ListStudentsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_student(&self, _: Request<GetStudentRequest>) -> Result<Response<GetStudentResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn add_grade(&self, _: Request<AddGradeRequest>) -> Result<Response<AddGradeResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

async fn list_students(channel: Channel) -> Status {
    let answer = GradesClient::new(channel)
        .list_students(ListStudentsRequest::default())
        .await;
    answer.expect_err("it is not scripted")
}

fn fine() -> Result<HealthCheckResponse, Status> {
    Ok(HealthCheckResponse::default())
}

#[tokio::test]
async fn both_sides_of_each_call_in_a_chain_are_spans_and_each_is_the_parent_of_the_next() {
    let (_recording, entries) = recording(Sampler::default());
    let [(first, mut first_calls), (second, mut second_calls)] = [(); 2].map(|()| {
        let (health, calls) = scripted_health();
        (Server::start(Routes::new(health)), calls)
    });
    let trace = TraceContext::start();
    let calling = tokio::spawn(in_trace(trace, check(first.channel())));
    let call = first_calls.next().await;
    let onward = tokio::spawn(call.context.clone().scope(check(second.channel())));
    second_calls.next().await.answer(fine());
    onward.await.expect("no panic").expect("an answer");
    let [onward_client, second_server] = spans(&entries).await;
    call.answer(fine());
    calling.await.expect("no panic").expect("an answer");
    let [client, first_server] = spans(&entries).await;
    let mut parent = trace.span_id();
    for (entry, kind) in [
        (&client, SpanKind::Client),
        (&first_server, SpanKind::Server),
        (&onward_client, SpanKind::Client),
        (&second_server, SpanKind::Server),
    ] {
        assert_eq!(
            (&entry.trace_id, &span(entry).parent_span_id),
            (&trace.trace_id(), &parent)
        );
        assert_eq!(
            (span(entry).kind(), span(entry).status()),
            (kind, SpanStatus::Unspecified)
        );
        parent.clone_from(&entry.span_id);
    }
}

#[tokio::test]
async fn a_span_says_of_its_call_what_the_conventions_ask_for() {
    let (_recording, entries) = recording(Sampler::default());
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health));
    let calling = tokio::spawn(in_trace(TraceContext::start(), check(server.channel())));
    let call = calls.next().await;
    let peer = call.peer.expect("a peer").port().to_string();
    call.answer(Err(Status::not_found("not here")));
    calling.await.expect("no panic").expect_err("as the test says");
    let [client, served] = spans(&entries).await;
    let (_, port) = server.address().as_str().rsplit_once(':').expect("a port");
    for entry in [&client, &served] {
        assert_eq!(entry.message, CHECK);
        for (key, value) in [
            ("rpc.system.name", "grpc"),
            ("rpc.method", CHECK),
            ("rpc.response.status_code", "NOT_FOUND"),
            ("server.address", "127.0.0.1"),
            ("server.port", port),
        ] {
            assert_eq!(attribute(entry, key), value, "{key}");
        }
        let times = [entry.time, span(entry).end_time].map(|time| time.map(|time| (time.seconds, time.nanos)));
        assert!(times[0].is_some() && times[0] <= times[1], "{times:?}");
    }
    assert_eq!(attribute(&client, "network.peer.port"), port);
    assert_eq!(
        (attribute(&served, "client.address"), attribute(&served, "client.port")),
        ("127.0.0.1", &*peer)
    );
    // What the caller has done wrong is an error to the caller only.
    assert_eq!(
        (span(&client).status(), attribute(&client, "error.type")),
        (SpanStatus::Error, "NOT_FOUND")
    );
    assert_eq!(
        (
            span(&client).status_message.as_str(),
            span(&served).status_message.as_str()
        ),
        ("not here", "")
    );
    assert_eq!(
        (span(&served).status(), attribute(&served, "error.type")),
        (SpanStatus::Unspecified, "")
    );
}

#[test]
fn a_server_is_at_fault_for_six_codes_and_a_client_has_failed_by_all_but_one() {
    let codes = (0..17).map(Code::from);
    let faults = codes
        .clone()
        .filter(|code| conventions::is_error(SpanKind::Server, *code));
    let names: Vec<_> = faults.map(conventions::name).collect();
    let expected = [
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    ];
    assert_eq!(names, expected);
    let failures = codes.filter(|code| conventions::is_error(SpanKind::Client, *code));
    assert_eq!(failures.count(), 16);
}

#[tokio::test]
async fn a_call_without_a_trace_begins_one_unless_it_keeps_the_mesh_going() {
    let (_recording, entries) = recording(Sampler::default());
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health).add_service(GradesServer::new(Unscripted)));
    let checking = tokio::spawn(check(server.channel()));
    let call = calls.next().await;
    assert!(call.metadata.get("traceparent").is_none());
    let trace = call.context.trace.expect("every call has a trace");
    assert!(!trace.is_sampled());
    call.answer(fine());
    checking.await.expect("no panic").expect("an answer");
    assert_eq!(list_students(server.channel()).await.code(), Code::Unimplemented);
    let [client, served] = spans(&entries).await;
    assert_eq!(client.message, "homeroom.grades.v1.Grades/ListStudents");
    assert_eq!(
        (span(&client).parent_span_id.as_str(), &span(&served).parent_span_id),
        ("", &client.span_id)
    );
    for span in [&client, &served].map(span) {
        assert_eq!(
            (span.status(), span.status_message.as_str()),
            (SpanStatus::Error, "not scripted")
        );
    }
}

#[test]
fn what_keeps_the_mesh_going_and_what_carries_telemetry_begins_no_trace() {
    for quiet in [
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/homeroom.registry.v1.Registry/WatchServices",
        "/homeroom.log.v1.Log/Write",
        "/homeroom.log.v1.Log/Query",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    ] {
        assert!(!conventions::begins_trace(quiet), "{quiet}");
    }
    for loud in [
        "/homeroom.logbook.v1.Log/Query",
        "/homeroom.grades.v1.Grades/AddGrade",
        "/",
        "",
    ] {
        assert!(conventions::begins_trace(loud), "{loud}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_sampled_says_so_and_leaves_no_span() {
    let sampler = Sampler::named("traceidratio", 0.0).expect("a sampler");
    let (_recording, entries) = recording(sampler);
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health).add_service(GradesServer::new(Unscripted)));
    list_students(server.channel()).await;
    let trace = TraceContext::start();
    let checking = tokio::spawn(in_trace(trace, check(server.channel())));
    let call = calls.next().await;
    let position = call.context.trace.expect("every call has a trace");
    assert_eq!((position.trace_id(), position.is_sampled()), (trace.trace_id(), false));
    // What is not recorded is nobody's parent.
    assert_eq!(
        call.metadata.get("traceparent").expect("a position"),
        &trace.to_string()
    );
    call.answer(fine());
    checking.await.expect("no panic").expect("an answer");
    server.stop().await;
    assert!(entries.is_empty());
}

#[tokio::test]
async fn a_process_without_telemetry_passes_on_what_the_caller_has_decided() {
    let (_recording, entries) = recording(None);
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health));
    let trace = TraceContext::start();
    let calling = tokio::spawn(in_trace(trace, check(server.channel())));
    let call = calls.next().await;
    assert_eq!(
        call.metadata.get("traceparent").expect("a position"),
        &trace.to_string()
    );
    let position = call.context.trace.expect("every call has a trace");
    assert_eq!((position.trace_id(), position.is_sampled()), (trace.trace_id(), true));
    call.answer(fine());
    calling.await.expect("no panic").expect("an answer");
    server.stop().await;
    assert!(entries.is_empty());
}

#[tokio::test]
async fn what_other_systems_say_of_a_trace_is_passed_on_and_kept() {
    let (_recording, entries) = recording(Sampler::default());
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health));
    let mut context = Context::default().with_trace(TraceContext::start());
    context.trace_state = Some(HeaderValue::from_static("vendor=x"));
    let calling = tokio::spawn(context.scope(check(server.channel())));
    let call = calls.next().await;
    assert_eq!(call.metadata.get("tracestate").expect("a state"), "vendor=x");
    assert_eq!(call.context.trace_state, Some(HeaderValue::from_static("vendor=x")));
    call.answer(fine());
    calling.await.expect("no panic").expect("an answer");
    let both: [Entry; 2] = spans(&entries).await;
    assert!(both.iter().all(|entry| span(entry).trace_state == "vendor=x"));
}

#[tokio::test]
async fn a_call_that_brings_its_own_traceparent_keeps_it_and_is_its_callers_to_trace() {
    let (_recording, entries) = recording(Sampler::default());
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health));
    let own = TraceContext::start();
    let mut request = Request::new(HealthCheckRequest::default());
    let value = own.to_string().parse().expect("metadata");
    request.metadata_mut().insert("traceparent", value);
    let mut client = HealthClient::new(server.channel());
    let calling = tokio::spawn(in_trace(
        TraceContext::start(),
        async move { client.check(request).await },
    ));
    calls.next().await.answer(fine());
    calling.await.expect("no panic").expect("an answer");
    let [served] = spans(&entries).await;
    assert_eq!(
        (&served.trace_id, &span(&served).parent_span_id),
        (&own.trace_id(), &own.span_id())
    );
}

#[tokio::test]
async fn the_span_of_a_stream_ends_with_the_stream_and_as_cancelled_when_it_is_dropped() {
    let (_recording, entries) = recording(Sampler::default());
    let mut registry = ScriptedRegistry::start();
    let mut client = RegistryClient::new(registry.channel());
    let watch = async { client.watch_services(WatchServicesRequest::default()).await };
    let (stream, (_, stage)) = tokio::join!(in_trace(TraceContext::start(), watch), registry.watch());
    let mut stream = stream.expect("a stream").into_inner();
    stage.send(Ok(snapshot(1, &[]))).await;
    soon("a snapshot", stream.message()).await.expect("a snapshot");
    assert!(entries.is_empty(), "it goes on");
    stage.send(Err(Status::data_loss("a fault"))).await;
    soon("the end", stream.message()).await.expect_err("a fault");
    for entry in spans::<2>(&entries).await {
        assert_eq!(attribute(&entry, "rpc.response.status_code"), "DATA_LOSS");
        assert_eq!(span(&entry).status(), SpanStatus::Error);
    }

    let watch = async { client.watch_services(WatchServicesRequest::default()).await };
    let (stream, (_, stage)) = tokio::join!(in_trace(TraceContext::start(), watch), registry.watch());
    drop(stream.expect("a stream"));
    stage.cancelled().await;
    let [client, served] = spans(&entries).await;
    for entry in [&client, &served] {
        assert_eq!(attribute(entry, "rpc.response.status_code"), "CANCELLED");
    }
    assert_eq!(
        [&client, &served].map(|entry| span(entry).status()),
        [SpanStatus::Error, SpanStatus::Unspecified]
    );
}

#[tokio::test]
async fn a_call_that_is_made_again_is_one_span_that_tells_of_its_tries() {
    let (_recording, entries) = recording(Sampler::default());
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health));
    let calling = tokio::spawn(in_trace(TraceContext::start(), check(server.channel().idempotent())));
    calls.next().await.answer(Err(Status::unavailable("later")));
    calls.next().await.answer(fine());
    calling.await.expect("no panic").expect("an answer");
    let [client, first, second] = spans(&entries).await;
    let events: Vec<_> = span(&client).events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["retry"]);
    assert_eq!(attribute(&client, "rpc.response.status_code"), "OK");
    let parents = [&first, &second].map(|entry| &span(entry).parent_span_id);
    assert_eq!(parents, [&client.span_id; 2]);
}

#[tokio::test]
async fn a_call_that_reaches_nobody_names_whom_it_was_for() {
    let (_recording, entries) = recording(Sampler::default());
    let nobody = Port::take();
    let channel = Channel::fixed(nobody.address().into());
    in_trace(TraceContext::start(), check(channel))
        .await
        .expect_err("nobody is there");
    let [client] = spans(&entries).await;
    assert_eq!(attribute(&client, "error.type"), "UNAVAILABLE");
    assert_eq!(attribute(&client, "server.port"), nobody.address().port().to_string());
    assert_eq!(attribute(&client, "network.peer.port"), "");
    assert_eq!(span(&client).events[0].name, "unreachable");
}

#[tokio::test]
async fn a_call_whose_time_is_over_ends_so_on_both_sides() {
    let (_recording, entries) = recording(Sampler::default());
    let (health, mut calls) = scripted_health();
    let server = Server::start(Routes::new(health));
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(50));
    let mut client = HealthClient::new(server.channel());
    let calling = tokio::spawn(in_trace(
        TraceContext::start(),
        async move { client.check(request).await },
    ));
    let call = calls.next().await;
    calling.await.expect("no panic").expect_err("its time is over");
    call.cancelled().await;
    let [client, served] = spans(&entries).await;
    assert_eq!(attribute(&client, "rpc.response.status_code"), "DEADLINE_EXCEEDED");
    // Whichever of them comes first: its own clock, or the client that has gone.
    let code = attribute(&served, "rpc.response.status_code");
    assert!(["DEADLINE_EXCEEDED", "CANCELLED"].contains(&code), "{code}");
}

#[tokio::test]
async fn a_method_that_the_server_does_not_have_names_no_span_of_it() {
    let (_recording, entries) = recording(Sampler::default());
    let (health, _calls) = scripted_health();
    let server = Server::start(Routes::new(health));
    let request = ListStudentsRequest::default();
    GradesClient::new(server.channel())
        .list_students(request)
        .await
        .expect_err("there are no grades");
    let [client, served] = spans(&entries).await;
    let method = "homeroom.grades.v1.Grades/ListStudents";
    assert_eq!((client.message.as_str(), served.message.as_str()), (method, "grpc"));
    assert_eq!(
        (
            attribute(&served, "rpc.method"),
            attribute(&served, "rpc.method_original")
        ),
        ("_OTHER", method)
    );
}

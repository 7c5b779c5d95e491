use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::{Code, Request, Status, service::Routes};

use super::{Channel, RETRIES_MAX, WAIT_DEFAULT};
use crate::{
    discovery::Discovery,
    listener::Limits,
    model::Address,
    proto::health::v1::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient},
    status,
    telemetry::{TraceContext, context::Context},
    testing::{
        HealthCalls, Port, ScriptedRegistry, Server, Stage, instance, patch, scripted_health, skip, snapshot, soon,
    },
};

const SHORT: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(10);

fn serve() -> (Server, HealthCalls) {
    let (health, calls) = scripted_health();
    (Server::start(Routes::new(health)), calls)
}

fn discovered(registry: &ScriptedRegistry) -> Channel {
    let service = "grades".parse().expect("a service name");
    Channel::discovered("grades", "", Discovery::start(registry.channel(), vec![service]))
}

/// A channel to instances at these addresses.
async fn channel_to(registry: &mut ScriptedRegistry, addresses: &[Address]) -> (Channel, Stage) {
    let channel = discovered(registry);
    let (_, stage) = registry.watch().await;
    let instances: Vec<_> = addresses.iter().map(|address| instance("grades", address, 1)).collect();
    stage.send(Ok(snapshot(1, &instances))).await;
    (channel, stage)
}

async fn call(channel: &Channel) -> Result<HealthCheckResponse, Status> {
    let mut client = HealthClient::new(channel.clone());
    let answer = soon("an answer", client.check(HealthCheckRequest::default())).await;
    answer.map(tonic::Response::into_inner)
}

async fn call_within(channel: &Channel, deadline: Duration) -> Result<HealthCheckResponse, Status> {
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(deadline);
    let mut client = HealthClient::new(channel.clone());
    let answer = soon("an answer", client.check(request)).await;
    answer.map(tonic::Response::into_inner)
}

fn code_and_reason(status: &Status) -> (Code, String) {
    (status.code(), status::reason(status).unwrap_or_default())
}

#[tokio::test]
async fn a_call_waits_for_an_endpoint_until_its_deadline() {
    let mut registry = ScriptedRegistry::start();
    let (channel, _stage) = channel_to(&mut registry, &[]).await;
    let status = call_within(&channel, SHORT).await.expect_err("nobody serves");
    assert_eq!(code_and_reason(&status), (Code::Unavailable, "NO_ENDPOINT".to_owned()));
}

#[tokio::test]
async fn a_call_without_a_deadline_does_not_wait_for_ever() {
    let mut registry = ScriptedRegistry::start();
    let (channel, _stage) = channel_to(&mut registry, &[]).await;
    let waiting = tokio::spawn(async move { HealthClient::new(channel).check(HealthCheckRequest::default()).await });
    skip(WAIT_DEFAULT).await;
    let status = soon("the end of the call", waiting).await.expect("no panic");
    let status = status.expect_err("nobody serves");
    assert_eq!(code_and_reason(&status), (Code::Unavailable, "NO_ENDPOINT".to_owned()));
}

#[tokio::test]
async fn a_waiting_call_goes_through_as_soon_as_an_instance_appears() {
    let mut registry = ScriptedRegistry::start();
    let (server, mut calls) = serve();
    let (channel, stage) = channel_to(&mut registry, &[]).await;
    let waiting = tokio::spawn(async move { call(&channel).await });
    assert_eq!(registry.acknowledged().await.revision, 1);
    let instances = [instance("grades", server.address(), 2)];
    stage.send(Ok(patch(2, &instances, &instances))).await;
    calls.next().await.answer(Ok(HealthCheckResponse::default()));
    waiting.await.expect("no panic").expect("an answer");
}

#[tokio::test]
async fn calls_spread_over_all_instances() {
    let mut registry = ScriptedRegistry::start();
    let (servers, calls): (Vec<_>, Vec<_>) = (0..3).map(|_| serve()).unzip();
    let addresses: Vec<_> = servers.iter().map(|server| server.address().clone()).collect();
    let answered: Vec<_> = calls
        .into_iter()
        .map(|calls| calls.answer_all(HealthCheckResponse::default()))
        .collect();
    let (channel, _stage) = channel_to(&mut registry, &addresses).await;
    for _ in 0..100 {
        call(&channel).await.expect("an answer");
    }
    drop(servers);
    let mut counts = Vec::new();
    for answered in answered {
        counts.push(soon("the end of a server", answered).await.expect("no panic"));
    }
    assert_eq!(counts.iter().sum::<usize>(), 100);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test]
async fn a_dead_endpoint_among_live_ones_fails_no_call() {
    let mut registry = ScriptedRegistry::start();
    let (dead, (live, calls)) = (Port::take(), serve());
    let _answers = calls.answer_all(HealthCheckResponse::default());
    let addresses = [dead.address().into(), live.address().clone()];
    let (channel, _stage) = channel_to(&mut registry, &addresses).await;
    for _ in 0..50 {
        call(&channel).await.expect("the other one answers");
    }
}

#[tokio::test]
async fn when_no_endpoint_can_be_reached_the_call_fails_at_once() {
    let mut registry = ScriptedRegistry::start();
    let dead = [Port::take(), Port::take()];
    let addresses = dead.each_ref().map(|port| port.address().into());
    let (channel, _stage) = channel_to(&mut registry, &addresses).await;
    let status = call(&channel).await.expect_err("nobody listens");
    assert_eq!(
        code_and_reason(&status),
        (Code::Unavailable, "CONNECT_FAILED".to_owned())
    );
}

#[tokio::test]
async fn the_last_view_stands_while_the_registry_is_away() {
    let mut registry = ScriptedRegistry::start();
    let (server, calls) = serve();
    let _answers = calls.answer_all(HealthCheckResponse::default());
    let (channel, stage) = channel_to(&mut registry, std::slice::from_ref(server.address())).await;
    call(&channel).await.expect("an answer");
    registry.crash().await;
    stage.cancelled().await;
    for _ in 0..3 {
        call(&channel).await.expect("an answer");
    }
}

#[tokio::test]
async fn a_fixed_channel_to_nobody_fails_at_once() {
    let nobody = Port::take();
    let channel = Channel::fixed(nobody.address().into());
    let status = call(&channel).await.expect_err("nobody listens");
    assert_eq!(
        code_and_reason(&status),
        (Code::Unavailable, "CONNECT_FAILED".to_owned())
    );
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_ends_with_its_deadline_on_both_sides() {
    let (server, mut calls) = serve();
    let channel = server.channel();
    let waiting = tokio::spawn(async move { call_within(&channel, SHORT).await });
    let asked = calls.next().await;
    let status = waiting.await.expect("no panic").expect_err("nobody answers");
    assert_eq!(
        code_and_reason(&status),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned())
    );
    asked.cancelled().await;
}

#[tokio::test]
async fn a_channel_finds_its_server_again_after_a_restart() {
    let port = Port::take();
    let channel = Channel::fixed(port.address().into());
    for _ in 0..3 {
        let (health, calls) = scripted_health();
        let server = Server::start_on(port.listen(), Routes::new(health), Limits::default(), GRACE);
        let answers = calls.answer_all(HealthCheckResponse::default());
        call(&channel).await.expect("the server is there");
        assert_eq!(server.stop().await, 0);
        soon("the end of the server", answers).await.expect("no panic");
        soon("the end of the connection", channel.disconnected()).await;
        let status = call(&channel).await.expect_err("the server is gone");
        assert_eq!(
            code_and_reason(&status),
            (Code::Unavailable, "CONNECT_FAILED".to_owned())
        );
    }
}

#[tokio::test]
async fn a_call_under_way_on_a_connection_that_breaks_fails_as_lost() {
    let (server, mut calls) = serve();
    let channel = server.channel();
    let running = tokio::spawn(async move { call(&channel).await });
    let _handled = calls.next().await;
    drop(server);
    let status = running.await.expect("no panic").expect_err("the server crashed");
    assert_eq!(
        code_and_reason(&status),
        (Code::Unavailable, "CONNECTION_LOST".to_owned())
    );
}

#[tokio::test]
async fn new_calls_leave_a_server_that_drains_while_its_running_call_finishes() {
    let mut registry = ScriptedRegistry::start();
    let ((draining, mut calls), (staying, others)) = (serve(), serve());
    let _answers = others.answer_all(HealthCheckResponse::default());
    let first = instance("grades", draining.address(), 1);
    let second = instance("grades", staying.address(), 2);
    let (channel, stage) = channel_to(&mut registry, std::slice::from_ref(draining.address())).await;
    registry.acknowledged().await;
    let running = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    let held = calls.next().await;
    let _answers_until_it_is_closed = calls.answer_all(HealthCheckResponse::default());
    let updated = std::slice::from_ref(&second);
    stage.send(Ok(patch(2, updated, &[first, second.clone()]))).await;
    registry.acknowledged().await;
    draining.shut_down();
    for _ in 0..50 {
        call(&channel).await.expect("an answer");
    }
    held.answer(Ok(HealthCheckResponse::default()));
    running.await.expect("no panic").expect("the running call finishes");
    assert_eq!(draining.stop().await, 0);
}

type BadServer = fn(TcpListener) -> BoxFuture<'static, TcpListener>;

/// Resets the first request of the first connection, and closes that in good order.
fn resets(listener: TcpListener, reason: h2::Reason) -> BoxFuture<'static, TcpListener> {
    Box::pin(async move {
        let (stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let request = soon("a request", connection.accept()).await.expect("a request");
        request.expect("HTTP/2").1.send_reset(reason);
        connection.graceful_shutdown();
        while soon("the end of the connection", connection.accept()).await.is_some() {}
        listener
    })
}

/// Refuses the first request.
fn refuses(listener: TcpListener) -> BoxFuture<'static, TcpListener> {
    resets(listener, h2::Reason::REFUSED_STREAM)
}

/// Fails the first request, which may have been handled.
fn fails(listener: TcpListener) -> BoxFuture<'static, TcpListener> {
    resets(listener, h2::Reason::INTERNAL_ERROR)
}

/// Says goodbye to the first connection without having handled its first request.
fn leaves(listener: TcpListener) -> BoxFuture<'static, TcpListener> {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    // The last stream that is handled is none, the reason NO_ERROR.
    const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
    const HEADERS: u8 = 1;
    Box::pin(async move {
        let (mut stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
        stream.write_all(SETTINGS).await.expect("an open connection");
        stream.read_exact(&mut [0; 24]).await.expect("a preface");
        let mut head = [0; 9];
        while head[3] != HEADERS {
            stream.read_exact(&mut head).await.expect("a frame");
            let length = u16::from_be_bytes([head[1], head[2]]);
            let mut payload = vec![0; length.into()];
            stream.read_exact(&mut payload).await.expect("a frame");
        }
        stream.write_all(GOAWAY).await.expect("an open connection");
        // Until the client hangs up.
        let _ = soon("the end of the connection", stream.read_to_end(&mut Vec::new())).await;
        listener
    })
}

/// Answers the first request with this status.
fn answers_unavailable(listener: TcpListener) -> BoxFuture<'static, TcpListener> {
    Box::pin(async move {
        let (stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let request = soon("a request", connection.accept()).await.expect("a request");
        let answer = Status::unavailable("not now").into_http::<()>();
        let sent = request.expect("HTTP/2").1.send_response(answer, true);
        sent.expect("an open stream");
        connection.graceful_shutdown();
        while soon("the end of the connection", connection.accept()).await.is_some() {}
        listener
    })
}

/// What the first call comes to when its first try meets this server, and the next one a good server.
async fn call_past(bad: BadServer, idempotent: bool) -> Result<HealthCheckResponse, Status> {
    let port = Port::take();
    let channel = Channel::fixed(port.address().into());
    let channel = if idempotent { channel.idempotent() } else { channel };
    let listener = tokio::spawn(bad(port.listen()));
    let calling = tokio::spawn(async move { call(&channel).await });
    let listener = listener.await.expect("no panic");
    let (health, calls) = scripted_health();
    let _answers = calls.answer_all(HealthCheckResponse::default());
    let _server = Server::start_on(listener, Routes::new(health), Limits::default(), GRACE);
    calling.await.expect("no panic")
}

#[tokio::test]
async fn a_request_that_a_server_refuses_unhandled_is_sent_again() {
    call_past(refuses, false).await.expect("the next server answers");
    call_past(leaves, false).await.expect("the next server answers");
}

#[tokio::test]
async fn a_request_that_may_have_been_handled_is_sent_again_only_when_its_caller_says_so() {
    let status = call_past(fails, false).await.expect_err("it may have been handled");
    assert_eq!(code_and_reason(&status).1, "CONNECTION_LOST");
    let status = call_past(answers_unavailable, false)
        .await
        .expect_err("it was answered");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not now"));
    call_past(fails, true).await.expect("the next server answers");
    call_past(answers_unavailable, true)
        .await
        .expect("the next server answers");
}

#[tokio::test]
async fn what_a_repeated_call_meets_last_is_its_answer() {
    let (server, mut calls) = serve();
    let channel = server.channel().idempotent();
    let calling = tokio::spawn(async move { call(&channel).await });
    for n in 0..=RETRIES_MAX {
        calls.next().await.answer(Err(Status::unavailable(n.to_string())));
    }
    let status = calling.await.expect("no panic").expect_err("nobody could");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, RETRIES_MAX.to_string().as_str())
    );
    assert!(calls.try_next().is_none());
}

#[tokio::test]
async fn a_service_that_fails_altogether_is_asked_only_a_little_more() {
    let (server, mut calls) = serve();
    let answering = tokio::spawn(async move {
        let mut count = 0;
        while let Some(call) = calls.next_or_end().await {
            count += 1;
            call.answer(Err(Status::unavailable("overloaded")));
        }
        count
    });
    let channel = server.channel().idempotent();
    for _ in 0..200 {
        call(&channel).await.expect_err("it is overloaded");
    }
    drop(server);
    let asked = soon("the end of the server", answering).await.expect("no panic");
    // A fifth, what a channel begins with, and what a second or two add.
    assert!((200..=300).contains(&asked), "{asked}");
}

/// Sends the head and a part of an answer to the first request, and breaks off.
fn breaks_off(listener: TcpListener, part: &'static [u8]) -> BoxFuture<'static, TcpListener> {
    Box::pin(async move {
        let (stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let request = soon("a request", connection.accept()).await.expect("a request");
        let head = http::Response::builder().header("content-type", "application/grpc");
        let answer = head.body(()).expect("an answer");
        let sent = request.expect("HTTP/2").1.send_response(answer, false);
        let mut body = sent.expect("an open stream");
        if !part.is_empty() {
            body.send_data(bytes::Bytes::from_static(part), false)
                .expect("an open stream");
        }
        // It is sent, and the client has read it: it answers a ping after that.
        let mut ping = connection.ping_pong().expect("nobody else has it");
        let mut pong = std::pin::pin!(ping.ping(h2::Ping::opaque()));
        tokio::select! {
            pong = &mut pong => drop(pong.expect("a pong")),
            _ = connection.accept() => panic!("another request, or the end"),
        }
        listener
    })
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_lost_with_its_connection() {
    let bad: [BadServer; 2] = [
        |listener| breaks_off(listener, b""),
        |listener| breaks_off(listener, b"\0\0\0"),
    ];
    for bad in bad {
        let status = call_past(bad, false).await.expect_err("a broken answer");
        assert_eq!(
            code_and_reason(&status),
            (Code::Unavailable, "CONNECTION_LOST".to_owned())
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_its_message_is_asked_for_again_when_its_caller_says_so() {
    let bad: BadServer = |listener| breaks_off(listener, b"");
    call_past(bad, true).await.expect("the next server answers");
}

#[tokio::test]
async fn calls_carry_the_trace_of_the_task_that_makes_them() {
    let (server, mut calls) = serve();
    let channel = server.channel();
    let trace = TraceContext::start();
    let context = Context::default().with_trace(trace);
    let traced = tokio::spawn({
        let channel = channel.clone();
        async move { context.scope(call(&channel)).await }
    });
    let asked = calls.next().await;
    let sent = asked.metadata.get("traceparent").expect("a traceparent");
    assert_eq!(sent.to_str().expect("text"), trace.to_string());
    asked.answer(Ok(HealthCheckResponse::default()));
    traced.await.expect("no panic").expect("an answer");

    let untraced = tokio::spawn(async move { call(&channel).await });
    let asked = calls.next().await;
    assert!(asked.metadata.get("traceparent").is_none());
    asked.answer(Ok(HealthCheckResponse::default()));
    untraced.await.expect("no panic").expect("an answer");
}

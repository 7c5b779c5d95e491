mod answers;
mod messages;
mod placements;
mod plain;

use std::time::Duration;

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, service::Routes};
use tonic_types::StatusExt;

use super::{Limits, Placement, Served, bind};
use crate::{
    balance::Channel,
    proto::health::v1::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient},
    shutdown::Shutdown,
    status,
    testing::{HealthCalls, Server, scripted_health, soon},
};

const GRACE: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);
const CHECK: &str = "/grpc.health.v1.Health/Check";

fn serve(limits: Limits, grace: Duration) -> (Server, HealthCalls) {
    let (health, calls) = scripted_health();
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    (Server::start_on(listener, Routes::new(health), limits, grace), calls)
}

fn ask(name: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: name.to_owned(),
    }
}

fn fine() -> Result<HealthCheckResponse, tonic::Status> {
    Ok(HealthCheckResponse::default())
}

async fn dial(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address().as_str()).await.expect("it listens");
    // What a test sends first arrives first, on whatever connection.
    stream.set_nodelay(true).expect("an open connection");
    stream
}

/// An HTTP/2 client without the comforts of ours, and the end of its connection.
async fn client(
    server: &Server,
) -> (
    h2::client::SendRequest<bytes::Bytes>,
    tokio::task::JoinHandle<Result<(), h2::Error>>,
) {
    let handshake = h2::client::handshake(dial(server).await);
    let (client, connection) = handshake.await.expect("a connection");
    (client, tokio::spawn(connection))
}

/// A call that has not sent its message yet.
fn start(
    client: &mut h2::client::SendRequest<bytes::Bytes>,
    path: &str,
    metadata: &[(&str, &str)],
) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let request = Request::post(format!("http://a{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let request = metadata
        .iter()
        .fold(request, |request, (key, value)| request.header(*key, *value));
    let request = request.body(()).expect("a request");
    client.send_request(request, false).expect("a free stream")
}

/// A call of `Check` that has not sent its message yet.
fn start_check(
    client: &mut h2::client::SendRequest<bytes::Bytes>,
    metadata: &[(&str, &str)],
) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    start(client, CHECK, metadata)
}

/// A call of `Check` with an empty request.
fn check(client: &mut h2::client::SendRequest<bytes::Bytes>, note: &str) -> h2::client::ResponseFuture {
    let (response, mut body) = start_check(client, &[("note", note)]);
    body.send_data(vec![0; 5].into(), true).expect("an open stream");
    response
}

/// The error that a response is by its head alone.
fn status_of<B>(response: &http::Response<B>) -> tonic::Status {
    tonic::Status::from_header_map(response.headers()).expect("the answer is an error")
}

fn code_and_reason(status: &tonic::Status) -> (Code, String) {
    (status.code(), status::reason(status).unwrap_or_default())
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_the_limit_in_its_details() {
    let limits = Limits {
        message_size_bytes: 64,
        ..Limits::default()
    };
    let (server, mut calls) = serve(limits, GRACE);
    let status = HealthClient::new(server.channel())
        .check(ask(&"x".repeat(100)))
        .await
        .expect_err("the message is too large");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status::reason(&status).as_deref(), Some("MESSAGE_TOO_LARGE"));
    let details = status.get_error_details();
    let violation = &details.quota_failure().expect("a quota failure").violations[0];
    assert_eq!(violation.subject, "message_size_bytes");
    let info = details.error_info().expect("an error info");
    assert_eq!(
        (info.metadata["limit"].as_str(), info.metadata["size_bytes"].as_str()),
        ("64", "102")
    );
    assert!(calls.try_next().is_none(), "the handler never sees it");
}

#[tokio::test]
async fn a_message_as_large_as_the_limit_passes() {
    let limits = Limits {
        message_size_bytes: 64,
        ..Limits::default()
    };
    let (server, calls) = serve(limits, GRACE);
    let _answers = calls.answer_all(HealthCheckResponse::default());
    let request = ask(&"x".repeat(62));
    HealthClient::new(server.channel())
        .check(request)
        .await
        .expect("64 bytes");
}

#[tokio::test]
async fn a_connection_that_never_says_what_it_speaks_is_closed() {
    let limits = Limits {
        handshake_timeout: SHORT,
        ..Limits::default()
    };
    let (server, _calls) = serve(limits, GRACE);
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n"] {
        let mut stream = dial(&server).await;
        stream.write_all(said).await.expect("an open connection");
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    }
}

#[tokio::test]
async fn a_peer_is_told_how_large_its_frames_may_be() {
    let (server, _calls) = serve(Limits::default(), GRACE);
    let mut stream = dial(&server).await;
    stream.write_all(&greeting()).await.expect("an open connection");
    let mut answer = Vec::new();
    let settings = loop {
        let read = soon("the server's settings", stream.read_buf(&mut answer)).await;
        assert_ne!(read.expect("an open connection"), 0);
        if let Some(frame) = frames(&answer).iter().find(|frame| frame.kind == SETTINGS) {
            break frame.payload.to_vec();
        }
    };
    let (settings, _) = settings.as_chunks::<6>();
    let told = |setting: &[u8; 6]| setting[..2] == MAX_FRAME_SIZE && setting[2..] == super::FRAME_BYTES.to_be_bytes();
    assert!(settings.iter().any(told), "{settings:?}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_good_order_and_one_with_a_running_call_is_not() {
    let limits = Limits {
        idle_timeout: SHORT,
        ..Limits::default()
    };
    let (server, mut calls) = serve(limits, GRACE);
    let (mut busy, busy_end) = client(&server).await;
    let response = check(&mut busy, "");
    let call = calls.next().await;
    for _ in 0..2 {
        let (_idle, end) = client(&server).await;
        let end = soon("the end of the idle connection", end).await;
        end.expect("no panic").expect("it is closed with GOAWAY and no error");
    }
    call.answer(fine());
    soon("the answer", response)
        .await
        .expect("the call was never disturbed");
    let end = soon("the end of a connection that has become idle", busy_end).await;
    end.expect("no panic").expect("it is closed with GOAWAY and no error");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_hung_up_on() {
    let limits = Limits {
        keep_alive: SHORT,
        ..Limits::default()
    };
    let (server, _calls) = serve(limits, GRACE);
    let mut stream = dial(&server).await;
    stream.write_all(&greeting()).await.expect("an open connection");
    let mut answer = Vec::new();
    let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    assert!(frames(&answer).iter().any(|frame| frame.kind == PING), "it was asked");
}

#[tokio::test]
async fn calls_beyond_the_streams_of_a_connection_wait_until_one_ends() {
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let (server, mut calls) = serve(limits, GRACE);
    let (mut client, _end) = client(&server).await;
    // The first answer comes after the server's settings, so the client knows the limit then.
    let response = check(&mut client, "");
    calls.next().await.answer(fine());
    let mut body = response.await.expect("an answer").into_body();
    body.data().await;
    body.trailers().await.expect("the end of the stream");
    drop(body);
    client = soon("a free stream", client.ready()).await.expect("an open connection");

    let running = check(&mut client, "running");
    let call = calls.next().await;
    let queued = check(&mut client, "queued");
    // What happens on another connection meanwhile takes longer than a call that does not wait.
    let (mut other, _end) = self::client(&server).await;
    let overtakes = check(&mut other, "overtakes");
    let next = calls.next().await;
    assert_eq!(next.metadata.get("note").expect("a note"), "overtakes");
    next.answer(fine());
    overtakes.await.expect("an answer");
    assert!(calls.try_next().is_none(), "the queued call still waits");
    call.answer(fine());
    running.await.expect("an answer");
    calls.next().await.answer(fine());
    queued.await.expect("an answer");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_closes() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let (server, mut calls) = serve(limits, GRACE);
    let (mut first, first_end) = client(&server).await;
    let response = check(&mut first, "");
    let call = calls.next().await;
    let (mut second, _end) = client(&server).await;
    let waits = check(&mut second, "");
    call.answer(fine());
    response.await.expect("an answer");
    assert!(calls.try_next().is_none(), "the second connection is not served yet");
    drop(first);
    first_end.await.expect("no panic").expect("it closes in good order");
    calls.next().await.answer(fine());
    soon("the answer", waits).await.expect("it is served now");
}

#[tokio::test]
async fn metadata_over_the_limit_is_refused_and_the_connection_goes_on() {
    let limits = Limits {
        header_list_size_bytes: 1024,
        ..Limits::default()
    };
    let (server, mut calls) = serve(limits, GRACE);
    let (mut client, _end) = client(&server).await;
    let refused = soon("an answer", check(&mut client, &"x".repeat(1100))).await;
    let refused = refused.expect("an answer").status();
    assert_eq!(refused, http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert!(calls.try_next().is_none(), "the handler never sees it");
    client = client.ready().await.expect("an open connection");
    let response = check(&mut client, "x");
    calls.next().await.answer(fine());
    response.await.expect("an answer");
}

#[tokio::test]
async fn a_flood_of_reset_streams_closes_the_connection() {
    let (server, _calls) = serve(Limits::default(), GRACE);
    let reset = |stream| [open(stream), frame(RST_STREAM, 0, stream, &CANCEL)].concat();
    assert_eq!(
        outcome(&server, &streams(10).flat_map(reset).collect::<Vec<_>>()).await,
        PING
    );
    let flood: Vec<_> = streams(300).flat_map(reset).collect();
    assert_eq!(outcome(&server, &flood).await, GO_AWAY);
}

#[tokio::test]
async fn a_flood_of_streams_that_the_server_must_reset_closes_the_connection() {
    let limits = Limits {
        error_resets: 20,
        ..Limits::default()
    };
    let (server, _calls) = serve(limits, GRACE);
    // A window that grows over its maximum.
    let faulty = |stream| [open(stream), frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff])].concat();
    assert_eq!(
        outcome(&server, &streams(10).flat_map(faulty).collect::<Vec<_>>()).await,
        PING
    );
    let flood: Vec<_> = streams(300).flat_map(faulty).collect();
    assert_eq!(outcome(&server, &flood).await, GO_AWAY);
}

#[tokio::test]
async fn a_drain_lets_running_calls_finish_and_refuses_new_connections() {
    let (server, mut calls) = serve(Limits::default(), GRACE);
    let mut client = HealthClient::new(server.channel());
    let running = tokio::spawn(async move { client.check(ask("")).await });
    let call = calls.next().await;
    let (mut idle, idle_end) = self::client(&server).await;
    let response = check(&mut idle, "");
    calls.next().await.answer(fine());
    response.await.expect("an answer");
    server.shut_down();
    let end = soon("the end of the idle connection", idle_end).await;
    end.expect("no panic").expect("it is closed with GOAWAY and no error");
    TcpStream::connect(server.address().as_str())
        .await
        .expect_err("nobody listens any more");
    call.answer(fine());
    running.await.expect("no panic").expect("the running call finishes");
    assert_eq!(server.stop().await, 0, "nothing had to be cut");
}

#[tokio::test]
async fn a_call_that_outlives_the_grace_is_cut_and_counted() {
    let (server, mut calls) = serve(Limits::default(), SHORT);
    let mut client = HealthClient::new(server.channel());
    let running = tokio::spawn(async move { client.check(ask("")).await });
    let call = calls.next().await;
    assert_eq!(server.stop().await, 1);
    let status = running.await.expect("no panic").expect_err("the call is cut");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status::reason(&status).as_deref(), Some("CONNECTION_LOST"));
    call.cancelled().await;
}

#[tokio::test]
async fn the_grace_begins_with_the_shutdown_and_not_before() {
    let (health, mut calls) = scripted_health();
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.local_addr().expect("the socket is bound");
    let shutdown = Shutdown::new();
    let (begins, mut begun) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let grace = async move {
        begins.send(()).expect("the test waits");
        ended.await.expect("the test ends it");
    };
    let routes = Routes::new(health);
    let server = super::serve(listener, routes, Limits::default(), shutdown.clone(), grace);
    let server = AbortOnDropHandle::new(tokio::spawn(server));
    let mut client = HealthClient::new(Channel::fixed(address.into()));
    let running = tokio::spawn(async move { client.check(ask("")).await });
    let _call = calls.next().await;
    begun.try_recv().expect_err("there was no shutdown yet");
    shutdown.cancel();
    soon("the grace", begun).await.expect("it is polled");
    end.send(()).expect("it is waited for");
    let cut = soon("the end of the server", server).await.expect("no panic");
    assert_eq!(cut, 1);
    running.await.expect("no panic").expect_err("the call is cut");
}

#[tokio::test]
async fn a_handler_works_in_a_child_span_of_its_callers_trace_or_in_a_trace_of_its_own() {
    let (server, mut calls) = serve(Limits::default(), GRACE);
    let client = HealthClient::new(server.channel());
    let (trace_id, span_id) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    for sent in [
        Some(format!("00-{trace_id}-{span_id}-01")),
        None,
        Some("nonsense".into()),
    ] {
        let mut request = tonic::Request::new(ask(""));
        if let Some(sent) = &sent {
            let value = sent.parse().expect("a header value");
            request.metadata_mut().insert("traceparent", value);
        }
        let asked = tokio::spawn({
            let mut client = client.clone();
            async move { client.check(request).await }
        });
        let call = calls.next().await;
        let trace = call.context.trace.expect("every call has a trace");
        call.answer(fine());
        asked.await.expect("no panic").expect("an answer");
        let inherited = sent.is_some_and(|sent| sent.starts_with("00"));
        assert_eq!(trace.trace_id() == trace_id, inherited);
        assert_ne!(trace.span_id(), span_id);
    }
}

// HTTP/2 frames by hand (RFC 9113, section 4.1), for peers that no client library would be.

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
/// The setting of that name (RFC 9113, section 6.5.2).
const MAX_FRAME_SIZE: [u8; 2] = [0, 5];
const END_OF_STREAM_AND_HEADERS: u8 = 5;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: u8 = 11;

struct Frame<'a> {
    kind: u8,
    flags: u8,
    payload: &'a [u8],
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn frames(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, flags, _, _, _, _], rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push(Frame { kind, flags, payload });
        bytes = rest;
    }
    frames
}

fn greeting() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// The ids of a client's streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

/// `POST http://a/`, by indices of HPACK's static table (RFC 7541, appendix A).
fn open(stream: u32) -> Vec<u8> {
    let headers = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    frame(HEADERS, END_OF_STREAM_AND_HEADERS, stream, &headers)
}

/// Sends frames at one go and then a ping: whether the connection is closed for too much of something, or lives to
/// answer the ping.
async fn outcome(server: &Server, sent: &[u8]) -> u8 {
    let mut stream = dial(server).await;
    let all = [greeting(), sent.to_vec(), frame(PING, 0, 0, &[7; 8])].concat();
    stream.write_all(&all).await.expect("an open connection");
    let mut received = Vec::new();
    loop {
        let read = soon("an answer", stream.read_buf(&mut received)).await;
        for frame in frames(&received) {
            match frame.kind {
                GO_AWAY => {
                    assert_eq!(frame.payload[7], ENHANCE_YOUR_CALM);
                    return GO_AWAY;
                }
                PING if frame.flags == ACK => return PING,
                _ => {}
            }
        }
        assert_ne!(read.expect("a last word"), 0, "the connection ended without a word");
    }
}

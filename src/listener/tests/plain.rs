//! Those who do not speak gRPC, on the port of those who do.

use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::service::Routes;

use super::{GRACE, Limits, SHORT, Served, ask, bind, client, dial, fine, start};
use crate::{
    metrics::Metrics,
    proto::{FILE_DESCRIPTOR_SET, health::v1::health_client::HealthClient},
    status::Refusal,
    testing::{Exposition, HealthCalls, Reply, Server, http1, scrape, scripted_health, soon},
};

const NAME: &str = "grpc.health.v1.Health";
const GET: &str = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n";

/// A server with metrics.
fn serve(limits: Limits) -> (Server, HealthCalls) {
    let (health, calls) = scripted_health();
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let served = Served::with_metrics(Routes::new(health), Metrics::new(), &[NAME], &[FILE_DESCRIPTOR_SET]);
    (Server::start_on(listener, served, limits, GRACE), calls)
}

/// A server whose metrics have at least this many bytes.
fn serve_large(bytes: usize, limits: Limits) -> Server {
    let metrics = Metrics::new();
    metrics.register_gauge("large", &"x".repeat(bytes), || 0_u64);
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let served = Served::with_metrics(Routes::default(), metrics, &[], &[]);
    Server::start_on(listener, served, limits, GRACE)
}

/// How many calls of `Check` have begun, and have ended with this code.
fn counted(seen: &Exposition, code: &str) -> (f64, f64) {
    let [kind, service, method] = [("grpc_type", "unary"), ("grpc_service", NAME), ("grpc_method", "Check")];
    (
        seen.value("grpc_server_started_total", &[kind, service, method]),
        seen.value(
            "grpc_server_handled_total",
            &[kind, service, method, ("grpc_code", code)],
        ),
    )
}

async fn ask_for(server: &Server, what: &str) -> Reply {
    http1(server.address(), &format!("{what} HTTP/1.1\r\nhost: a\r\n\r\n")).await
}

#[tokio::test]
async fn the_metrics_are_read_over_http1_while_calls_run_on_the_same_port() {
    let (server, mut calls) = serve(Limits::default());
    assert_eq!(counted(&scrape(server.address()).await, "OK"), (0.0, 0.0));
    let client = HealthClient::new(server.channel());
    for (answer, code, before) in [
        (fine(), "OK", 0.0),
        (Err(Refusal::not_found("GONE", "a", "b").into()), "NotFound", 1.0),
    ] {
        let mut client = client.clone();
        let running = tokio::spawn(async move { client.check(ask("")).await });
        let call = calls.next().await;
        assert_eq!(counted(&scrape(server.address()).await, code), (before + 1.0, 0.0));
        let is_error = answer.is_err();
        call.answer(answer);
        assert_eq!(running.await.expect("no panic").is_err(), is_error);
        assert_eq!(counted(&scrape(server.address()).await, code), (before + 1.0, 1.0));
    }
}

#[tokio::test]
async fn a_call_that_its_caller_gives_up_is_counted_as_cancelled() {
    let (server, mut calls) = serve(Limits::default());
    let mut client = HealthClient::new(server.channel());
    let running = tokio::spawn(async move { client.check(ask("")).await });
    let call = calls.next().await;
    running.abort();
    call.cancelled().await;
    assert_eq!(counted(&scrape(server.address()).await, "Canceled"), (1.0, 1.0));
}

#[tokio::test]
async fn calls_of_what_is_not_served_make_no_series_of_their_own() {
    let (server, _calls) = serve(Limits::default());
    let (mut client, _end) = client(&server).await;
    for n in 0..20 {
        for path in [format!("/x{n}/y"), format!("/{NAME}/{n}"), format!("/{n}")] {
            let (response, mut body) = start(&mut client, &path, &[]);
            body.send_data(vec![0; 5].into(), true).expect("an open stream");
            soon("an answer", response).await.expect("an answer");
            client = client.ready().await.expect("an open connection");
        }
    }
    let seen = scrape(server.address()).await;
    let count = |service| {
        let [kind, method] = [("grpc_type", "unknown"), ("grpc_method", "unknown")];
        let labels = [kind, ("grpc_service", service), method, ("grpc_code", "Unimplemented")];
        seen.value("grpc_server_handled_total", &labels)
    };
    assert_eq!((count(NAME), count("unknown")), (20.0, 40.0));
    // Check, List, Watch, and these two.
    assert_eq!(seen.0["grpc_server_started_total"].samples.len(), 5);
}

#[tokio::test]
async fn only_gets_of_the_metrics_find_something() {
    let (server, _calls) = serve(Limits::default());
    for (asked, status) in [
        ("GET /metrics", "200 OK"),
        ("GET /metrics?name=x", "200 OK"),
        ("GET /", "404 Not Found"),
        ("GET /metrics/", "404 Not Found"),
        ("HEAD /favicon.ico", "404 Not Found"),
        ("POST /metrics", "405 Method Not Allowed"),
        ("POST /grpc.health.v1.Health/Check", "405 Method Not Allowed"),
        ("DELETE /", "405 Method Not Allowed"),
        ("OPTIONS *", "405 Method Not Allowed"),
        ("CONNECT a:80", "405 Method Not Allowed"),
        ("PRI *", "405 Method Not Allowed"),
    ] {
        let reply = ask_for(&server, asked).await;
        assert!(
            reply.head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{asked}: {}",
            reply.head
        );
        let (is_head, is_found) = (asked.starts_with("HEAD"), status.starts_with("200"));
        assert_eq!(reply.body.is_empty(), is_head, "{asked}");
        if !is_found && !is_head {
            assert!(
                reply.body.contains("gRPC") && reply.body.contains("/metrics"),
                "{}",
                reply.body
            );
        }
        assert_eq!(
            reply.head.contains("\r\nallow: GET, HEAD"),
            status.starts_with("405"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn the_head_of_the_metrics_tells_how_long_they_are() {
    let (server, _calls) = serve(Limits::default());
    let reply = ask_for(&server, "HEAD /metrics").await;
    let length = reply
        .head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    assert!(length.expect("a length").parse::<usize>().expect("a number") > 1_000);
    assert!(
        reply.head.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        reply.head
    );
    assert_eq!(reply.body, "");
}

#[tokio::test]
async fn a_server_without_metrics_says_that_there_is_nothing() {
    let (server, _calls) = super::serve(Limits::default(), GRACE);
    assert!(ask_for(&server, "GET /metrics").await.head.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_connection_answers_one_request_over_http1() {
    let (server, _calls) = serve(Limits::default());
    let reply = http1(server.address(), &GET.repeat(3)).await;
    assert!(reply.head.contains("\r\nconnection: close"), "{}", reply.head);
    assert!(!reply.body.contains("HTTP/1.1"), "the others find nobody");
}

/// An answer over HTTP/2.
async fn over_http2(server: &Server, method: Method, path: &str) -> (StatusCode, HeaderMap, String) {
    let (mut client, _end) = client(server).await;
    let request = Request::builder().method(method).uri(format!("http://a{path}"));
    let request = request
        .header("accept", "application/openmetrics-text")
        .body(())
        .expect("a request");
    let (response, _) = client.send_request(request, true).expect("a free stream");
    let (head, body) = soon("an answer", response).await.expect("an answer").into_parts();
    (head.status, head.headers, read(body).await)
}

/// All of a body.
async fn read(mut body: h2::RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("an open stream");
        body.flow_control()
            .release_capacity(data.len())
            .expect("it was counted");
        text.extend_from_slice(&data);
    }
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn the_metrics_are_read_over_http2_too() {
    let (server, _calls) = serve(Limits::default());
    let (status, headers, text) = over_http2(&server, Method::GET, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        headers["content-type"]
            .as_bytes()
            .starts_with(b"application/openmetrics-text")
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(headers["content-length"], text.len().to_string());
    let (status, headers, nothing) = over_http2(&server, Method::HEAD, "/metrics").await;
    assert_eq!((status, nothing.as_str()), (StatusCode::OK, ""));
    // The figures of this moment may have more digits.
    let length: usize = headers["content-length"]
        .to_str()
        .expect("text")
        .parse()
        .expect("a number");
    assert!(length > 0);
    assert_eq!(over_http2(&server, Method::GET, "/").await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        over_http2(&server, Method::DELETE, "/metrics").await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

/// What a server says before it hangs up on somebody who says this and no more.
async fn last_words(server: &Server, said: &[u8]) -> String {
    let mut stream = dial(server).await;
    stream.write_all(said).await.expect("an open connection");
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn who_never_comes_to_the_end_of_a_request_is_hung_up_on() {
    let limits = Limits {
        handshake_timeout: SHORT,
        ..Limits::default()
    };
    let (server, _calls) = serve(limits);
    for said in [
        "G",
        "GET /metrics HT",
        "GET /metrics HTTP/1.1\r\nhost: a\r\n",
        "PRI * HTTP/1.1\r\nhost",
    ] {
        assert_eq!(last_words(&server, said.as_bytes()).await, "", "{said}");
    }
    assert_eq!(
        counted(&scrape(server.address()).await, "OK"),
        (0.0, 0.0),
        "others are served"
    );
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_hung_up_on() {
    let limits = Limits {
        handshake_timeout: SHORT,
        message_timeout: SHORT,
        ..Limits::default()
    };
    // More than the sockets of both ends hold.
    let server = serve_large(64 * 1024 * 1024, limits);
    let mut lazy = dial(&server).await;
    lazy.write_all(GET.as_bytes()).await.expect("an open connection");
    let mut first = [0; 8];
    let read = soon("the beginning of an answer", lazy.read_exact(&mut first)).await;
    read.expect("an answer");
    assert_eq!(
        server.stop().await,
        0,
        "it was cut off by its own limit, long before the grace was over"
    );
}

#[tokio::test]
async fn what_is_no_request_gets_an_answer_of_http1() {
    let (server, _calls) = serve(Limits::default());
    for said in [
        "GET  / HTTP/1.1\r\n\r\n",
        "HELLO\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let answer = last_words(&server, said.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}: {answer}");
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let limits = Limits {
        header_list_size_bytes: 1024,
        ..Limits::default()
    };
    let (server, _calls) = serve(limits);
    let request = |bytes| format!("GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n", "a".repeat(bytes));
    let answer = last_words(&server, request(900).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = last_words(&server, request(1100).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn connections_of_http1_beyond_the_limit_are_closed_and_calls_go_on() {
    let limits = Limits {
        plain_requests: 1,
        ..Limits::default()
    };
    let (server, calls) = serve(limits);
    let _answers = calls.answer_all(crate::proto::health::v1::HealthCheckResponse::default());
    let mut holder = dial(&server).await;
    holder
        .write_all(&GET.as_bytes()[..20])
        .await
        .expect("an open connection");
    HealthClient::new(server.channel())
        .check(ask(""))
        .await
        .expect("an answer");
    assert_eq!(last_words(&server, GET.as_bytes()).await, "");
    holder
        .write_all(&GET.as_bytes()[20..])
        .await
        .expect("an open connection");
    let mut answer = String::new();
    soon("the answer", holder.read_to_string(&mut answer))
        .await
        .expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn requests_of_http2_beyond_the_limit_are_turned_away_until_one_is_read() {
    let limits = Limits {
        plain_requests: 1,
        send_buffer_size_bytes: 1_000,
        ..Limits::default()
    };
    // More than is given to HTTP/2 at once.
    let server = serve_large(32 * 1024, limits);
    // It takes no more than the beginning before it reads.
    let handshake = h2::client::Builder::new()
        .initial_window_size(1_000)
        .handshake::<_, bytes::Bytes>(dial(&server).await);
    let (mut client, connection) = handshake.await.expect("a connection");
    tokio::spawn(connection);
    let mut get = || -> h2::client::ResponseFuture {
        let request = Request::get("http://a/metrics").body(()).expect("a request");
        client.send_request(request, true).expect("a free stream").0
    };
    let unread = soon("an answer", get()).await.expect("an answer");
    let refused = soon("an answer", get()).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(read(unread.into_body()).await.ends_with('\n'));
    let answered = soon("an answer", get()).await.expect("an answer");
    assert_eq!(answered.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_has_not_asked_in_full_does_not_hold_up_a_stop() {
    let (server, _calls) = serve(Limits::default());
    let mut half = dial(&server).await;
    half.write_all(&GET.as_bytes()[..20]).await.expect("an open connection");
    // It is accepted before this one, which is answered.
    scrape(server.address()).await;
    assert_eq!(server.stop().await, 0, "nobody had to be cut off");
}

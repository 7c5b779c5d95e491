use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tonic::service::Routes;

use super::{ConnectError, Connection, End};
use crate::{
    proto::health::v1::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient},
    testing::{Port, Server, scripted_health, soon},
};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    let nobody = Port::take();
    let error = Connection::open(&nobody.address().into(), PATIENCE).await;
    assert!(matches!(error, Err(ConnectError::Refused(_))), "{error:?}");
}

#[tokio::test]
async fn a_connection_lives_as_long_as_its_server_wants() {
    let (health, calls) = scripted_health();
    let _answers = calls.answer_all(HealthCheckResponse::default());
    let server = Server::start(Routes::new(health));
    let connection = Connection::open(server.address(), PATIENCE).await.expect("it listens");
    let mut client = HealthClient::new(connection.clone());
    client.check(HealthCheckRequest::default()).await.expect("an answer");
    assert!(!connection.is_closed());
    assert_eq!(server.stop().await, 0);
    assert_eq!(soon("the end", connection.ended()).await, End::Closed);
    assert!(connection.is_closed());
    let status = client
        .check(HealthCheckRequest::default())
        .await
        .expect_err("it is closed");
    assert!(status.message().contains("closing"), "{status}");
}

#[tokio::test]
async fn what_speaks_something_else_is_told_from_what_hangs_up() {
    let tls_alert = &b"\x15\x03\x03\x00\x02\x02\x0a"[..];
    let http1 = &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..];
    for (said, kind) in [(http1, "http1"), (tls_alert, "tls"), (b"", "nothing")] {
        let port = Port::take();
        let listener = port.listen();
        let connection = Connection::open(&port.address().into(), PATIENCE)
            .await
            .expect("it listens");
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(said).await.expect("an open connection");
        if said.is_empty() {
            drop(stream);
        }
        let end = soon("the end", connection.ended()).await;
        let heard = match end {
            End::NotHttp2(_) => "http1",
            End::Tls(_) => "tls",
            End::Closed | End::Broken(_) => "nothing",
            End::Silent(_) => "silence",
        };
        assert_eq!(heard, kind, "{end:?}");
    }
}

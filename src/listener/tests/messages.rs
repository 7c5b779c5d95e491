//! Calls whose messages do not end.

use futures_util::future::select;
use h2::SendStream;
use tonic::Code;
use tonic_types::StatusExt;

use super::{GRACE, Limits, SHORT, client, code_and_reason, fine, serve, start_check, status_of};
use crate::testing::soon;

type Peer = h2::client::SendRequest<bytes::Bytes>;

/// A request of 60 bytes after its prefix: one name of 58.
fn message() -> Vec<u8> {
    [&[0, 0, 0, 0, 60, 0x0a, 58][..], &[b'x'; 58]].concat()
}

/// Begins a call and sends the first ten bytes of its message.
fn begin(client: &mut Peer) -> (h2::client::ResponseFuture, SendStream<bytes::Bytes>) {
    let (response, mut body) = start_check(client, &[]);
    body.send_data(message()[..10].to_vec().into(), false)
        .expect("an open stream");
    (response, body)
}

/// Begins a call on each, of which one is too many. It is refused for the limit of this name; the other, and one more
/// after it, are answered.
async fn only_one_fits(limits: Limits, connections: usize, limit: &str) {
    let (server, mut calls) = serve(limits, GRACE);
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(client(&server).await.0);
    }
    let (first, first_body) = begin(&mut clients[0]);
    let (second, second_body) = begin(clients.last_mut().expect("a client"));
    let either = soon("a refusal", select(first, second)).await;
    let (refused, other_is_first) = match &either {
        futures_util::future::Either::Left((refused, _)) => (refused, false),
        futures_util::future::Either::Right((refused, _)) => (refused, true),
    };
    let status = status_of(refused.as_ref().expect("an answer"));
    assert_eq!(
        code_and_reason(&status),
        (Code::ResourceExhausted, "TOO_MANY_PENDING_BYTES".to_owned())
    );
    let details = status.get_error_details();
    let violation = &details.quota_failure().expect("a quota failure").violations[0];
    assert_eq!(violation.subject, limit);
    let retry = details.retry_info().expect("retry info").retry_delay;
    assert_eq!(retry, Some(std::time::Duration::from_secs(1)));

    let (other, mut body) = match either {
        futures_util::future::Either::Left((_, other)) | futures_util::future::Either::Right((_, other)) => {
            (other, if other_is_first { first_body } else { second_body })
        }
    };
    body.send_data(message()[10..].to_vec().into(), true)
        .expect("an open stream");
    calls.next().await.answer(fine());
    soon("the answer", other).await.expect("it was within the limit");

    let (response, mut body) = begin(&mut clients[0]);
    body.send_data(message()[10..].to_vec().into(), true)
        .expect("an open stream");
    calls.next().await.answer(fine());
    soon("the answer", response)
        .await
        .expect("it is within the limit again");
}

#[tokio::test]
async fn messages_that_do_not_end_are_refused_beyond_their_connections_limit() {
    let limits = Limits {
        pending_size_bytes: 100,
        ..Limits::default()
    };
    only_one_fits(limits, 1, "pending_size_bytes").await;
}

#[tokio::test]
async fn messages_that_do_not_end_are_refused_beyond_the_servers_limit() {
    let limits = Limits {
        pending_total_size_bytes: 100,
        ..Limits::default()
    };
    only_one_fits(limits, 2, "pending_total_size_bytes").await;
}

#[tokio::test]
async fn a_message_that_does_not_end_in_time_ends_its_call() {
    let limits = Limits {
        message_timeout: SHORT,
        ..Limits::default()
    };
    let (server, mut calls) = serve(limits, GRACE);
    let (mut client, _end) = client(&server).await;
    let (response, _body) = begin(&mut client);
    let response = soon("a refusal", response).await.expect("an answer");
    assert_eq!(
        code_and_reason(&status_of(&response)),
        (Code::DeadlineExceeded, "MESSAGE_TIMEOUT".to_owned())
    );
    assert!(calls.try_next().is_none(), "the handler never sees it");
}

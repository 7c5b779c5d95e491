//! What the listener answers in place of a handler.

use tonic::Code;
use tonic_types::StatusExt;

use super::{CHECK, GRACE, Limits, client, code_and_reason, fine, serve, start, start_check, status_of};
use crate::testing::soon;

#[tokio::test]
async fn a_handler_is_dropped_at_its_callers_deadline() {
    let (server, mut calls) = serve(Limits::default(), GRACE);
    let (mut client, _end) = client(&server).await;
    let (response, mut body) = start_check(&mut client, &[("grpc-timeout", "50m")]);
    body.send_data(vec![0; 5].into(), true).expect("an open stream");
    let call = calls.next().await;
    let response = soon("the deadline", response).await.expect("an answer");
    assert_eq!(
        code_and_reason(&status_of(&response)),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned())
    );
    call.cancelled().await;
}

#[tokio::test]
async fn an_answer_before_the_deadline_passes() {
    let (server, mut calls) = serve(Limits::default(), GRACE);
    let (mut client, _end) = client(&server).await;
    let (response, mut body) = start_check(&mut client, &[("grpc-timeout", "1H")]);
    body.send_data(vec![0; 5].into(), true).expect("an open stream");
    calls.next().await.answer(fine());
    let response = soon("the answer", response).await.expect("an answer");
    assert!(!response.headers().contains_key("grpc-status"), "it is not an error");
}

#[tokio::test]
async fn an_unknown_method_or_service_is_named() {
    let (server, _calls) = serve(Limits::default(), GRACE);
    let (mut client, _end) = client(&server).await;
    for path in ["/grpc.health.v1.Health/Heal", "/no.such.Service/Check"] {
        let (response, mut body) = start(&mut client, path, &[]);
        body.send_data(vec![0; 5].into(), true).expect("an open stream");
        let status = status_of(&soon("an answer", response).await.expect("an answer"));
        assert_eq!(
            code_and_reason(&status),
            (Code::Unimplemented, "UNKNOWN_METHOD".to_owned())
        );
        assert_eq!(status.message(), format!("there is no method `{path}`"));
        let details = status.get_error_details();
        assert_eq!(details.error_info().expect("an error info").metadata["path"], path);
    }
}

#[tokio::test]
async fn a_request_that_is_no_protobuf_is_refused_without_a_word_about_the_program() {
    let (server, mut calls) = serve(Limits::default(), GRACE);
    let (mut client, _end) = client(&server).await;
    // The beginning of a field, and no more.
    let (response, mut body) = start(&mut client, CHECK, &[]);
    body.send_data(vec![0, 0, 0, 0, 1, 0xff].into(), true)
        .expect("an open stream");
    let status = status_of(&soon("an answer", response).await.expect("an answer"));
    assert_eq!(
        code_and_reason(&status),
        (Code::InvalidArgument, "MALFORMED_MESSAGE".to_owned())
    );
    assert_eq!(status.message(), "the request is not the message that the method takes");
    assert!(calls.try_next().is_none(), "the handler never sees it");
}

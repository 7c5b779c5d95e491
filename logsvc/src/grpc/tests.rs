use homeroom::status::reason;
use prost::Message;
use tonic::Code;

use super::*;

pub(super) async fn api() -> (tempfile::TempDir, LogApi) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let api = LogApi::open(directory.path(), &StoreSettings::default(), Shutdown::new()).await;
    (directory, api.expect("an open log"))
}

pub(super) fn entry(message: &str) -> proto::Entry {
    proto::Entry {
        message: message.to_owned(),
        ..Default::default()
    }
}

pub(super) fn on_the_wire(entries: &[proto::Entry]) -> Vec<Bytes> {
    entries.iter().map(|entry| entry.encode_to_vec().into()).collect()
}

pub(super) async fn write(api: &LogApi, entries: Vec<proto::Entry>) -> Result<u64, Status> {
    let request = WriteRequest {
        entries: on_the_wire(&entries),
        ..Default::default()
    };
    Ok(api.write(Request::new(request)).await?.into_inner().last_sequence)
}

pub(super) async fn query(api: &LogApi, request: proto::QueryRequest) -> Result<proto::QueryResponse, Status> {
    Ok(received(&api.query(Request::new(request)).await?.into_inner()))
}

/// An answer as a client reads it.
fn received<T: Message + Default>(answer: &impl Message) -> T {
    T::decode(&answer.encode_to_vec()[..]).expect("a message of the contract")
}

pub(super) fn messages(entries: &[proto::Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.message.as_str()).collect()
}

pub(super) fn invalid<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    use tonic_types::StatusExt;
    let status = result.expect_err("not valid");
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::InvalidArgument, Some("INVALID_FIELD"))
    );
    let details = status.get_error_details();
    details.bad_request().expect("a bad request").field_violations[0]
        .field
        .clone()
}

#[tokio::test]
async fn what_is_written_is_found_with_its_number_and_its_defaults() {
    let (_directory, api) = api().await;
    assert_eq!(
        write(&api, vec![entry("a"), entry("b\u{1b}[31m\nc")])
            .await
            .expect("written"),
        2
    );
    let found = query(&api, proto::QueryRequest::default()).await.expect("found");
    assert_eq!(messages(&found.entries), ["a", "b\u{1b}[31m\nc"]);
    assert_eq!(
        (found.entries[1].sequence, found.entries[1].severity()),
        (2, proto::Severity::Info)
    );
    assert!(found.entries[1].time.is_some() && found.next_page_token.is_empty());
}

#[tokio::test]
async fn a_log_opened_again_has_everything() {
    let (directory, api) = api().await;
    write(&api, vec![entry("a")]).await.expect("written");
    api.close().await;
    let refused = write(&api, vec![entry("b")]).await.expect_err("it is closed");
    assert_eq!(reason(&refused).as_deref(), Some("DRAINING"));
    assert!(query(&api, proto::QueryRequest::default()).await.is_ok(), "reads go on");
    let second = LogApi::open(directory.path(), &StoreSettings::default(), Shutdown::new()).await;
    assert!(matches!(second, Err(Error::InUse(_))));
    drop(api);
    let api = LogApi::open(directory.path(), &StoreSettings::default(), Shutdown::new())
        .await
        .expect("an open log");
    assert_eq!(write(&api, vec![entry("b")]).await.expect("written"), 2);
}

#[tokio::test]
async fn what_is_not_valid_is_named_and_nothing_is_written() {
    let (_directory, api) = api().await;
    assert_eq!(invalid(write(&api, vec![]).await), "entries");
    assert_eq!(invalid(write(&api, vec![entry("a"); 10_001]).await), "entries");
    assert_eq!(
        invalid(write(&api, vec![entry("a"), entry("")]).await),
        "entries[1].message"
    );
    let request = WriteRequest {
        entries: on_the_wire(&[entry("a")]),
        durability: 4,
    };
    assert_eq!(invalid(api.write(Request::new(request)).await), "durability");
    let with = |set: fn(&mut proto::QueryRequest)| {
        let mut request = proto::QueryRequest::default();
        set(&mut request);
        request
    };
    let filter = || {
        Some(proto::Filter {
            min_severity: 9,
            ..Default::default()
        })
    };
    assert_eq!(
        invalid(
            query(
                &api,
                proto::QueryRequest {
                    filter: filter(),
                    ..Default::default()
                }
            )
            .await
        ),
        "filter.min_severity"
    );
    assert_eq!(invalid(query(&api, with(|r| r.order = 3)).await), "order");
    assert_eq!(invalid(query(&api, with(|r| r.page_size = -1)).await), "page_size");
    assert_eq!(
        invalid(query(&api, with(|r| r.page_token = "x".to_owned())).await),
        "page_token"
    );
    let tail = proto::TailRequest {
        filter: filter(),
        after_sequence: None,
        ..Default::default()
    };
    assert_eq!(
        invalid(api.tail(Request::new(tail)).await.map(|_| ())),
        "filter.min_severity"
    );
    let trace = proto::GetTraceRequest {
        trace_id: "x".to_owned(),
    };
    assert_eq!(invalid(api.get_trace(Request::new(trace)).await), "trace_id");
    let found = query(&api, proto::QueryRequest::default()).await.expect("found");
    assert!(found.entries.is_empty());
}

#[tokio::test]
async fn pages_follow_each_other_in_either_order_and_keep_to_their_query() {
    let (_directory, api) = api().await;
    write(&api, (0..250).map(|n| entry(&n.to_string())).collect())
        .await
        .expect("written");
    let first = proto::QueryRequest {
        order: proto::Order::NewestFirst.into(),
        ..Default::default()
    };
    let (mut request, mut sizes, mut seen) = (first.clone(), Vec::new(), Vec::new());
    loop {
        let page = query(&api, request.clone()).await.expect("found");
        sizes.push(page.entries.len());
        seen.extend(page.entries.iter().map(|entry| entry.sequence));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(sizes, [100, 100, 50]);
    assert!(seen.into_iter().eq((1..=250).rev()));
    let other_order = proto::QueryRequest {
        order: 1,
        ..request.clone()
    };
    assert_eq!(invalid(query(&api, other_order).await), "page_token");
    let filter = proto::Filter::default;
    for other in [
        proto::Filter {
            text: "1".to_owned(),
            ..filter()
        },
        proto::Filter {
            services: vec![String::new()],
            ..filter()
        },
    ] {
        let request = proto::QueryRequest {
            filter: Some(other),
            ..request.clone()
        };
        assert_eq!(invalid(query(&api, request).await), "page_token");
    }
}

fn traced(id: &str, seconds: i64, message: &str) -> proto::Entry {
    proto::Entry {
        trace_id: id.repeat(32),
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..entry(message)
    }
}

async fn trace(api: &LogApi, id: &str) -> Result<proto::GetTraceResponse, Status> {
    let request = proto::GetTraceRequest {
        trace_id: id.repeat(32),
    };
    Ok(api.get_trace(Request::new(request)).await?.into_inner())
}

#[tokio::test]
async fn a_trace_is_in_order_of_time_and_nothing_else() {
    let (_directory, api) = api().await;
    let entries = vec![
        traced("a", 3, "c"),
        traced("b", 1, "x"),
        traced("a", 1, "a"),
        entry("y"),
        traced("a", 2, "b"),
    ];
    write(&api, entries).await.expect("written");
    let found = trace(&api, "a").await.expect("found");
    assert_eq!(
        (messages(&found.entries), found.truncated),
        (vec!["a", "b", "c"], false)
    );
    let missing = trace(&api, "c").await.expect_err("there is none");
    assert_eq!(
        (missing.code(), reason(&missing).as_deref()),
        (Code::NotFound, Some("TRACE_NOT_FOUND"))
    );
}

#[tokio::test]
async fn a_trace_ends_at_its_entries_and_its_bytes() {
    let (_directory, api) = api().await;
    write(&api, vec![traced("a", 1, "m"); Limit::TRACE.entries])
        .await
        .expect("written");
    assert!(!trace(&api, "a").await.expect("found").truncated);
    write(&api, vec![traced("a", 1, "m")]).await.expect("written");
    let found = trace(&api, "a").await.expect("found");
    assert_eq!((found.entries.len(), found.truncated), (Limit::TRACE.entries, true));
    write(&api, vec![traced("b", 1, &"x".repeat(1_000_000)); 5])
        .await
        .expect("written");
    let found = trace(&api, "b").await.expect("found");
    assert_eq!((found.entries.len(), found.truncated), (3, true));
}

#[tokio::test]
async fn a_tail_sends_what_comes_and_ends_with_the_drain() {
    let (_directory, api) = api().await;
    write(&api, vec![entry("a")]).await.expect("written");
    let tail = api.tail(Request::new(proto::TailRequest::default())).await;
    let mut tail = tail.expect("a stream").into_inner();
    assert_eq!(tail.next().await.expect("a part").expect("no error").sequence, 1);
    write(&api, vec![entry("b")]).await.expect("written");
    let part: proto::TailResponse = received(&tail.next().await.expect("a part").expect("no error"));
    assert_eq!((messages(&part.entries), part.sequence), (vec!["b"], 2));
    assert_eq!(part.dropped, None);
    api.shutdown.cancel();
    let status = tail.next().await.expect("an end").expect_err("it drains");
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::Unavailable, Some("DRAINING"))
    );
}

/// A span of a trace: its id, that of its parent, and when it started.
fn span(trace: &str, id: &str, parent: &str, seconds: i64) -> proto::Entry {
    proto::Entry {
        span_id: id.repeat(16),
        span: Some(proto::Span {
            parent_span_id: parent.repeat(16),
            end_time: Some(prost_types::Timestamp {
                seconds: seconds + 5,
                nanos: 0,
            }),
            ..Default::default()
        }),
        ..traced(trace, seconds, &format!("span {id}"))
    }
}

async fn traces(api: &LogApi, request: proto::ListTracesRequest) -> Result<proto::ListTracesResponse, Status> {
    Ok(api.list_traces(Request::new(request)).await?.into_inner())
}

#[tokio::test]
async fn a_trace_has_its_spans_as_a_tree_and_tells_what_is_missing() {
    let (_directory, api) = api().await;
    let record = proto::Entry {
        span_id: "9".repeat(16),
        ..traced("a", 2, "m")
    };
    let entries = vec![
        span("a", "3", "2", 3),
        span("a", "2", "1", 2),
        record,
        span("b", "4", "", 1),
    ];
    write(&api, entries).await.expect("written");
    let found = trace(&api, "a").await.expect("found");
    let name = |span: &proto::TraceSpan| span.entry.as_ref().map(|entry| entry.message.clone());
    let spans: Vec<_> = found
        .spans
        .iter()
        .map(|span| (name(span), span.depth, span.is_orphan))
        .collect();
    let expected = [
        (Some("span 2".to_owned()), 0, true),
        (Some("span 3".to_owned()), 1, false),
    ];
    assert_eq!(spans, expected);
    assert_eq!(messages(&found.entries), ["m"]);
    assert_eq!(found.missing_span_ids, ["1".repeat(16), "9".repeat(16)]);
    let malformed = proto::GetTraceRequest {
        trace_id: "A".repeat(32),
    };
    assert_eq!(invalid(api.get_trace(Request::new(malformed)).await), "trace_id");
}

#[tokio::test]
async fn traces_are_listed_with_what_there_is_to_say_of_them() {
    let (_directory, api) = api().await;
    let service = |service: &str, entry| proto::Entry {
        service: service.to_owned(),
        ..entry
    };
    let mut failed = span("a", "2", "1", 7);
    failed.span.as_mut().expect("it is one").status = proto::SpanStatus::Error.into();
    let entries = vec![
        service("front", span("a", "1", "", 1)),
        service("front", span("b", "1", "", 1)),
        service("back", failed),
        traced("c", 1, "no span"),
    ];
    write(&api, entries).await.expect("written");
    let request = proto::ListTracesRequest {
        page_size: 1,
        ..Default::default()
    };
    let first = traces(&api, request.clone()).await.expect("listed");
    let expected = proto::Trace {
        trace_id: "a".repeat(32),
        service: "front".to_owned(),
        name: "span 1".to_owned(),
        start_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        duration: Some(prost_types::Duration { seconds: 11, nanos: 0 }),
        spans: 2,
        errors: 1,
        services: vec!["back".to_owned(), "front".to_owned()],
    };
    assert_eq!(first.traces, [expected]);
    let next = |page_token| proto::ListTracesRequest {
        page_token,
        ..request.clone()
    };
    let second = traces(&api, next(first.next_page_token.clone())).await.expect("listed");
    let ids: Vec<_> = second.traces.iter().map(|trace| trace.trace_id.clone()).collect();
    assert_eq!((ids, second.next_page_token.as_str()), (vec!["b".repeat(32)], ""));
    let other = proto::ListTracesRequest {
        errors_only: true,
        ..next(first.next_page_token)
    };
    assert_eq!(invalid(traces(&api, other).await), "page_token");
}

#[tokio::test]
async fn what_is_not_valid_of_a_list_of_traces_is_named() {
    let (_directory, api) = api().await;
    let request = proto::ListTracesRequest::default;
    let rows = [
        (
            proto::ListTracesRequest {
                services: vec![String::new(); 101],
                ..request()
            },
            "services",
        ),
        (
            proto::ListTracesRequest {
                min_duration: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                ..request()
            },
            "min_duration",
        ),
        (
            proto::ListTracesRequest {
                page_size: -1,
                ..request()
            },
            "page_size",
        ),
        (
            proto::ListTracesRequest {
                page_token: "x".to_owned(),
                ..request()
            },
            "page_token",
        ),
    ];
    for (request, field) in rows {
        assert_eq!(invalid(traces(&api, request).await), field);
    }
}

#[tokio::test]
async fn a_filter_that_is_not_valid_is_named_in_a_query_and_in_a_tail() {
    let (_directory, api) = api().await;
    let filter = Some(proto::Filter {
        regex: "(".to_owned(),
        ..Default::default()
    });
    let request = proto::QueryRequest {
        filter: filter.clone(),
        ..Default::default()
    };
    assert_eq!(invalid(query(&api, request).await), "filter.regex");
    let request = proto::TailRequest {
        filter,
        ..Default::default()
    };
    let refused = api.tail(Request::new(request)).await.map(|_| ());
    assert_eq!(invalid(refused), "filter.regex");
}

#[tokio::test]
async fn a_tail_that_is_too_far_behind_is_told_what_it_can_ask_for() {
    let (_directory, api) = api().await;
    write(&api, vec![entry("a"); 5]).await.expect("written");
    let request = proto::TailRequest {
        after_sequence: Some(2),
        lag_max: 2,
        ..Default::default()
    };
    let mut tail = api.tail(Request::new(request)).await.expect("a stream").into_inner();
    assert_eq!(tail.next().await.expect("a part").expect("no error").sequence, 2);
    let part = tail.next().await.expect("a part").expect("no error");
    let dropped = proto::Dropped {
        count: 3,
        first_sequence: 3,
        last_sequence: 5,
    };
    assert_eq!((part.dropped, part.sequence, part.entries.len()), (Some(dropped), 5, 0));
}

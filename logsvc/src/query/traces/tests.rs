use std::collections::BTreeMap;

use homeroom::proto::log::v1 as proto;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    config::StoreSettings,
    query::tests::world::{self, append, is_listed, parsed, small_segments},
};

/// An entry of one of so many traces.
fn traced(traces: u8) -> impl Strategy<Value = proto::Entry> {
    (world::entry(), 1..=traces).prop_map(|(entry, trace)| proto::Entry {
        trace_id: format!("{trace:032x}"),
        ..entry
    })
}

prop_compose! {
    fn request()(
        services in prop_oneof![3 => Just(Vec::new()), 1 => Just(vec!["a".to_owned(), String::new()])],
        name in prop_oneof![4 => Just(String::new()), 1 => Just("n".to_owned())],
        min_seconds in option::weighted(0.3, 0_i64..9),
        errors_only in proptest::bool::weighted(0.3),
        start in option::weighted(0.2, 0_i64..9),
    ) -> proto::ListTracesRequest {
        proto::ListTracesRequest {
            services,
            name,
            min_duration: min_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            errors_only,
            start_time: start.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        }
    }
}

/// The traces of some entries, each where its last span is that matches, the last first.
fn expected(request: &proto::ListTracesRequest, entries: &[proto::Entry]) -> Vec<String> {
    let numbered = (1_u64..).zip(entries).filter(|(_, entry)| is_listed(request, entry));
    let last: BTreeMap<_, _> = numbered.map(|(n, entry)| (&entry.trace_id, n)).collect();
    let mut traces: Vec<_> = last.into_iter().collect();
    traces.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    traces.into_iter().map(|(id, _)| id.clone()).collect()
}

fn summary_of(id: &str, entries: &[proto::Entry]) -> Option<Summary> {
    let of_trace = (1_u64..).zip(entries).filter(|(_, entry)| entry.trace_id == id);
    let entries: Vec<_> = of_trace
        .map(|(sequence, entry)| Entry {
            sequence,
            ..parsed(entry)
        })
        .collect();
    Summary::new(TraceId::parse("trace_id", id).expect("a valid id"), &entries)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_trace_is_on_one_page_though_its_spans_are_anywhere_and_more_of_them_come(
        batches in vec(vec(traced(9), 1..15), 1..6),
        later in vec(vec(traced(12), 1..4), 0..9),
        request in request(),
        size in 1_usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let store = small_segments(&directory);
            for batch in &batches {
                append(&store, batch).await;
            }
            let expected = expected(&request, &batches.concat());
            let filter = Filter::try_from(request).expect("a valid request");
            let (mut all, mut cursor, mut later) = (Vec::new(), None, later.iter());
            let mut written = batches.concat();
            loop {
                let page = list(&store, filter.clone(), size, cursor).await.expect("readable");
                assert!(page.traces.len() <= size);
                for trace in page.traces {
                    let id = trace.trace_id.to_string();
                    assert_eq!(Some(trace), summary_of(&id, &written));
                    all.push(id);
                }
                let Some(next) = page.next else { break };
                assert_eq!(next.to_string().parse(), Ok(next), "it survives the token");
                cursor = Some(next);
                if let Some(batch) = later.next() {
                    append(&store, batch).await;
                    written.extend_from_slice(batch);
                }
            }
            assert_eq!(all, expected);
        });
    }
}

#[tokio::test]
async fn a_page_meets_only_so_many_traces_of_earlier_pages_and_goes_on_with_the_next() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(Store::open(directory.path(), &StoreSettings::default()).expect("an open store"));
    let span = |n: usize| proto::Entry {
        message: "m".to_owned(),
        trace_id: format!("{:032x}", n + 1),
        span_id: "a".repeat(16),
        span: Some(proto::Span::default()),
        ..Default::default()
    };
    // All traces but the first one come twice.
    let spans: Vec<_> = (0..KNOWN_MAX + 3).map(span).collect();
    append(&store, &spans).await;
    append(&store, &spans[1..]).await;
    let (mut cursor, mut sizes) = (None, Vec::new());
    loop {
        let filter = Filter::try_from(proto::ListTracesRequest::default()).expect("a valid request");
        let page = list(&store, filter, KNOWN_MAX + 1, cursor).await.expect("readable");
        sizes.push(page.traces.len());
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [KNOWN_MAX + 1, 1, 1]);
}

#[test]
fn what_is_not_valid_is_named() {
    let request = proto::ListTracesRequest::default;
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let rows = [
        (
            proto::ListTracesRequest {
                services: vec!["x".repeat(254)],
                ..request()
            },
            "services[0]",
        ),
        (
            proto::ListTracesRequest {
                services: vec![String::new(); 101],
                ..request()
            },
            "services",
        ),
        (
            proto::ListTracesRequest {
                name: "x".repeat(1024 * 1024 + 1),
                ..request()
            },
            "name",
        ),
        (
            proto::ListTracesRequest {
                min_duration: duration(0, -1),
                ..request()
            },
            "min_duration",
        ),
        (
            proto::ListTracesRequest {
                min_duration: duration(i64::MAX, 0),
                ..request()
            },
            "min_duration",
        ),
        (
            proto::ListTracesRequest {
                start_time: time(i64::MAX),
                ..request()
            },
            "start_time",
        ),
        (
            proto::ListTracesRequest {
                end_time: time(i64::MIN),
                ..request()
            },
            "end_time",
        ),
        (
            proto::ListTracesRequest {
                start_time: time(2),
                end_time: time(1),
                ..request()
            },
            "end_time",
        ),
    ];
    for (message, field) in rows {
        assert_eq!(Filter::try_from(message).expect_err("not valid").field, field);
    }
}

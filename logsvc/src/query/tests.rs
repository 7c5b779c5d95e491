pub(crate) mod world;

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use proptest::{collection::vec, prelude::*};
use prost::Message;

use self::world::{append, delete_oldest, is_meant, parsed, small_segments};
use super::{
    filter::{ATTRIBUTES_MAX, SERVICES_MAX},
    scan::STEP_BLOCKS,
    *,
};
use crate::{
    config::StoreSettings,
    entry::{self, Encoded, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX, encode, number, parse, tests::entry},
    native::tests::batch_of,
    store::{Durability, Fate, Store, sealed_directory},
};

fn time(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// An entry of a small world, so that filters find some of them.
fn sample(n: u64) -> Entry {
    let message = proto::Entry {
        time: Some(time(i64::try_from(n / 3 * 2 + n % 3).expect("a small number"))),
        severity: i32::try_from(n % 6).expect("a small number") + 1,
        service: ["", "a", "b"][usize::try_from(n % 3).expect("below 3")].to_owned(),
        instance: ["x", "y"][usize::try_from(n % 2).expect("below 2")].to_owned(),
        message: format!("message {} of {n}", n % 7),
        trace_id: match n % 5 {
            0 => String::new(),
            id => id.to_string().repeat(32),
        },
        ..Default::default()
    };
    parsed(&message)
}

async fn store(entries: &[Entry]) -> (tempfile::TempDir, Arc<Store>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(directory.path(), &StoreSettings::default()).expect("an open store");
    for entries in entries.chunks(entry::ENTRIES_MAX) {
        let written = store
            .append(batch_of(entries), Durability::Written, &Fate::default())
            .await;
        written.expect("queued").wait().await.expect("written");
    }
    (directory, Arc::new(store))
}

async fn page(
    store: &Arc<Store>,
    filter: &Arc<Filter>,
    order: Order,
    limit: Limit,
    after: Option<u64>,
) -> Found<Encoded> {
    let visible = *store.visible().borrow();
    let scan = Scan::new(filter.clone(), order, limit, after, visible);
    scan.finish(store).await.expect("readable")
}

/// All pages, joined.
async fn pages(store: &Arc<Store>, filter: &Arc<Filter>, order: Order, limit: Limit) -> Vec<u64> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let found = page(store, filter, order, limit, after).await;
        assert!(found.entries.len() <= limit.entries);
        assert!(
            !found.entries.is_empty() || !found.more,
            "there is no empty page before the last"
        );
        all.extend(found.entries.iter().map(|entry| entry.sequence));
        if !found.more {
            return all;
        }
        after = Some(found.after);
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn filters() -> Vec<proto::Filter> {
    let filter = proto::Filter::default;
    vec![
        filter(),
        proto::Filter {
            start_time: Some(time(1500)),
            ..filter()
        },
        proto::Filter {
            end_time: Some(time(1500)),
            ..filter()
        },
        proto::Filter {
            start_time: Some(time(700)),
            end_time: Some(time(1900)),
            ..filter()
        },
        proto::Filter {
            start_time: Some(time(7)),
            end_time: Some(time(7)),
            ..filter()
        },
        proto::Filter {
            services: names(&["a"]),
            ..filter()
        },
        proto::Filter {
            services: names(&["none"]),
            ..filter()
        },
        proto::Filter {
            services: names(&["b", "none", "a", "b"]),
            ..filter()
        },
        proto::Filter {
            services: names(&[""]),
            ..filter()
        },
        proto::Filter {
            instance: "y".to_owned(),
            ..filter()
        },
        proto::Filter {
            min_severity: proto::Severity::Error.into(),
            ..filter()
        },
        proto::Filter {
            text: "e 3 of".to_owned(),
            ..filter()
        },
        proto::Filter {
            trace_id: "3".repeat(32),
            ..filter()
        },
        proto::Filter {
            trace_id: "9".repeat(32),
            ..filter()
        },
        proto::Filter {
            services: names(&["b"]),
            instance: "x".to_owned(),
            text: "5".to_owned(),
            ..filter()
        },
    ]
}

#[tokio::test]
async fn each_filter_finds_in_both_orders_what_a_look_at_every_entry_does() {
    let entries: Vec<_> = (1..=3000).map(sample).collect();
    let (_directory, store) = store(&entries).await;
    for message in filters() {
        let filter = Arc::new(Filter::try_from(message).expect("a valid filter"));
        let mut expected: Vec<u64> = (1..)
            .zip(&entries)
            .filter_map(|(n, entry)| filter.matches(entry).then_some(n))
            .collect();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            for size in [97, 1000] {
                let limit = Limit {
                    entries: size,
                    ..Limit::PAGE
                };
                assert_eq!(
                    pages(&store, &filter, order, limit).await,
                    expected,
                    "{filter:?} {order:?}"
                );
            }
            expected.reverse();
        }
    }
}

#[tokio::test]
async fn a_page_ends_at_its_bytes_but_has_an_entry() {
    let (_directory, store) = store(&vec![entry(&"x".repeat(1000)); 10]).await;
    let filter = Arc::new(Filter::default());
    for size_bytes in [1, 2500] {
        let limit = Limit {
            entries: 1000,
            size_bytes,
            ..Limit::PAGE
        };
        let found = Scan::<Encoded>::new(filter.clone(), Order::NewestFirst, limit, None, 10);
        let found = found.finish(&store).await.expect("readable");
        assert_eq!((found.entries.len(), found.more), (1 + size_bytes / 2500, true));
        assert_eq!(
            pages(&store, &filter, Order::OldestFirst, limit).await,
            (1..=10).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_scan_goes_through_more_blocks_than_a_step_has() {
    let blocks = STEP_BLOCKS + 2;
    let mut entries = vec![entry(&"x".repeat(300 * 1024)); blocks];
    entries[blocks - 1].message = "needle".to_owned();
    let (_directory, store) = store(&entries).await;
    let message = proto::Filter {
        text: "needle".to_owned(),
        ..Default::default()
    };
    let filter = Arc::new(Filter::try_from(message).expect("a valid filter"));
    let found = pages(&store, &filter, Order::OldestFirst, Limit::PAGE).await;
    assert_eq!(found, [blocks as u64]);
    let scan = Scan::<Encoded>::new(filter, Order::OldestFirst, Limit::PAGE, None, blocks as u64);
    let found = scan.step(&store).await.expect("readable").found();
    assert_eq!((found.after, found.more), (STEP_BLOCKS as u64, false));
}

#[tokio::test]
async fn nothing_beyond_what_was_visible_is_found() {
    let (_directory, store) = store(&(1..=10).map(sample).collect::<Vec<_>>()).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let scan = Scan::<Encoded>::new(Arc::new(Filter::default()), order, Limit::PAGE, None, 6);
        let found = scan.finish(&store).await.expect("readable");
        assert_eq!((found.entries.len(), found.more), (6, false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_scan_waits_for_its_turn_while_as_many_read_as_may() {
    let (_directory, store) = store(&(1..=9).map(sample).collect::<Vec<_>>()).await;
    let mut turns = Vec::new();
    while let Some(turn) = store.turn().now_or_never() {
        turns.push(turn);
    }
    assert_eq!(turns.len(), 16);
    let filter = Arc::default();
    let mut scan = pin!(pages(&store, &filter, Order::OldestFirst, Limit::PAGE));
    // Time goes on by itself only while nothing is read.
    let waited = tokio::time::timeout(Duration::from_secs(1), &mut scan).await;
    assert!(waited.is_err(), "it read: {waited:?}");
    turns.pop();
    assert_eq!(scan.await, (1..=9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_pattern_is_not_looked_for_in_an_event_of_a_span() {
    let messages = ["of the span", "of the event"];
    let event = proto::SpanEvent {
        time: Some(time(5)),
        name: "an event".to_owned(),
        attributes: [("a", "b"), ("message", messages[1])]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    let span = proto::Entry {
        time: Some(time(5)),
        severity: 3,
        message: messages[0].to_owned(),
        trace_id: "a".repeat(32),
        span_id: "b".repeat(16),
        span: Some(proto::Span {
            end_time: Some(time(6)),
            kind: 1,
            events: vec![event],
            ..Default::default()
        }),
        ..Default::default()
    };
    let (_directory, store) = store(&[parsed(&span)]).await;
    for (message, found) in messages.into_iter().zip([1, 0]) {
        let filter = proto::Filter {
            regex: format!("^(?:{message})$"),
            kind: proto::EntryKind::Any.into(),
            ..Default::default()
        };
        let filter = Arc::new(Filter::try_from(filter).expect("a valid filter"));
        let page = page(&store, &filter, Order::OldestFirst, Limit::PAGE, None).await;
        assert_eq!(page.entries.len(), found, "{message}");
    }
}

#[test]
fn as_many_services_as_allowed_make_one_filter_in_any_order() {
    let filter = |services: Vec<String>| {
        let message = proto::Filter {
            services,
            ..Default::default()
        };
        Filter::try_from(message).expect("a valid filter")
    };
    let services: Vec<_> = (0..SERVICES_MAX).map(|n| n.to_string()).collect();
    let reversed = services.iter().rev().cloned().collect();
    assert_eq!(format!("{:?}", filter(services)), format!("{:?}", filter(reversed)));
}

#[test]
fn each_service_of_a_filter_is_found_and_no_other() {
    let message = proto::Filter {
        services: names(&["a", ""]),
        ..Default::default()
    };
    let filter = Filter::try_from(message).expect("a valid filter");
    let found: Vec<_> = (0..6).filter(|n| filter.matches(&sample(*n))).collect();
    assert_eq!(found, [0, 1, 3, 4]);
}

#[test]
fn what_is_not_valid_is_named() {
    let filter = proto::Filter::default;
    let rows = [
        (
            proto::Filter {
                start_time: Some(time(2)),
                end_time: Some(time(1)),
                ..filter()
            },
            "end_time",
        ),
        (
            proto::Filter {
                start_time: Some(time(i64::MAX)),
                ..filter()
            },
            "start_time",
        ),
        (
            proto::Filter {
                end_time: Some(time(i64::MIN)),
                ..filter()
            },
            "end_time",
        ),
        (
            proto::Filter {
                services: vec!["x".repeat(NAME_BYTES_MAX), "x".repeat(NAME_BYTES_MAX + 1)],
                ..filter()
            },
            "services[1]",
        ),
        (
            proto::Filter {
                services: names(&["x"; SERVICES_MAX + 1]),
                ..filter()
            },
            "services",
        ),
        (
            proto::Filter {
                instance: "x".repeat(NAME_BYTES_MAX + 1),
                ..filter()
            },
            "instance",
        ),
        (
            proto::Filter {
                min_severity: 7,
                ..filter()
            },
            "min_severity",
        ),
        (
            proto::Filter {
                text: "x".repeat(MESSAGE_BYTES_MAX + 1),
                ..filter()
            },
            "text",
        ),
        (
            proto::Filter {
                trace_id: "A".repeat(32),
                ..filter()
            },
            "trace_id",
        ),
        (
            proto::Filter {
                trace_id: "0".repeat(32),
                ..filter()
            },
            "trace_id",
        ),
        (
            proto::Filter {
                regex: "(".to_owned(),
                ..filter()
            },
            "regex",
        ),
        (proto::Filter { kind: 4, ..filter() }, "kind"),
        (
            proto::Filter {
                attributes: (0..=ATTRIBUTES_MAX).map(|n| (n.to_string(), String::new())).collect(),
                ..filter()
            },
            "attributes",
        ),
        (
            proto::Filter {
                attributes: [(String::new(), String::new())].into(),
                ..filter()
            },
            "attributes",
        ),
        (
            proto::Filter {
                attributes: [("x".to_owned(), "x".repeat(VALUE_BYTES_MAX + 1))].into(),
                ..filter()
            },
            "attributes",
        ),
    ];
    for (message, field) in rows {
        assert_eq!(Filter::try_from(message).expect_err("not valid").field, field);
    }
    assert_eq!(Order::parse("order", 3).expect_err("not valid").field, "order");
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_filter_reads_of_lines_is_what_the_contract_means(
        messages in vec(world::entry(), 1..12),
        filters in vec(world::filter(), 1..12),
    ) {
        let mut text = Vec::new();
        let mut lines = Vec::new();
        for (sequence, message) in (1..).zip(&messages) {
            let (mut line, mut numbered) = (Vec::new(), Vec::new());
            encode(&parsed(message), &mut line);
            number(sequence, None, &line, &mut numbered);
            text.extend_from_slice(&numbered);
            lines.push(numbered);
        }
        for message in filters {
            let filter = Filter::try_from(message.clone()).expect("a valid filter");
            for (line, entry) in lines.iter().zip(&messages) {
                let is_meant = is_meant(&message, entry);
                let read = filter.read::<Entry>(line).map(|read| Entry { sequence: 0, ..read });
                prop_assert_eq!(read, is_meant.then(|| parsed(entry)));
                let passed_on = filter.read::<Encoded>(line).map(|read| proto::Entry::decode(read.message));
                let sent = is_meant.then(|| parse(line).expect("an entry").into());
                prop_assert_eq!(passed_on.transpose(), Ok(sent));
                prop_assert_eq!(filter.matches(&parsed(entry)), is_meant);
                prop_assert!(!is_meant || filter.may_be_in(&text));
            }
        }
    }

    #[test]
    fn what_is_meant_is_found_in_the_frames_of_a_sealed_segment(
        messages in vec(world::entry(), 1..30),
        filters in vec(world::filter(), 1..12),
    ) {
        block_on(async {
            let entries: Vec<_> = messages.iter().map(parsed).collect();
            let directory = sealed_directory(&entries);
            let store = Store::open(directory.path(), &StoreSettings::default());
            let store = Arc::new(store.expect("an open store"));
            for message in filters {
                let numbered = (1..).zip(&messages);
                let expected: Vec<u64> = numbered.filter_map(|(n, entry)| is_meant(&message, entry).then_some(n)).collect();
                let filter = Arc::new(Filter::try_from(message).expect("a valid filter"));
                assert_eq!(pages(&store, &filter, Order::OldestFirst, Limit::PAGE).await, expected, "{filter:?}");
            }
        });
    }

    #[test]
    fn pages_of_a_log_that_grows_are_those_of_a_list(
        batches in vec(vec(world::entry(), 1..20), 2..8),
        at_first in 1_usize..8,
        message in world::filter(),
        size in 1_usize..9,
    ) {
        block_on(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let store = small_segments(&directory);
            let (before, later) = batches.split_at(at_first.min(batches.len()));
            for batch in before {
                append(&store, batch).await;
            }
            let numbers = |batches: &[Vec<proto::Entry>]| -> Vec<u64> {
                let numbered = (1..).zip(batches.iter().flatten());
                numbered.filter_map(|(n, entry)| is_meant(&message, entry).then_some(n)).collect()
            };
            let filter = Arc::new(Filter::try_from(message.clone()).expect("a valid filter"));
            let limit = Limit { entries: size, ..Limit::PAGE };
            let mut newest = numbers(before);
            newest.reverse();
            assert_eq!(pages(&store, &filter, Order::NewestFirst, limit).await, newest);
            let mut later = later.iter();
            let (mut found, mut newest_found) = (Vec::new(), Vec::new());
            let (mut after, mut before) = (None, None);
            // A page of either order, then a batch, until there is nothing more of both.
            loop {
                let next = later.next();
                let page = page(&store, &filter, Order::OldestFirst, limit, after).await;
                let is_last = !page.more && next.is_none();
                after = Some(page.after);
                found.extend(page.entries.iter().map(|entry| entry.sequence));
                if before.is_none_or(|before| before > 1) {
                    let page = super::tests::page(&store, &filter, Order::NewestFirst, limit, before).await;
                    newest_found.extend(page.entries.iter().map(|entry| entry.sequence));
                    before = Some(if page.more { page.after } else { 1 });
                }
                if let Some(batch) = next {
                    append(&store, batch).await;
                }
                if is_last && before == Some(1) {
                    break;
                }
            }
            assert_eq!(found, numbers(&batches));
            assert_eq!(newest_found, newest);
        });
    }

    #[test]
    fn pages_end_at_their_bytes_and_lose_nothing(
        sizes in vec(1_usize..200_000, 1..9),
        (read_bytes, size_bytes) in (1_u64..900_000, 1_usize..500_000),
    ) {
        block_on(async {
            let entries: Vec<_> = sizes.iter().map(|size| entry(&"x".repeat(*size))).collect();
            let (_directory, store) = store(&entries).await;
            let limit = Limit { read_bytes, size_bytes, ..Limit::PAGE };
            let filter = Arc::new(Filter::default());
            for order in [Order::OldestFirst, Order::NewestFirst] {
                let (mut all, mut after) = (Vec::new(), None);
                loop {
                    let page = page(&store, &filter, order, limit, after).await;
                    after = Some(page.after);
                    all.extend(page.entries.iter().map(|entry| entry.sequence));
                    if !page.more {
                        break;
                    }
                }
                all.sort_unstable();
                assert!(all.into_iter().eq(1..=sizes.len() as u64));
            }
        });
    }
}

#[tokio::test]
async fn what_was_deleted_before_it_was_looked_through_is_told_to_who_asked_for_the_oldest() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = small_segments(&directory);
    for _ in 0..4 {
        append(
            &store,
            &vec![
                proto::Entry {
                    message: "m".to_owned(),
                    ..Default::default()
                };
                3
            ],
        )
        .await;
    }
    drop(store);
    delete_oldest(&directory, 2);
    let (store, filter) = (small_segments(&directory), Arc::new(Filter::default()));
    let oldest = page(&store, &filter, Order::OldestFirst, Limit::PAGE, Some(2)).await;
    assert_eq!(oldest.missed, Some(Missed { first: 3, last: 6 }));
    assert_eq!((oldest.entries.len(), oldest.after), (6, 12));
    let kept = page(&store, &filter, Order::OldestFirst, Limit::PAGE, Some(6)).await;
    assert_eq!((kept.entries.len(), kept.missed), (6, None));
    let newest = page(&store, &filter, Order::NewestFirst, Limit::PAGE, None).await;
    assert_eq!((newest.entries.len(), newest.missed, newest.more), (6, None, false));
}

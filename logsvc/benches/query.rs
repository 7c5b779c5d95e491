//! What it costs to find entries, without a server: `cargo bench -p logsvc --bench query`.
//!
//! The question of each: how many entries of 180 bytes (lines of about 350) does one core look through in a second? The
//! log is as large as a few segments, all of them sealed but the last one, in the page cache, and none of it has what is
//! looked for, unless a name says so.

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use homeroom::proto::log::v1 as proto;
use logsvc::{
    config::StoreSettings,
    entry::{ENTRIES_MAX, Encoded, Time},
    native,
    query::{Cursor, Filter, Limit, Order, Scan, list},
    store::{Durability, Fate, Store},
};
use prost::Message;
use tokio::runtime::Runtime;

/// How many entries there are: about 350 MB of text.
const ENTRIES: usize = 1_000_000;
/// How many entries a trace has, every fifth of them a span.
const PER_TRACE: usize = 10;

struct Log {
    runtime: Runtime,
    store: Arc<Store>,
    _directory: tempfile::TempDir,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = runtime.block_on(write(directory.path()));
    Log {
        runtime,
        store: Arc::new(store),
        _directory: directory,
    }
});

fn main() {
    divan::main();
}

async fn write(directory: &Path) -> Store {
    let store = Store::open(directory, &StoreSettings::default()).expect("an open log");
    for first in (0..ENTRIES).step_by(ENTRIES_MAX) {
        let entries: Vec<_> = (first..first + ENTRIES_MAX).map(entry).collect();
        let batch = native::batch(&entries, Time::MIN).expect("valid entries");
        let fate = Fate::default();
        let written = store.append(batch, Durability::Written, &fate);
        written.await.expect("queued").wait().await.expect("written");
    }
    while plain_segments(directory) > 1 {
        thread::sleep(Duration::from_millis(50));
    }
    store
}

/// How many segments are not sealed.
fn plain_segments(directory: &Path) -> usize {
    let files = fs::read_dir(directory).expect("a directory");
    let paths = files.map(|file| file.expect("a file").path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .count()
}

/// The trace of an entry.
fn trace_id(n: usize) -> String {
    format!("{:032x}", (n / PER_TRACE) as u128 * 0x9e37_79b9_7f4a_7c15 + 1)
}

/// An entry, as it is on the wire.
fn entry(n: usize) -> Bytes {
    let seconds = 1_750_000_000 + i64::try_from(n / 1000).expect("a small number");
    let message = proto::Entry {
        time: Some(prost_types::Timestamp {
            seconds,
            nanos: 123_456_000,
        }),
        severity: if n % 1000 == 7 { 5 } else { 3 },
        service: format!("service-{}", n % 10),
        instance: format!("instance-{:04}", n % 40),
        message: format!(
            "handled request {n} of customer {} in {} ms",
            n * 7919 % 100_000,
            n % 300
        ),
        attributes: [
            ("http.method".to_owned(), "GET".to_owned()),
            ("http.route".to_owned(), format!("/orders/{}", n % 1000)),
            ("peer".to_owned(), format!("10.0.{}.{}", n % 250, n % 7)),
        ]
        .into(),
        trace_id: trace_id(n),
        span_id: format!("{:016x}", n + 1),
        span: n.is_multiple_of(5).then(proto::Span::default),
        ..Default::default()
    };
    message.encode_to_vec().into()
}

/// Goes through the log by a filter; returns how many entries were found.
fn scan(message: proto::Filter, order: Order, limit: Limit) -> usize {
    let log = &*LOG;
    let filter = Arc::new(Filter::try_from(message).expect("a valid filter"));
    let visible = *log.store.visible().borrow();
    let scan = Scan::<Encoded>::new(filter, order, limit, None, visible);
    let found = log.runtime.block_on(scan.finish(&log.store)).expect("readable");
    found.entries.len()
}

/// What all entries are looked through for.
struct Case {
    name: &'static str,
    filter: fn() -> proto::Filter,
    found: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

const CASES: [Case; 8] = [
    Case {
        name: "a_text",
        filter: || text("connection refused"),
        found: 0,
    },
    Case {
        name: "a_text_in_every_block_but_no_message",
        filter: || text("/orders/7"),
        found: 0,
    },
    Case {
        name: "a_text_in_a_hundred_entries",
        filter: || proto::Filter {
            min_severity: 5,
            ..text("of customer 99")
        },
        found: 10,
    },
    Case {
        name: "a_regex_with_a_literal",
        filter: || regex("connection (refused|reset)"),
        found: 0,
    },
    Case {
        name: "a_regex_without_a_literal",
        filter: || regex("timeout|refused|reset"),
        found: 0,
    },
    Case {
        name: "a_regex_that_any_message_may_match",
        filter: || regex(r"\d:\d"),
        found: 0,
    },
    Case {
        name: "an_attribute",
        filter: || proto::Filter {
            attributes: [("peer".to_owned(), "10.0.1.9".to_owned())].into(),
            ..Default::default()
        },
        found: 0,
    },
    Case {
        name: "a_severity",
        filter: || proto::Filter {
            min_severity: 5,
            ..Default::default()
        },
        found: 1000,
    },
];

fn text(text: &str) -> proto::Filter {
    proto::Filter {
        text: text.to_owned(),
        ..Default::default()
    }
}

fn regex(regex: &str) -> proto::Filter {
    proto::Filter {
        regex: regex.to_owned(),
        ..Default::default()
    }
}

#[divan::bench(args = CASES)]
fn everything(bencher: Bencher<'_, '_>, case: &Case) {
    let limit = Limit {
        entries: 2000,
        ..Limit::PAGE
    };
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench(|| assert_eq!(scan((case.filter)(), Order::OldestFirst, limit), case.found));
}

#[divan::bench]
fn the_last_hundred_of_a_service(bencher: Bencher<'_, '_>) {
    let filter = proto::Filter {
        services: vec!["service-3".to_owned()],
        ..Default::default()
    };
    let limit = Limit {
        entries: 100,
        ..Limit::PAGE
    };
    bencher.bench(|| assert_eq!(scan(filter.clone(), Order::NewestFirst, limit), 100));
}

#[divan::bench]
fn a_trace(bencher: Bencher<'_, '_>) {
    let filter = proto::Filter {
        trace_id: trace_id(ENTRIES / 2),
        kind: proto::EntryKind::Any.into(),
        ..Default::default()
    };
    bencher.bench(|| assert_eq!(scan(filter.clone(), Order::OldestFirst, Limit::TRACE), PER_TRACE));
}

/// Lists a page of traces.
fn traces(request: &proto::ListTracesRequest, next: Option<Cursor>, found: usize) -> Option<Cursor> {
    let log = &*LOG;
    let filter = Filter::try_from(request.clone()).expect("a valid request");
    let page = log.runtime.block_on(list(&log.store, filter, 100, next));
    let page = page.expect("readable");
    assert_eq!(page.traces.len(), found);
    page.next
}

/// The first page of a hundred traces, or the one after it.
#[divan::bench(args = [1, 2])]
fn a_page_of_traces(bencher: Bencher<'_, '_>, pages: usize) {
    let request = proto::ListTracesRequest::default();
    bencher.bench(|| (0..pages).fold(None, |next, _| traces(&request, next, 100)));
}

/// Traces with a span of a second: all spans are read, and none is found.
#[divan::bench]
fn traces_that_took_a_second(bencher: Bencher<'_, '_>) {
    let min_duration = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let request = proto::ListTracesRequest {
        min_duration,
        ..Default::default()
    };
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench(|| traces(&request, None, 0));
}

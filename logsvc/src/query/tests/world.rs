//! A small world of entries and filters, in which much is found, and how to find it by looking at each entry.

use std::sync::Arc;

use homeroom::proto::log::v1::{self as proto, EntryKind, Severity, SpanStatus};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    config::StoreSettings,
    entry::{Entry, Time},
    native,
    store::{Durability, Fate, Store},
};

/// Texts that are parts of each other, also in the form that they have in lines.
const TEXTS: [&str; 14] = [
    "n",
    "\n",
    "\\n",
    "\\",
    "\"",
    "a\"b",
    "u001b",
    "\u{1b}[31m",
    "\u{202e}",
    "\u{feff}é",
    "message",
    "\":\"",
    "{\"seq\":1,",
    "ab",
];
const NAMES: [&str; 4] = ["", "a", "b", "a\"\\\n"];
const PATTERNS: [&str; 8] = [
    "n$",
    r"\\",
    "(?i)A",
    "a.*b|u001b",
    "^.{2}$",
    r"\x1b\[",
    r"(?i)(message)+(a|\\)",
    "b.?message|u[0-9]{3}b",
];

fn text() -> impl Strategy<Value = String> {
    vec(select(&TEXTS[..]), 1..4).prop_map(|parts| parts.concat())
}

fn pairs() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    let key = select(&NAMES[1..]).prop_map(str::to_owned);
    proptest::collection::btree_map(key, select(&TEXTS[..]).prop_map(str::to_owned), 0..3)
}

fn name() -> impl Strategy<Value = String> {
    select(&NAMES[..]).prop_map(str::to_owned)
}

fn time() -> impl Strategy<Value = prost_types::Timestamp> {
    (0_i64..9).prop_map(|seconds| prost_types::Timestamp { seconds, nanos: 0 })
}

/// None, or one of three.
fn trace_id() -> impl Strategy<Value = String> {
    select(&["", "a", "b", "c"][..]).prop_map(|digit| digit.repeat(32))
}

prop_compose! {
    fn span()(seconds in 0_i64..9, status in 0..3, parent in option::of("[a-c]{1}")) -> proto::Span {
        proto::Span {
            parent_span_id: parent.map(|digit| digit.repeat(16)).unwrap_or_default(),
            // Put right by who knows when it started.
            end_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            status,
            ..Default::default()
        }
    }
}

prop_compose! {
    pub(crate) fn entry()(
        (time, severity) in (time(), 1..7),
        (service, instance, message) in (name(), name(), text()),
        (attributes, resource) in (pairs(), pairs()),
        (trace_id, span_id, span) in (trace_id(), "[a-c]{1}", option::of(span())),
    ) -> proto::Entry {
        let span = span.filter(|_| !trace_id.is_empty()).map(|mut span| {
            span.end_time.as_mut().expect("it is given").seconds += time.seconds;
            span
        });
        proto::Entry {
            time: Some(time),
            severity,
            service,
            instance,
            message,
            attributes,
            resource,
            trace_id,
            span_id: span_id.repeat(16),
            span,
            ..Default::default()
        }
    }
}

prop_compose! {
    pub(crate) fn filter()(
        times in option::weighted(0.3, (0_i64..9, 0_i64..9)),
        services in prop_oneof![Just(Vec::new()), vec(name(), 1..3)],
        instance in prop_oneof![3 => Just(String::new()), 1 => name()],
        min_severity in prop_oneof![2 => Just(0), 1 => 1..7],
        text in prop_oneof![3 => Just(String::new()), 1 => select(&TEXTS[..]).prop_map(str::to_owned)],
        regex in prop_oneof![3 => Just(String::new()), 1 => select(&PATTERNS[..]).prop_map(str::to_owned)],
        trace_id in prop_oneof![3 => Just(String::new()), 1 => trace_id()],
        attributes in prop_oneof![3 => Just(Default::default()), 1 => pairs()],
        kind in 0..4,
    ) -> proto::Filter {
        let time = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        proto::Filter {
            start_time: times.map(|(start, _)| time(start)),
            end_time: times.map(|(start, length)| time(start + length)),
            services,
            instance,
            min_severity,
            text,
            regex,
            trace_id,
            attributes,
            kind,
        }
    }
}

pub(crate) fn parsed(message: &proto::Entry) -> Entry {
    native::tests::parsed(message.clone(), Time::MIN).expect("a valid entry")
}

/// Whether the contract has a filter find an entry.
pub(crate) fn is_meant(filter: &proto::Filter, entry: &proto::Entry) -> bool {
    let seconds = |time: &Option<prost_types::Timestamp>| time.map(|time| time.seconds);
    let at = seconds(&entry.time);
    let has = |key: &String, value: &String| {
        entry.attributes.get(key) == Some(value) || entry.resource.get(key) == Some(value)
    };
    (filter.start_time.is_none() || at >= seconds(&filter.start_time))
        && (filter.end_time.is_none() || at < seconds(&filter.end_time))
        && (filter.services.is_empty() || filter.services.contains(&entry.service))
        && (filter.instance.is_empty() || entry.instance == filter.instance)
        && entry.severity >= filter.min_severity.max(Severity::Unspecified.into())
        && entry.message.contains(&filter.text)
        && regex::Regex::new(&filter.regex)
            .expect("a pattern")
            .is_match(&entry.message)
        && (filter.trace_id.is_empty() || entry.trace_id == filter.trace_id)
        && filter.attributes.iter().all(|(key, value)| has(key, value))
        && match filter.kind() {
            EntryKind::Unspecified | EntryKind::Log => entry.span.is_none(),
            EntryKind::Span => entry.span.is_some(),
            EntryKind::Any => true,
        }
}

/// Whether the contract has a request list the trace of an entry for its sake.
pub(crate) fn is_listed(request: &proto::ListTracesRequest, entry: &proto::Entry) -> bool {
    let filter = proto::Filter {
        start_time: request.start_time,
        end_time: request.end_time,
        services: request.services.clone(),
        kind: EntryKind::Span.into(),
        ..Default::default()
    };
    let Some(span) = &entry.span else { return false };
    let seconds = |time: Option<prost_types::Timestamp>| time.expect("it is given").seconds;
    let length = seconds(span.end_time) - seconds(entry.time);
    is_meant(&filter, entry)
        && (request.name.is_empty() || entry.message == request.name)
        && request.min_duration.is_none_or(|min| length >= min.seconds)
        && (!request.errors_only || span.status() == SpanStatus::Error)
}

/// Opens a log whose segments end with every batch that is written, and are sealed meanwhile.
pub(crate) fn small_segments(directory: &tempfile::TempDir) -> Arc<Store> {
    small_segments_up_to(directory, 0)
}

/// As [`small_segments`], but with no more bytes than these; 0 for no limit.
pub(crate) fn small_segments_up_to(directory: &tempfile::TempDir, retention_size_bytes: u64) -> Arc<Store> {
    let settings = StoreSettings {
        segment_size_bytes: 1,
        retention_size_bytes,
        retention_free_bytes: 0,
        ..Default::default()
    };
    Arc::new(Store::open(directory.path(), &settings).expect("an open store"))
}

pub(crate) async fn append(store: &Store, entries: &[proto::Entry]) {
    let entries: Vec<_> = entries.iter().map(parsed).collect();
    let fate = Fate::default();
    let batch = store.append(native::tests::batch_of(&entries), Durability::Written, &fate);
    batch.await.expect("queued").wait().await.expect("written");
}

/// Deletes the oldest segments of a log that is closed, but for the last one.
pub(crate) fn delete_oldest(directory: &tempfile::TempDir, count: usize) {
    let names = std::fs::read_dir(directory.path()).expect("a directory");
    let names = names.map(|name| name.expect("a name").file_name().into_string().expect("text"));
    let first_of = |name: &String| name.strip_prefix("log-")?.get(..20)?.parse::<u64>().ok();
    let files: Vec<_> = names.filter_map(|name| Some((first_of(&name)?, name))).collect();
    // A segment has several files once it is sealed.
    let segments: std::collections::BTreeSet<_> = files.iter().map(|(first, _)| *first).collect();
    let others = segments.len().saturating_sub(1);
    for segment in segments.into_iter().take(others.min(count)) {
        for (_, name) in files.iter().filter(|(first, _)| *first == segment) {
            std::fs::remove_file(directory.path().join(name)).expect("it is there");
        }
    }
}

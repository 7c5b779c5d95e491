use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::native::tests::parsed;

fn id(n: u8) -> String {
    format!("{n:016x}")
}

fn span_id(n: u8) -> SpanId {
    SpanId::parse("span_id", id(n)).expect("a valid id")
}

fn trace_id() -> TraceId {
    TraceId::parse("trace_id", "a".repeat(32)).expect("a valid id")
}

fn time(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn entry(sequence: u64, message: proto::Entry) -> Entry {
    let entry = parsed(message, Time::MIN).expect("a valid entry");
    Entry { sequence, ..entry }
}

/// A span of a number, with the number of its parent: 0 for none.
fn span(sequence: u64, number: u8, parent: u8, seconds: i64) -> Entry {
    let span = proto::Span {
        parent_span_id: if parent == 0 { String::new() } else { id(parent) },
        end_time: Some(time(seconds + 10)),
        ..Default::default()
    };
    let message = proto::Entry {
        time: Some(time(seconds)),
        service: format!("service-{number}"),
        message: format!("span {number}"),
        trace_id: "a".repeat(32),
        span_id: id(number),
        span: Some(span),
        ..Default::default()
    };
    entry(sequence, message)
}

/// A log record of a span: 0 for none.
fn record(sequence: u64, number: u8, seconds: i64) -> Entry {
    let message = proto::Entry {
        time: Some(time(seconds)),
        message: "m".to_owned(),
        trace_id: "a".repeat(32),
        span_id: if number == 0 { String::new() } else { id(number) },
        ..Default::default()
    };
    entry(sequence, message)
}

/// The sequence, the depth and whether it is an orphan of each span.
fn shape(trace: &Trace) -> Vec<(u64, u32, bool)> {
    let spans = trace.spans.iter();
    spans
        .map(|span| (span.entry.sequence, span.depth, span.is_orphan))
        .collect()
}

#[test]
fn spans_come_after_their_parents_with_all_that_they_caused() {
    let trace = Trace::assemble(vec![
        span(1, 4, 2, 25),
        span(2, 3, 1, 20),
        span(3, 2, 1, 10),
        span(4, 1, 0, 0),
        span(5, 5, 2, 15),
    ]);
    let expected = [
        (4, 0, false),
        (3, 1, false),
        (5, 2, false),
        (1, 2, false),
        (2, 1, false),
    ];
    assert_eq!((shape(&trace), trace.missing), (expected.to_vec(), BTreeSet::new()));
}

#[test]
fn what_is_named_and_not_there_is_missing() {
    let trace = Trace::assemble(vec![
        span(1, 2, 1, 10),
        span(2, 3, 2, 20),
        record(3, 2, 12),
        record(4, 9, 11),
        record(5, 0, 11),
    ]);
    assert_eq!(shape(&trace), [(1, 0, true), (2, 1, false)]);
    assert_eq!(trace.missing, [span_id(1), span_id(9)].into());
    let records: Vec<_> = trace.records.iter().map(|record| record.sequence).collect();
    assert_eq!(records, [4, 5, 3], "in order of time, then as written");
}

#[test]
fn a_circle_starts_with_its_earliest_span() {
    // 1 is caused by 3, 3 by 2, 2 by 1; 4 hangs on it, and 5 is its own parent.
    let trace = Trace::assemble(vec![
        span(1, 4, 2, 0),
        span(2, 1, 3, 30),
        span(3, 2, 1, 10),
        span(4, 3, 2, 20),
        span(5, 5, 5, 5),
    ]);
    let expected = [
        (3, 0, false),
        (1, 1, false),
        (4, 1, false),
        (2, 2, false),
        (5, 0, false),
    ];
    assert_eq!((shape(&trace), trace.missing), (expected.to_vec(), BTreeSet::new()));
}

#[test]
fn of_spans_with_one_id_the_first_has_the_children() {
    let trace = Trace::assemble(vec![
        span(1, 1, 0, 5),
        span(2, 1, 0, 0),
        span(3, 2, 1, 7),
        span(4, 2, 1, 7),
    ]);
    assert_eq!(
        shape(&trace),
        [(2, 0, false), (3, 1, false), (4, 1, false), (1, 0, false)]
    );
}

#[test]
fn many_circles_and_long_chains_take_no_time_to_speak_of_and_no_stack() {
    let numbered = |n: u64, parent: u64| {
        let mut span = span(n, 1, 2, 0);
        span.span_id = Some(SpanId::parse("span_id", format!("{n:016x}")).expect("a valid id"));
        let parts = span.span.as_mut().expect("a span");
        parts.parent_span_id = Some(SpanId::parse("span_id", format!("{parent:016x}")).expect("a valid id"));
        span
    };
    let chain = Trace::assemble((1..=10_000).map(|n| numbered(n, n + 1)).collect());
    assert_eq!(chain.spans.last().map(|span| span.depth), Some(9_999));
    let circles = Trace::assemble((1..=10_000).map(|n| numbered(n, ((n - 1) ^ 1) + 1)).collect());
    assert_eq!(circles.spans.len(), 10_000);
    let circle = Trace::assemble((1..=10_000).map(|n| numbered(n, n % 10_000 + 1)).collect());
    assert_eq!(circle.spans.last().map(|span| span.depth), Some(9_999));
}

#[test]
fn a_summary_is_of_the_span_without_a_parent_or_else_the_earliest() {
    let mut failed = span(3, 3, 2, 20);
    failed.span.as_mut().expect("a span").status = SpanStatus::Error;
    failed.service = String::new();
    let mut entries = vec![span(1, 2, 1, 0), record(2, 2, 90), failed];
    let summary = Summary::new(trace_id(), &entries).expect("it has spans");
    assert_eq!(
        (summary.name.as_str(), summary.service.as_str()),
        ("span 2", "service-2")
    );
    assert_eq!((summary.spans, summary.errors), (2, 1));
    assert_eq!(
        (summary.start, summary.duration),
        (entries[0].time, Duration::from_secs(30))
    );
    assert_eq!(summary.services, ["service-2".to_owned()].into());
    entries.push(span(4, 1, 0, 1));
    let summary = Summary::new(trace_id(), &entries).expect("it has spans");
    assert_eq!((summary.name.as_str(), summary.spans), ("span 1", 3));
    assert_eq!(Summary::new(trace_id(), &[record(1, 1, 0)]), None);
}

prop_compose! {
    /// Any tangle: few numbers, so that ids are there twice, parents are missing, and circles are frequent.
    fn tangles()(
        spans in proptest::collection::vec((1_u8..8, 0_u8..8, 0_i64..6), 0..14),
        records in proptest::collection::vec((0_u8..9, 0_i64..6), 0..5),
    ) -> Vec<Entry> {
        let spans = spans.into_iter().map(|(number, parent, seconds)| span(0, number, parent, seconds));
        let records = records.into_iter().map(|(number, seconds)| record(0, number, seconds));
        let numbered = (1..).zip(spans.chain(records));
        numbered.map(|(sequence, entry)| Entry { sequence, ..entry }).collect()
    }
}

/// The ancestors of a span, by looking through all spans for each: nearest first, up to the first that comes again.
fn ancestors<'a>(of: &'a Entry, spans: &'a [Entry]) -> Vec<&'a Entry> {
    let first = |id: &SpanId| {
        let named = spans.iter().filter(|span| span.span_id.as_ref() == Some(id));
        named.min_by_key(|span| (span.time, span.sequence))
    };
    let mut ancestors: Vec<&Entry> = Vec::new();
    let mut at = of;
    while let Some(next) = parent(at).and_then(first)
        && !ancestors.contains(&next)
    {
        ancestors.push(next);
        at = next;
    }
    ancestors
}

proptest! {
    #[test]
    fn any_tangle_is_taken_apart_as_by_looking_at_each_span(entries in tangles()) {
        let trace = Trace::assemble(entries.clone());
        let (spans, records): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.span.is_some());
        let sorted = |mut entries: Vec<Entry>| {
            entries.sort_by_key(|entry| (entry.time, entry.sequence));
            entries
        };
        prop_assert_eq!(&trace.records, &sorted(records));
        let placed: Vec<_> = trace.spans.iter().map(|span| span.entry.clone()).collect();
        prop_assert_eq!(sorted(placed), sorted(spans.clone()), "each is there once");

        let place: HashMap<_, _> = (0..).zip(&trace.spans).map(|(at, span)| (span.entry.sequence, at)).collect();
        let there: BTreeSet<_> = spans.iter().filter_map(|span| span.span_id.clone()).collect();
        let mut children: BTreeMap<Option<u64>, Vec<&Entry>> = BTreeMap::new();
        for (at, span) in (0_usize..).zip(&trace.spans) {
            let named = parent(&span.entry);
            prop_assert_eq!(span.is_orphan, named.is_some_and(|id| !there.contains(id)));
            let ancestors = ancestors(&span.entry, &spans);
            let is_head = ancestors.contains(&&span.entry) && span.depth == 0;
            let circle = ancestors.iter().filter(|span| super::tests::ancestors(span, &spans).contains(span));
            if is_head {
                let earliest = circle.min_by_key(|span| (span.time, span.sequence));
                prop_assert_eq!(earliest.map(|span| span.sequence), Some(span.entry.sequence));
                continue;
            }
            children.entry(ancestors.first().map(|parent| parent.sequence)).or_default().push(&span.entry);
            // Its depth is the way up to the first that has no parent, or to the head of a circle.
            let heads = |span: &&Entry| trace.spans[place[&span.sequence]].depth == 0;
            let depth = ancestors.iter().position(heads).map_or(0, |at| at + 1);
            prop_assert_eq!(span.depth as usize, depth);
            if let Some(parent) = ancestors.first() {
                prop_assert!(place[&parent.sequence] < at, "a parent comes first");
            }
        }
        for siblings in children.values() {
            prop_assert!(siblings.is_sorted_by_key(|span| (span.time, span.sequence)));
        }
        let named = spans.iter().filter_map(parent).chain(trace.records.iter().filter_map(|record| record.span_id.as_ref()));
        let missing: BTreeSet<_> = named.filter(|id| !there.contains(*id)).cloned().collect();
        prop_assert_eq!(trace.missing, missing);
    }
}

use homeroom::proto::{
    log::v1 as proto,
    opentelemetry::proto::{
        common::v1::{KeyValue, any_value::Value},
        trace::v1::{Span as OtlpSpan, Status, span, status},
    },
};
use proptest::{collection::btree_map, prelude::*};

use super::{values::DROPPED_EVENTS, *};
use crate::{
    entry::{Attributes, Time, encode, severity_of, tests::entries},
    native::tests::parsed,
    otlp,
};

fn parse(message: proto::Entry) -> Entry {
    parsed(message, Time::MIN).expect("a valid entry")
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn read(pairs: &[KeyValue]) -> Vec<(String, String)> {
    let value = |pair: &KeyValue| match pair.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("not a text: {other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

fn message(text: &str) -> proto::Entry {
    proto::Entry {
        time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
        service: "shop".to_owned(),
        message: text.to_owned(),
        ..Default::default()
    }
}

#[test]
fn a_log_record_has_all_that_its_entry_has() {
    let entry = parse(proto::Entry {
        severity: proto::Severity::Error.into(),
        instance: "10.0.0.7:3002".to_owned(),
        attributes: attributes(&[("a", "1")]),
        resource: attributes(&[("host.name", "h"), ("service.name", "an older one")]),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        span_id: "b7ad6b7169203331".to_owned(),
        scope: Some(proto::Scope {
            name: "lib".to_owned(),
            version: "1".to_owned(),
            attributes: attributes(&[("b", "2")]),
        }),
        ..message("it\nbroke")
    });
    let request = logs(&[&entry]);
    let [of_resource] = &request.resource_logs[..] else {
        panic!("one resource: {request:?}")
    };
    let named = [
        ("service.name", "shop"),
        ("service.instance.id", "10.0.0.7:3002"),
        ("host.name", "h"),
    ];
    let resource = read(&of_resource.resource.as_ref().expect("a resource").attributes);
    assert_eq!(resource, named.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let scope = of_resource.scope_logs[0].scope.as_ref().expect("a scope");
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("lib", "1"));
    assert_eq!(read(&scope.attributes), [("b".to_owned(), "2".to_owned())]);
    let record = LogRecord {
        time_unix_nano: 1_000_000_002,
        severity_number: 17,
        severity_text: "ERROR".to_owned(),
        body: Some(text("it\nbroke")),
        attributes: vec![pair("a", "1")],
        trace_id: vec![
            0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c,
        ],
        span_id: vec![0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31],
        ..LogRecord::default()
    };
    assert_eq!(of_resource.scope_logs[0].log_records, [record]);
}

#[test]
fn a_span_has_all_that_its_entry_has() {
    let timestamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let entry = parse(proto::Entry {
        attributes: attributes(&[("a", "1")]),
        trace_id: "1".repeat(32),
        span_id: "2".repeat(16),
        span: Some(proto::Span {
            parent_span_id: "3".repeat(16),
            kind: proto::SpanKind::Client.into(),
            end_time: timestamp(5),
            status: proto::SpanStatus::Error.into(),
            status_message: "no".to_owned(),
            events: vec![proto::SpanEvent {
                time: timestamp(3),
                name: "sent".to_owned(),
                attributes: attributes(&[("e", "1")]),
            }],
            links: vec![proto::SpanLink {
                trace_id: "4".repeat(32),
                span_id: "5".repeat(16),
                attributes: attributes(&[("l", "1")]),
            }],
            trace_state: "v=1".to_owned(),
        }),
        ..message("Get")
    });
    let request = spans(&[&entry]);
    let span = OtlpSpan {
        trace_id: vec![0x11; 16],
        span_id: vec![0x22; 8],
        trace_state: "v=1".to_owned(),
        parent_span_id: vec![0x33; 8],
        name: "Get".to_owned(),
        kind: span::SpanKind::Client.into(),
        start_time_unix_nano: 1_000_000_002,
        end_time_unix_nano: 5_000_000_000,
        attributes: vec![pair("a", "1")],
        events: vec![span::Event {
            time_unix_nano: 3_000_000_000,
            name: "sent".to_owned(),
            attributes: vec![pair("e", "1")],
            ..span::Event::default()
        }],
        links: vec![span::Link {
            trace_id: vec![0x44; 16],
            span_id: vec![0x55; 8],
            attributes: vec![pair("l", "1")],
            ..span::Link::default()
        }],
        status: Some(Status {
            message: "no".to_owned(),
            code: status::StatusCode::Error.into(),
        }),
        ..OtlpSpan::default()
    };
    assert_eq!(request.resource_spans[0].scope_spans[0].spans, [span]);
}

#[test]
fn what_was_kept_as_an_attribute_gets_its_field_back() {
    let kept = attributes(&[
        ("otel.severity_text", "notice"),
        ("otel.event.name", "login"),
        ("otel.dropped_attributes_count", "3"),
        ("otel.dropped_events_count", "no number"),
        ("a", "1"),
    ]);
    let entry = parse(proto::Entry {
        attributes: kept,
        ..message("m")
    });
    let request = logs(&[&entry]);
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(
        (
            record.severity_text.as_str(),
            record.event_name.as_str(),
            record.dropped_attributes_count
        ),
        ("notice", "login", 3)
    );
    let rest = [("a", "1"), ("otel.dropped_events_count", "no number")];
    assert_eq!(
        read(&record.attributes),
        rest.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let mut pairs = pairs(&entry.attributes);
    assert_eq!(take_count(&mut pairs, DROPPED_EVENTS), 0);
    assert_eq!(pairs.len(), 5, "what is no number stays");
}

#[test]
fn what_has_the_same_resource_and_scope_is_together_in_its_order() {
    let of = |service: &str, scope: Option<&str>, text: &str| {
        parse(proto::Entry {
            service: service.to_owned(),
            scope: scope.map(|name| proto::Scope {
                name: name.to_owned(),
                ..Default::default()
            }),
            ..message(text)
        })
    };
    let entries = [
        of("a", None, "1"),
        of("b", None, "2"),
        of("a", Some("x"), "3"),
        of("a", None, "4"),
        of("b", None, "5"),
        of("a", Some("x"), "6"),
    ];
    let request = logs(&entries.iter().collect::<Vec<_>>());
    let bodies = |scope: &ScopeLogs| -> Vec<_> {
        let body = |record: &LogRecord| record.body.clone().expect("a body");
        scope.log_records.iter().map(body).collect()
    };
    let found: Vec<Vec<_>> = request
        .resource_logs
        .iter()
        .map(|logs| logs.scope_logs.iter().map(bodies).collect())
        .collect();
    let texts = |texts: &[&str]| texts.iter().map(|value| text(value)).collect::<Vec<_>>();
    assert_eq!(
        found,
        [vec![texts(&["1", "4"]), texts(&["3", "6"])], vec![texts(&["2", "5"])]]
    );
}

#[test]
fn a_time_that_cannot_be_written_is_the_nearest_that_can() {
    for (time, expected) in [
        (Time::MIN, 1),
        (Time::MAX, u64::MAX),
        (Time::from(std::time::SystemTime::UNIX_EPOCH), 1),
    ] {
        assert_eq!(nanos(time), expected);
    }
}

/// A time that OTLP can write.
fn writable(time: Time) -> Time {
    let time = prost_types::Timestamp::from(time);
    let seconds = time.seconds.rem_euclid(1 << 34);
    Time::parse(
        "time",
        prost_types::Timestamp {
            seconds,
            nanos: time.nanos.max(1),
        },
    )
    .expect("a time")
}

/// An entry without what OTLP cannot say: other times, the severity of a span, a scope without anything.
fn sayable(mut entry: Entry) -> Entry {
    entry.sequence = 1;
    entry.time = writable(entry.time);
    if let Some(span) = &mut entry.span {
        span.end_time = writable(span.end_time).max(entry.time);
        for event in &mut span.events {
            event.time = writable(event.time);
        }
        entry.severity = severity_of(Some(span));
    }
    entry.scope = entry.scope.filter(|scope| **scope != Scope::default());
    entry
}

proptest! {
    #[test]
    fn what_is_forwarded_to_another_log_is_the_same_there(entry in entries()) {
        let entry = sayable(entry);
        let converted = match entry.span {
            Some(_) => otlp::spans(&spans(&[&entry]).encode_to_vec(), Time::MIN),
            None => otlp::logs(&logs(&[&entry]).encode_to_vec(), Time::MIN),
        };
        let converted = converted.expect("a request");
        prop_assert_eq!(&converted.first_error, &None);
        prop_assert_eq!(otlp::tests::entries(&converted), [entry]);
    }

    #[test]
    fn a_message_is_less_than_twice_as_long_as_its_lines(
        message in ".{1,9}",
        resource in btree_map(".{1,3}", ".{0,3}", 0..60),
        attributes in btree_map(".{1,3}", ".{0,3}", 0..60),
        events in 0_usize..30,
        links in 0_usize..30,
        is_span in any::<bool>(),
    ) {
        let span = proto::Span {
            events: vec![proto::SpanEvent { attributes: attributes.clone(), ..Default::default() }; events],
            links: vec![proto::SpanLink {
                trace_id: "a".repeat(32),
                span_id: "b".repeat(16),
                attributes: attributes.clone(),
            }; links],
            ..Default::default()
        };
        let entry = parse(proto::Entry {
            message,
            attributes,
            trace_id: "a".repeat(32),
            span_id: "b".repeat(16),
            span: is_span.then_some(span),
            scope: Some(proto::Scope { attributes: resource.clone(), ..Default::default() }),
            resource,
            ..Default::default()
        });
        let mut line = Vec::new();
        encode(&entry, &mut line);
        prop_assert!(size_bytes(&entry) < 2 * line.len(), "{} bytes of {}", size_bytes(&entry), line.len());
    }
}

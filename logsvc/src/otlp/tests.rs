mod texts;

use homeroom::proto::opentelemetry::proto::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use prost::Message;

use super::*;
use crate::entry::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, Entry, MESSAGE_BYTES_MAX, Severity, SpanKind, SpanStatus, encode, number,
    parse,
};

const NOW: Time = Time::MIN;
const SECOND: u64 = 1_000_000_000;

fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn string(text: &str) -> AnyValue {
    any(any_value::Value::StringValue(text.to_owned()))
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..Default::default()
    }
}

fn record(body: &str) -> LogRecord {
    LogRecord {
        body: Some(string(body)),
        ..Default::default()
    }
}

/// The wire of a request, with a resource and a scope.
fn request(records: Vec<LogRecord>) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "library".to_owned(),
        version: "1.2".to_owned(),
        ..Default::default()
    };
    let resource =
        ["service.name", "service.instance.id", "host.name"].map(|key| pair(key, string(&key.replace('.', "-"))));
    let logs = ResourceLogs {
        resource: Some(Resource {
            attributes: resource.into(),
            ..Default::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope),
            log_records: records,
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![logs],
    };
    request.encode_to_vec()
}

fn span_request(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans {
        spans,
        ..Default::default()
    }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans,
            ..Default::default()
        }],
    };
    request.encode_to_vec()
}

fn a_span() -> Span {
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        name: "work".to_owned(),
        start_time_unix_nano: SECOND,
        end_time_unix_nano: 3 * SECOND,
        ..Default::default()
    }
}

/// The entries of all lines, each of which is just what its entry is encoded as.
pub(crate) fn entries(converted: &Converted) -> Vec<Entry> {
    let text = converted
        .batches
        .iter()
        .flat_map(|batch| batch.text().split_inclusive(|byte| *byte == b'\n'));
    let entry = |line: &[u8]| {
        let (mut numbered, mut again) = (Vec::new(), Vec::new());
        number(1, None, line, &mut numbered);
        let entry = parse(&numbered).expect("the line of an entry");
        encode(&entry, &mut again);
        assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(line));
        entry
    };
    text.map(entry).collect()
}

/// The entries of log records, all of which are kept.
fn kept(records: Vec<LogRecord>) -> Vec<Entry> {
    let converted = logs(&request(records), NOW).expect("a request");
    assert_eq!((converted.rejected, &converted.first_error), (0, &None));
    entries(&converted)
}

fn rejected(converted: Result<Converted, InvalidField>) -> (u64, String) {
    let converted = converted.expect("a request");
    (
        converted.rejected,
        converted.first_error.map(|error| error.field).unwrap_or_default(),
    )
}

fn pairs(attributes: &entry::Attributes) -> Vec<(&str, &str)> {
    attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

#[test]
fn a_log_record_becomes_an_entry_with_all_that_it_says() {
    let record = LogRecord {
        time_unix_nano: 1_500_000_001,
        severity_number: 17,
        severity_text: "error".to_owned(),
        attributes: vec![pair("b", string("2")), pair("a", string("old")), pair("a", string("1"))],
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        event_name: "happened".to_owned(),
        ..record("hello\n\u{1b}[31m")
    };
    let entry = &kept(vec![record])[0];
    assert_eq!(
        (entry.service.as_str(), entry.instance.as_str()),
        ("service-name", "service-instance-id")
    );
    assert_eq!(
        (entry.time.to_string().as_str(), entry.severity),
        ("1970-01-01T00:00:01.500000001Z", Severity::Error)
    );
    assert_eq!(entry.message, "hello\n\u{1b}[31m");
    assert_eq!(
        entry.trace_id.as_ref().map(|id| id.as_str()),
        Some("ab".repeat(16).as_str())
    );
    assert_eq!(
        entry.span_id.as_ref().map(|id| id.as_str()),
        Some("cd".repeat(8).as_str())
    );
    let expected = [
        ("a", "1"),
        ("b", "2"),
        ("otel.dropped_attributes_count", "3"),
        ("otel.event.name", "happened"),
    ];
    assert_eq!(pairs(&entry.attributes), expected);
    assert_eq!(pairs(&entry.resource), [("host.name", "host-name")]);
    let scope = entry.scope.as_ref().expect("a scope");
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("library", "1.2"));
}

#[test]
fn what_a_record_does_not_say_has_its_default() {
    let observed = LogRecord {
        observed_time_unix_nano: SECOND,
        ..record("a")
    };
    let named = LogRecord {
        event_name: "happened".to_owned(),
        trace_id: vec![0; 16],
        ..Default::default()
    };
    let entries = kept(vec![LogRecord::default(), observed, named]);
    assert_eq!(
        (entries[0].message.as_str(), entries[0].time, entries[0].severity),
        ("(no body)", NOW, Severity::Info)
    );
    assert_eq!(entries[1].time, Time::from_nanos(SECOND));
    assert_eq!((entries[2].message.as_str(), &entries[2].trace_id), ("happened", &None));
    assert!(entries[2].attributes.is_empty(), "its name is said once");
}

#[test]
fn a_severity_keeps_its_text_where_that_says_more() {
    let rows = [
        (0, "", Severity::Info, None),
        (0, "warning", Severity::Warn, None),
        (0, "audit", Severity::Info, Some("audit")),
        (1, "", Severity::Trace, None),
        (4, "", Severity::Trace, Some("TRACE4")),
        (9, "Information", Severity::Info, Some("Information")),
        (10, "", Severity::Info, Some("INFO2")),
        (13, "WARNING", Severity::Warn, None),
        (21, "CRITICAL", Severity::Fatal, Some("CRITICAL")),
        (24, "", Severity::Fatal, Some("FATAL4")),
    ];
    for (severity_number, text, severity, kept_text) in rows {
        let record = LogRecord {
            severity_number,
            severity_text: text.to_owned(),
            ..record("a")
        };
        let entry = &kept(vec![record])[0];
        assert_eq!(entry.severity, severity, "{severity_number} {text}");
        assert_eq!(
            entry.attributes.get("otel.severity_text").map(String::as_str),
            kept_text,
            "{severity_number} {text}"
        );
    }
}

#[test]
fn a_value_of_any_type_becomes_text() {
    use any_value::Value;
    let list = Value::ArrayValue(ArrayValue {
        values: vec![
            any(Value::IntValue(1)),
            string("a\"b"),
            AnyValue::default(),
            any(Value::DoubleValue(f64::NAN)),
            any(Value::BytesValue(vec![1, 2])),
        ],
    });
    let map = Value::KvlistValue(KeyValueList {
        values: vec![pair("k", any(list.clone())), pair("l", any(Value::BoolValue(false)))],
    });
    let rows = [
        (Value::BoolValue(true), "true"),
        (Value::IntValue(-1), "-1"),
        (Value::DoubleValue(1.0), "1.0"),
        (Value::DoubleValue(1e300), "1e+300"),
        (Value::DoubleValue(f64::NEG_INFINITY), "-Infinity"),
        (Value::BytesValue(vec![0xff, 0xfe]), "//4="),
        (list, r#"[1,"a\"b",null,"NaN","AQI="]"#),
        (map, r#"{"k":[1,"a\"b",null,"NaN","AQI="],"l":false}"#),
    ];
    for (value, text) in rows {
        let record = LogRecord {
            body: Some(any(value.clone())),
            attributes: vec![pair("a", any(value))],
            ..Default::default()
        };
        let entry = &kept(vec![record])[0];
        assert_eq!(
            (entry.message.as_str(), pairs(&entry.attributes)),
            (text, vec![("a", text)])
        );
    }
}

#[test]
fn a_span_becomes_an_entry_with_all_that_it_says() {
    let span = Span {
        parent_span_id: vec![1; 8],
        trace_state: "a=b".to_owned(),
        kind: 2,
        attributes: vec![pair("rpc.method", string("m"))],
        dropped_events_count: 1,
        events: vec![span::Event {
            time_unix_nano: 2 * SECOND,
            name: "event".to_owned(),
            attributes: vec![pair("n", any(any_value::Value::IntValue(1)))],
            ..Default::default()
        }],
        links: vec![span::Link {
            trace_id: vec![2; 16],
            span_id: vec![3; 8],
            trace_state: "c=d".to_owned(),
            ..Default::default()
        }],
        status: Some(Status {
            message: "bad".to_owned(),
            code: 2,
        }),
        ..a_span()
    };
    let converted = spans(&span_request(vec![span]), NOW).expect("a request");
    let entry = &entries(&converted)[0];
    assert_eq!((entry.message.as_str(), entry.severity), ("work", Severity::Error));
    assert_eq!(
        pairs(&entry.attributes),
        [("otel.dropped_events_count", "1"), ("rpc.method", "m")]
    );
    let span = entry.span.as_ref().expect("a span");
    assert_eq!(
        (span.kind, span.status, span.status_message.as_str()),
        (SpanKind::Server, SpanStatus::Error, "bad")
    );
    assert_eq!(
        (span.end_time, span.trace_state.as_str()),
        (Time::from_nanos(3 * SECOND), "a=b")
    );
    assert_eq!(
        span.parent_span_id.as_ref().map(|id| id.as_str()),
        Some("01".repeat(8).as_str())
    );
    assert_eq!(
        (span.events[0].name.as_str(), pairs(&span.events[0].attributes)),
        ("event", vec![("n", "1")])
    );
    assert_eq!(span.links[0].trace_id.as_str(), "02".repeat(16));
    assert_eq!(pairs(&span.links[0].attributes), [("otel.trace_state", "c=d")]);
}

#[test]
fn a_record_that_is_not_valid_costs_itself_alone_and_is_named() {
    type Set = fn(&mut LogRecord);
    let rows: [(&str, Set); 7] = [
        ("body", |r| r.body = Some(string(&"x".repeat(MESSAGE_BYTES_MAX + 1)))),
        ("severity_number", |r| r.severity_number = 25),
        ("severity_number", |r| r.severity_number = -1),
        ("trace_id", |r| r.trace_id = vec![1; 15]),
        ("span_id", |r| r.span_id = vec![1; 16]),
        ("attributes", |r| r.attributes = vec![pair("", string(""))]),
        ("attributes", |r| r.attributes = vec![pair("a", string("b")); 10_000]),
    ];
    for (field, set) in rows {
        let mut wrong = record("wrong");
        set(&mut wrong);
        let converted = logs(&request(vec![record("a"), wrong, record("b")]), NOW).expect("a request");
        assert_eq!(entries(&converted).len(), 2, "{field}");
        let expected = format!("resource_logs[0].scope_logs[0].log_records[1].{field}");
        assert_eq!(rejected(Ok(converted)), (1, expected));
    }
}

#[test]
fn a_span_that_is_not_valid_is_named() {
    type Set = fn(&mut Span);
    let rows: [(&str, Set); 8] = [
        ("trace_id", |s| s.trace_id = vec![0; 16]),
        ("span_id", |s| s.span_id.clear()),
        ("parent_span_id", |s| s.parent_span_id = vec![1; 7]),
        ("end_time", |s| s.end_time_unix_nano = 1),
        ("kind", |s| s.kind = 6),
        ("events", |s| s.events = vec![span::Event::default(); 129]),
        ("links[0].trace_id", |s| s.links = vec![span::Link::default()]),
        ("status", |s| {
            s.status = Some(Status {
                code: 3,
                ..Default::default()
            })
        }),
    ];
    for (field, set) in rows {
        let mut wrong = a_span();
        set(&mut wrong);
        let expected = format!("resource_spans[0].scope_spans[0].spans[1].{field}");
        assert_eq!(
            rejected(spans(&span_request(vec![a_span(), wrong]), NOW)),
            (1, expected)
        );
    }
}

#[test]
fn a_resource_that_is_not_valid_costs_all_of_its_records() {
    let logs_of = |name: &str| ResourceLogs {
        resource: Some(Resource {
            attributes: vec![pair("service.name", string(name))],
            ..Default::default()
        }),
        scope_logs: vec![ScopeLogs {
            log_records: vec![record("a"), record("b")],
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![logs_of(&"x".repeat(254)), logs_of("fine")],
    };
    let converted = logs(&request.encode_to_vec(), NOW).expect("a request");
    assert_eq!(
        entries(&converted)
            .iter()
            .map(|entry| entry.service.as_str())
            .collect::<Vec<_>>(),
        ["fine", "fine"]
    );
    let expected = "resource_logs[0].scope_logs[0].log_records[0].resource.attributes[service.name]".to_owned();
    assert_eq!(rejected(Ok(converted)), (2, expected));
}

#[test]
fn what_is_no_request_is_refused_as_a_whole() {
    let whole = request(vec![record("a")]);
    let error = logs(&whole[..whole.len() - 1], NOW).expect_err("it is torn");
    assert_eq!(error.field, "resource_logs");
}

#[test]
fn all_the_attributes_that_an_sdk_keeps_are_kept_with_how_many_it_did_not() {
    let attributes = |n: usize| (0..n).map(|n| pair(&n.to_string(), string(""))).collect();
    let mut record = LogRecord {
        attributes: attributes(ATTRIBUTES_MAX),
        dropped_attributes_count: 1,
        ..record("a")
    };
    assert_eq!(kept(vec![record.clone()])[0].attributes.len(), ATTRIBUTES_MAX + 1);
    record.attributes = attributes(ATTRIBUTES_MAX + 1);
    assert_eq!(rejected(logs(&request(vec![record]), NOW)).0, 1);
}

#[test]
fn a_value_nested_without_end_is_refused() {
    let mut value = string("a");
    for _ in 0..65 {
        value = any(any_value::Value::ArrayValue(ArrayValue { values: vec![value] }));
    }
    let record = LogRecord {
        body: Some(value),
        ..Default::default()
    };
    assert_eq!(rejected(logs(&request(vec![record]), NOW)).0, 1);
}

#[test]
fn an_entry_is_at_most_3_mib_in_all() {
    let much = |n: usize| {
        (0..n)
            .map(|n| pair(&n.to_string(), string(&"x".repeat(65_000))))
            .collect::<Vec<_>>()
    };
    let events = |n: usize| {
        vec![span::Event {
            attributes: much(n),
            ..Default::default()
        }]
    };
    let span = |n: usize| Span {
        name: "x".repeat(MESSAGE_BYTES_MAX),
        attributes: much(ATTRIBUTES_BYTES_MAX / 65_536),
        events: events(n),
        status: Some(Status {
            message: "x".repeat(60_000),
            code: 0,
        }),
        ..a_span()
    };
    let converted = spans(&span_request(vec![span(15), span(16)]), NOW).expect("a request");
    assert_eq!(entries(&converted).len(), 1);
    assert_eq!(
        rejected(Ok(converted)),
        (1, "resource_spans[0].scope_spans[0].spans[1]".to_owned())
    );
}

#[test]
fn a_large_resource_is_not_written_without_end() {
    let resource = Resource {
        attributes: (0..16)
            .map(|n| pair(&n.to_string(), string(&"x".repeat(65_000))))
            .collect(),
        ..Default::default()
    };
    let logs_of_one = ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![ScopeLogs {
            log_records: vec![LogRecord::default(); 10_000],
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![logs_of_one],
    };
    let converted = logs(&request.encode_to_vec(), NOW).expect("a request");
    let text_bytes: usize = converted.batches.iter().map(|batch| batch.text().len()).sum();
    assert!(
        (TEXT_BYTES_MAX..2 * TEXT_BYTES_MAX).contains(&text_bytes),
        "{text_bytes}"
    );
    let kept: usize = converted.batches.iter().map(Batch::len).sum();
    assert_eq!(rejected(Ok(converted)).0, 10_000 - kept as u64);
}

#[test]
fn many_records_are_several_batches() {
    let converted = logs(&request(vec![record("a"); ENTRIES_MAX + 1]), NOW).expect("a request");
    assert_eq!(
        converted.batches.iter().map(Batch::len).collect::<Vec<_>>(),
        [ENTRIES_MAX, 1]
    );
}

#[test]
fn data_points_are_counted() {
    let gauge = Gauge {
        data_points: vec![NumberDataPoint::default(); 3],
    };
    let metric = Metric {
        data: Some(metric::Data::Gauge(gauge)),
        ..Default::default()
    };
    let scope_metrics = vec![ScopeMetrics {
        metrics: vec![metric; 2],
        ..Default::default()
    }];
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics,
            ..Default::default()
        }],
    };
    assert_eq!(data_points(&request.encode_to_vec()), 6);
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_becomes_lines(
        body in ".{0,40}",
        attributes in proptest::collection::vec((".{0,9}", ".{0,9}"), 0..4),
        (at, flip) in (proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()),
    ) {
        let attributes = attributes.iter().map(|(key, value)| pair(key, string(value))).collect();
        let mut request = request(vec![LogRecord { attributes, ..record(&body) }]);
        let at = at.index(request.len());
        request[at] ^= flip;
        for converted in [logs(&request, NOW), spans(&request, NOW)].into_iter().flatten() {
            let kept = entries(&converted).len() as u64;
            prop_assert!(converted.rejected == 0 || converted.first_error.is_some());
            prop_assert_eq!(kept, converted.batches.iter().map(|batch| batch.len() as u64).sum::<u64>());
        }
    }
}

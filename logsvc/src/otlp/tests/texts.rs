//! Texts that are not UTF-8, wherever they stand.

use any_value::Value;
use homeroom::proto::opentelemetry::proto::trace::v1::span::{Event, Link};

use super::*;

/// What stands where a text is not UTF-8; as long as each of [`WRONG`].
const PLACEHOLDER: &str = "PLACEHOLDER";

/// A byte that begins nothing, one that goes on with nothing, characters that are not whole, a surrogate, a character in
/// more bytes than it needs, and one byte among characters that are escaped.
const WRONG: [&[u8; PLACEHOLDER.len()]; 8] = [
    b"\xffLACEHOLDER",
    b"PLACEHOLDE\x80",
    b"PLACEHOLDE\xc3",
    b"PLACEHOLD\xe2\x80",
    b"PLACE\xf0\x9f\x8eDER",
    b"PLAC\xed\xa0\x80LDER",
    b"PLACEH\xc0\xafDER",
    b"\"\n\x1b\xff\"\\\xc2\x9bDER",
];

/// The requests that become of one when its placeholder is not UTF-8.
fn wrong(request: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let is_placeholder = |text: &[u8]| text == PLACEHOLDER.as_bytes();
    let at = request.windows(PLACEHOLDER.len()).position(is_placeholder);
    let at = at.expect("a placeholder");
    WRONG.iter().map(move |wrong| {
        let mut request = request.to_vec();
        request[at..][..wrong.len()].copy_from_slice(*wrong);
        request
    })
}

#[test]
fn text_that_is_not_utf_8_costs_its_record() {
    let list = |value| any(Value::ArrayValue(ArrayValue { values: vec![value] }));
    let map = |key: &str, value| {
        any(Value::KvlistValue(KeyValueList {
            values: vec![pair(key, value)],
        }))
    };
    let with = |attribute| LogRecord {
        attributes: vec![pair("a", string("b")), attribute],
        ..record("m")
    };
    let rows = [
        ("body", record(PLACEHOLDER)),
        ("attributes", with(pair(PLACEHOLDER, string("v")))),
        ("attributes", with(pair("k", string(PLACEHOLDER)))),
        ("attributes", with(pair("k", list(string(PLACEHOLDER))))),
        ("attributes", with(pair("k", map(PLACEHOLDER, string("v"))))),
        (
            "severity_text",
            LogRecord {
                severity_text: PLACEHOLDER.to_owned(),
                ..record("m")
            },
        ),
        (
            "event_name",
            LogRecord {
                event_name: PLACEHOLDER.to_owned(),
                ..record("m")
            },
        ),
    ];
    for (field, wrong_record) in rows {
        let records = vec![record("before"), wrong_record, record("behind")];
        for request in wrong(&request(records)) {
            let converted = logs(&request, NOW).expect("a request");
            let messages: Vec<_> = entries(&converted).into_iter().map(|entry| entry.message).collect();
            assert_eq!(messages, ["before", "behind"]);
            let expected = format!("resource_logs[0].scope_logs[0].log_records[1].{field}");
            assert_eq!(rejected(Ok(converted)), (1, expected));
        }
    }
}

#[test]
fn text_that_is_not_utf_8_costs_its_span() {
    let attributes = vec![pair("k", string(PLACEHOLDER))];
    let event = Event {
        attributes: attributes.clone(),
        ..Default::default()
    };
    let link = Link {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        attributes: attributes.clone(),
        ..Default::default()
    };
    let rows = [
        (
            "name",
            Span {
                name: PLACEHOLDER.to_owned(),
                ..a_span()
            },
        ),
        ("attributes", Span { attributes, ..a_span() }),
        (
            "events[0].attributes",
            Span {
                events: vec![event],
                ..a_span()
            },
        ),
        (
            "links[0].attributes",
            Span {
                links: vec![link],
                ..a_span()
            },
        ),
    ];
    for (field, span) in rows {
        for request in wrong(&span_request(vec![span, a_span()])) {
            let expected = format!("resource_spans[0].scope_spans[0].spans[0].{field}");
            assert_eq!(rejected(spans(&request, NOW)), (1, expected));
        }
    }
}

#[test]
fn text_of_a_resource_or_scope_that_is_not_utf_8_costs_their_records() {
    let attributes = |key: &str, value: &str| vec![pair(key, string(value))];
    let resource = |attributes| ResourceLogs {
        resource: Some(Resource {
            attributes,
            ..Default::default()
        }),
        ..Default::default()
    };
    let scope = |attributes| ScopeLogs {
        scope: Some(InstrumentationScope {
            attributes,
            ..Default::default()
        }),
        ..Default::default()
    };
    let rows = [
        (
            "resource.attributes[service.name]",
            resource(attributes("service.name", PLACEHOLDER)),
            ScopeLogs::default(),
        ),
        (
            "resource.attributes",
            resource(attributes("k", PLACEHOLDER)),
            ScopeLogs::default(),
        ),
        (
            "resource.attributes",
            resource(attributes(PLACEHOLDER, "v")),
            ScopeLogs::default(),
        ),
        (
            "scope.attributes",
            ResourceLogs::default(),
            scope(attributes("k", PLACEHOLDER)),
        ),
    ];
    for (field, resource, scope) in rows {
        let scope = ScopeLogs {
            log_records: vec![record("m")],
            ..scope
        };
        let resource = ResourceLogs {
            scope_logs: vec![scope],
            ..resource
        };
        let request = ExportLogsServiceRequest {
            resource_logs: vec![resource],
        };
        for request in wrong(&request.encode_to_vec()) {
            let expected = format!("resource_logs[0].scope_logs[0].log_records[0].{field}");
            let converted = logs(&request, NOW).expect("a request");
            assert!(converted.batches.is_empty());
            assert_eq!(rejected(Ok(converted)), (1, expected));
        }
    }
}

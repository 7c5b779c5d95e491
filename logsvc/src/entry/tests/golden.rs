//! The lines that `docs/log-format.md` shows are byte for byte what is written.

use super::*;

const LINES: &str = include_str!("golden.jsonl");
const DOCUMENT: &str = include_str!("../../../../docs/log-format.md");

fn at(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos })
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Attributes {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn log_record() -> proto::Entry {
    proto::Entry {
        time: at(1_790_000_000, 250_000_000),
        severity: proto::Severity::Warn.into(),
        service: "grades".to_owned(),
        instance: "grades-1".to_owned(),
        message: "the list of students is long".to_owned(),
        attributes: pairs([("students", "12000"), ("peer", "10.0.0.7:41000")]),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        span_id: "00f067aa0ba902b7".to_owned(),
        resource: pairs([("host.name", "alpha")]),
        scope: Some(proto::Scope {
            name: "grades::list".to_owned(),
            version: "1.4.2".to_owned(),
            attributes: pairs([("build", "7")]),
        }),
        ..Default::default()
    }
}

fn span() -> proto::Entry {
    let event = proto::SpanEvent {
        time: at(1_790_000_000, 200_000),
        name: "cache miss".to_owned(),
        attributes: pairs([("key", "class-7b")]),
    };
    let link = proto::SpanLink {
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        span_id: "b7ad6b7169203331".to_owned(),
        attributes: pairs([("why", "retry")]),
    };
    let span = proto::Span {
        parent_span_id: "53995c3f42cd8ad8".to_owned(),
        kind: proto::SpanKind::Server.into(),
        end_time: at(1_790_000_000, 31_000_001),
        status: proto::SpanStatus::Error.into(),
        status_message: "the class is not known".to_owned(),
        events: vec![event],
        links: vec![link],
        trace_state: "vendor=1".to_owned(),
    };
    proto::Entry {
        time: at(1_790_000_000, 0),
        severity: 0,
        message: "homeroom.grades.v1.Grades/ListStudents".to_owned(),
        attributes: pairs([("rpc.system.name", "grpc"), ("rpc.status_code", "NOT_FOUND")]),
        span: Some(span),
        ..log_record()
    }
}

/// The lines that are documented, in their order.
fn lines() -> String {
    let bare = |seconds, message: &str| proto::Entry {
        time: at(seconds, 0),
        message: message.to_owned(),
        ..Default::default()
    };
    let messages = [
        bare(1_790_000_000, "hello"),
        log_record(),
        span(),
        bare(MIN_SECONDS, "the year 1"),
        bare(
            MAX_SECONDS,
            "a \"quote\", a \\, a line\nbreak, \u{1b}[31mred\u{9b}0m, \u{202e}right to left, ü and 🎓",
        ),
    ];
    let mark = BatchMark {
        writer: "grades-1.5f2c".into(),
        number: 42,
        entries: 5,
    };
    let mut text = Vec::new();
    for (n, message) in messages.into_iter().enumerate() {
        let entry = parsed(message, NOW).expect("a valid entry");
        let entry = Entry {
            sequence: n as u64 + 1,
            ..entry
        };
        text.extend(marked_line(&entry, (n == 0).then_some(&mark)));
    }
    String::from_utf8(text).expect("text")
}

#[test]
fn the_lines_are_byte_for_byte_what_they_always_were() {
    assert_eq!(lines(), LINES);
}

#[test]
fn the_documentation_shows_these_lines() {
    for line in LINES.lines() {
        assert!(DOCUMENT.contains(line), "{line}");
    }
}

mod golden;

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};

use super::*;
use crate::native::tests::parsed;

const NOW: Time = Time::MIN;
const MIN_SECONDS: i64 = -62_135_596_800;
const MAX_SECONDS: i64 = 253_402_300_799;

/// An entry with a message and defaults.
pub(crate) fn entry(message: &str) -> Entry {
    let message = proto::Entry {
        message: message.to_owned(),
        ..Default::default()
    };
    parsed(message, NOW).expect("a valid entry")
}

fn line(entry: &Entry) -> Vec<u8> {
    marked_line(entry, None)
}

fn marked_line(entry: &Entry, batch: Option<&BatchMark<'_>>) -> Vec<u8> {
    let (mut text, mut line) = (Vec::new(), Vec::new());
    encode(entry, &mut text);
    number(entry.sequence, batch, &text, &mut line);
    line
}

/// What the head of its line tells.
fn head_of(entry: &Entry) -> Head<'_> {
    Head {
        sequence: entry.sequence,
        batch: None,
        time: entry.time,
        severity: entry.severity,
        service: (&entry.service).into(),
        instance: (&entry.instance).into(),
        trace_id: entry.trace_id.clone(),
        is_span: entry.span.is_some(),
    }
}

#[test]
fn a_line_is_what_people_read() {
    let mut entry = entry("hello");
    entry.sequence = 12;
    entry.attributes = [("b", "2"), ("a", "1")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    entry.trace_id = TraceId::parse_optional("trace_id", "a".repeat(32)).expect("a valid id");
    let text = String::from_utf8(line(&entry)).expect("text");
    let id = "a".repeat(32);
    let expected = format!(
        r#"{{"seq":12,"time":"0001-01-01T00:00:00Z","severity":"INFO","trace_id":"{id}","message":"hello","attributes":{{"a":"1","b":"2"}}}}"#
    );
    assert_eq!(text, expected + "\n");
}

#[test]
fn a_forged_line_and_a_terminal_command_stay_data() {
    let forged = "x\"}\n{\"seq\":1,\"message\":\"forged\"}\r\u{1b}[2J\u{9b}31m\u{7f}\u{2028}\u{202e}\u{feff}";
    let text = String::from_utf8(line(&entry(forged))).expect("text");
    assert_eq!(text.matches('\n').count(), 1);
    for escaped in [
        "\\n{",
        "\\u001b[2J",
        "\\u009b31m",
        "\\u007f",
        "\\u2028",
        "\\u202e",
        "\\ufeff",
    ] {
        assert!(text.contains(escaped), "{escaped} in {text}");
    }
    assert_eq!(parse(text.as_bytes()).expect("a line").message, forged);
}

#[test]
fn half_a_line_is_none() {
    let whole = line(&entry("hello"));
    for end in 0..whole.len() {
        assert!(parse(&whole[..end]).is_err(), "the first {end} bytes");
        assert_eq!(head(&whole[..end]), None, "the first {end} bytes");
    }
    assert!(parse(&whole).is_ok() && head(&whole).is_some());
}

#[test]
fn keys_of_a_later_version_are_ignored() {
    let line = b"{\"seq\":1,\"time\":\"2026-01-01T00:00:00Z\",\"severity\":\"WARN\",\"message\":\"m\",\"later\":[1]}\n";
    assert_eq!(parse(line).expect("a line").severity, Severity::Warn);
}

/// A line as the first version of this service wrote it: the ids come last.
pub(super) fn line_of_the_first_version(entry: &Entry) -> Vec<u8> {
    let text = String::from_utf8(line(entry)).expect("text");
    let start = text.find(",\"trace_id\"").or_else(|| text.find(",\"span_id\""));
    let Some((start, end)) = start.zip(text.find(",\"message\"")).filter(|(start, end)| start < end) else {
        return text.into_bytes();
    };
    let (ids, rest) = (&text[start..end], text[end..].trim_end_matches("}\n"));
    format!("{}{rest}{ids}}}\n", &text[..start]).into_bytes()
}

/// Text with everything that might disturb, often.
fn text(max: usize) -> impl Strategy<Value = String> {
    let harmful = "[\u{0}-\u{20}\"\\\\\u{7f}-\u{a0}\u{61c}\u{200b}-\u{2070}\u{feff}\u{10ffff}]";
    let char = prop_oneof![
        any::<char>(),
        proptest::string::string_regex(harmful)
            .expect("a valid pattern")
            .prop_map(|text| text.chars().next().expect("one character"))
    ];
    vec(char, 0..max).prop_map(|chars| chars.into_iter().collect())
}

fn time() -> impl Strategy<Value = prost_types::Timestamp> {
    let nanos = prop_oneof![Just(0), Just(1_000_000), 0..1_000_000_000];
    (MIN_SECONDS..=MAX_SECONDS, nanos).prop_map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos })
}

fn pairs() -> impl Strategy<Value = Attributes> {
    let key = prop_oneof![Just("trace_id".to_owned()), text(9)];
    let pairs = btree_map(key, text(9), 0..5);
    pairs.prop_map(|pairs| pairs.into_iter().filter(|(key, _)| !key.is_empty()).collect())
}

const TRACE_ID: &str = "[0-9a-f]{31}[1-9a-f]";
const SPAN_ID: &str = "[0-9a-f]{15}[1-9a-f]";

prop_compose! {
    fn spans()(
        parent_span_id in option::of(SPAN_ID),
        kind in 0..6,
        status in 0..3,
        (status_message, trace_state) in (text(9), text(9)),
        events in vec((option::of(time()), text(9), pairs()), 0..3),
        links in vec((TRACE_ID, SPAN_ID, pairs()), 0..3),
    ) -> proto::Span {
        let event = |(time, name, attributes)| proto::SpanEvent { time, name, attributes };
        let link = |(trace_id, span_id, attributes)| proto::SpanLink { trace_id, span_id, attributes };
        proto::Span {
            parent_span_id: parent_span_id.unwrap_or_default(),
            kind,
            end_time: None,
            status,
            status_message,
            events: events.into_iter().map(event).collect(),
            links: links.into_iter().map(link).collect(),
            trace_state,
        }
    }
}

prop_compose! {
    fn scopes()(name in text(9), version in text(9), attributes in pairs()) -> proto::Scope {
        proto::Scope { name, version, attributes }
    }
}

prop_compose! {
    fn log_records()(
        time in time(),
        severity in 0..7,
        (service, instance, message) in (text(9), text(9), text(60)),
        (attributes, resource) in (pairs(), pairs()),
        trace_id in option::of(TRACE_ID),
        span_id in option::of(SPAN_ID),
        scope in option::of(scopes()),
    ) -> proto::Entry {
        proto::Entry {
            time: Some(time),
            severity,
            service,
            instance,
            message: message + ".",
            attributes,
            trace_id: trace_id.unwrap_or_default(),
            span_id: span_id.unwrap_or_default(),
            resource,
            scope,
            ..Default::default()
        }
    }
}

prop_compose! {
    /// Log records and spans.
    pub(crate) fn messages()(
        record in log_records(),
        span in option::of((spans(), TRACE_ID, SPAN_ID)),
        end_time in option::of(time()),
    ) -> proto::Entry {
        let order = |time: &prost_types::Timestamp| (time.seconds, time.nanos);
        let end_time = end_time.filter(|end| record.time.is_none_or(|start| order(end) >= order(&start)));
        match span {
            Some((span, trace_id, span_id)) => proto::Entry {
                span: Some(proto::Span { end_time, ..span }),
                trace_id,
                span_id,
                ..record
            },
            None => record,
        }
    }
}

prop_compose! {
    pub(crate) fn entries()(message in messages(), sequence in 1..=u64::MAX) -> Entry {
        Entry { sequence, ..parsed(message, NOW).expect("within the limits") }
    }
}

proptest! {
    #[test]
    fn every_entry_comes_back_from_its_line(entry in entries()) {
        let line = line(&entry);
        prop_assert_eq!(sequence(&line), Some(entry.sequence));
        prop_assert_eq!(parse(&line).expect("a line"), entry);
    }

    #[test]
    fn the_head_of_a_line_tells_what_the_whole_line_does(entry in entries(), writer in option::of("[A-Za-z0-9._:-]{1,64}")) {
        let batch = writer.map(|writer| BatchMark { writer: writer.into(), number: u64::MAX, entries: ENTRIES_MAX });
        let line = marked_line(&entry, batch.as_ref());
        prop_assert_eq!(&parse(&line).expect("a line"), &entry);
        prop_assert_eq!(head(&line), Some(Head { batch, ..head_of(&entry) }));
        prop_assert_eq!(sequence(&line), Some(entry.sequence));
    }

    #[test]
    fn the_head_of_a_line_of_the_first_version_tells_the_same(message in log_records(), sequence in 1..=u64::MAX) {
        let message = proto::Entry { resource: Attributes::default(), scope: None, ..message };
        let entry = Entry { sequence, ..parsed(message, NOW).expect("within the limits") };
        let line = line_of_the_first_version(&entry);
        prop_assert_eq!(head(&line), Some(head_of(&entry)));
        prop_assert_eq!(parse(&line).expect("a line"), entry);
    }

    #[test]
    fn every_line_is_one_line_without_control_characters(entry in entries()) {
        let text = String::from_utf8(line(&entry)).expect("text");
        let (last, rest) = (text.chars().last(), &text[..text.len() - 1]);
        prop_assert_eq!(last, Some('\n'));
        let bidi = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}');
        prop_assert!(!rest.chars().any(|c| c.is_control() || bidi(c)), "{}", rest);
    }
}

mod golden;

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};

use super::*;

const NOW: Time = Time::MIN;
const MIN_SECONDS: i64 = -62_135_596_800;
const MAX_SECONDS: i64 = 253_402_300_799;

fn message() -> proto::Entry {
    proto::Entry {
        message: "m".to_owned(),
        ..Default::default()
    }
}

/// An entry with a message and defaults.
pub(crate) fn entry(message: &str) -> Entry {
    let message = proto::Entry {
        message: message.to_owned(),
        ..Default::default()
    };
    Entry::parse(message, NOW).expect("a valid entry")
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

fn field(message: proto::Entry) -> String {
    Entry::parse(message, NOW).expect_err("not valid").field
}

#[test]
fn what_is_not_given_has_its_default() {
    let entry = Entry::parse(message(), NOW).expect("a valid entry");
    assert_eq!((entry.time, entry.severity, entry.sequence), (NOW, Severity::Info, 0));
}

#[test]
fn each_limit_lets_its_last_value_pass_and_refuses_the_next() {
    type Set = fn(&mut proto::Entry, usize);
    let limits: [(&str, usize, Set); 7] = [
        ("service", NAME_BYTES_MAX, |e, n| e.service = "x".repeat(n)),
        ("instance", NAME_BYTES_MAX, |e, n| e.instance = "x".repeat(n)),
        ("message", MESSAGE_BYTES_MAX, |e, n| e.message = "x".repeat(n)),
        ("attributes", ATTRIBUTES_MAX, |e, n| {
            e.attributes = (0..n).map(|n| (n.to_string(), String::new())).collect();
        }),
        ("attributes", KEY_BYTES_MAX, |e, n| {
            e.attributes = [("x".repeat(n), String::new())].into()
        }),
        ("attributes", VALUE_BYTES_MAX, |e, n| {
            e.attributes = [("x".to_owned(), "x".repeat(n))].into()
        }),
        ("attributes", ATTRIBUTES_BYTES_MAX, |e, n| {
            let mut pairs: Vec<_> = (1..16).map(|key| (format!("{key:04}"), "x".repeat(65_532))).collect();
            pairs.push(("last".to_owned(), "x".repeat(n - 15 * 65_536 - 4)));
            e.attributes = pairs.into_iter().collect();
        }),
    ];
    for (name, max, set) in limits {
        let (mut last, mut next) = (message(), message());
        set(&mut last, max);
        set(&mut next, max + 1);
        assert!(Entry::parse(last, NOW).is_ok(), "{name} of {max}");
        assert_eq!(field(next), name);
    }
}

#[test]
fn what_is_not_valid_is_named() {
    let with = |set: fn(&mut proto::Entry)| {
        let mut message = message();
        set(&mut message);
        field(message)
    };
    assert_eq!(with(|e| e.message.clear()), "message");
    assert_eq!(with(|e| e.severity = 7), "severity");
    assert_eq!(
        with(|e| e.attributes = [(String::new(), String::new())].into()),
        "attributes"
    );
    assert_eq!(with(|e| e.trace_id = "0".repeat(32)), "trace_id");
    assert_eq!(with(|e| e.trace_id = "A".repeat(32)), "trace_id");
    assert_eq!(with(|e| e.trace_id = "a".repeat(31)), "trace_id");
    assert_eq!(with(|e| e.span_id = "a".repeat(32)), "span_id");
    for (seconds, nanos) in [(MIN_SECONDS - 1, 0), (MAX_SECONDS + 1, 0), (0, -1), (0, 1_000_000_000)] {
        let mut message = message();
        message.time = Some(prost_types::Timestamp { seconds, nanos });
        assert_eq!(field(message), "time");
    }
}

#[test]
fn a_batch_names_the_entry_and_has_a_size() {
    let error = batch(vec![message(), proto::Entry::default()], NOW).expect_err("no message");
    assert_eq!(error.field, "entries[1].message");
    assert_eq!(batch(vec![], NOW).expect_err("none").field, "entries");
    assert_eq!(
        batch(vec![message(); ENTRIES_MAX], NOW)
            .expect("as many as allowed")
            .len(),
        ENTRIES_MAX
    );
    assert_eq!(
        batch(vec![message(); ENTRIES_MAX + 1], NOW)
            .expect_err("one more")
            .field,
        "entries"
    );
}

#[test]
fn an_entry_is_at_most_3_mib_in_all() {
    let much = |pairs: usize, last_bytes: usize| -> Attributes {
        let pair = |n: usize| {
            (
                n.to_string(),
                "x".repeat(if n == 0 { last_bytes } else { VALUE_BYTES_MAX }),
            )
        };
        (0..pairs).map(pair).collect()
    };
    let large = |last_bytes| proto::Entry {
        message: "x".repeat(MESSAGE_BYTES_MAX),
        attributes: much(15, VALUE_BYTES_MAX),
        resource: much(15, VALUE_BYTES_MAX),
        scope: Some(proto::Scope {
            attributes: much(2, last_bytes),
            ..Default::default()
        }),
        ..Default::default()
    };
    // Long enough that the lengths of what holds it take as many bytes as they will.
    let less = 60_000;
    let last_bytes = less + ENTRY_BYTES_MAX - large(less).encoded_len();
    assert_eq!(large(last_bytes).encoded_len(), ENTRY_BYTES_MAX);
    assert!(batch(vec![large(last_bytes)], NOW).is_ok());
    let error = batch(vec![message(), large(last_bytes + 1)], NOW).expect_err("it is too large");
    assert_eq!(error.field, "entries[1]");
}

#[test]
fn a_line_is_what_people_read() {
    let mut entry = entry("hello");
    entry.sequence = 12;
    entry.attributes = [("b", "2"), ("a", "1")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    entry.trace_id = TraceId::parse_optional("trace_id", &"a".repeat(32)).expect("a valid id");
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
fn line_of_the_first_version(entry: &Entry) -> Vec<u8> {
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
    fn messages()(
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
    fn entries()(message in messages(), sequence in 1..=u64::MAX) -> Entry {
        Entry { sequence, ..Entry::parse(message, NOW).expect("within the limits") }
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
        let entry = Entry { sequence, ..Entry::parse(message, NOW).expect("within the limits") };
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

    #[test]
    fn every_entry_comes_back_from_its_message(entry in entries()) {
        let message = proto::Entry::from(entry.clone());
        prop_assert_eq!(message.sequence, entry.sequence);
        let parsed = Entry::parse(message, NOW).expect("a valid entry");
        prop_assert_eq!(Entry { sequence: entry.sequence, ..parsed }, entry);
    }
}

use homeroom::proto::log::v1 as proto;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::entry::{
    ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, Attributes, Entry, KEY_BYTES_MAX, VALUE_BYTES_MAX, number, parse,
    tests::messages,
};

const NOW: Time = Time::MIN;
const MIN_SECONDS: i64 = -62_135_596_800;
const MAX_SECONDS: i64 = 253_402_300_799;

/// The batch of entries, without their numbers.
pub(crate) fn batch_of(entries: &[Entry]) -> Batch {
    let message = |entry: &Entry| proto::Entry::from(entry.clone()).encode_to_vec().into();
    let messages: Vec<Bytes> = entries.iter().map(message).collect();
    batch(&messages, NOW).expect("entries are valid")
}

/// What is read again of the line of a message; an error without the path to it.
pub(crate) fn parsed(message: proto::Entry, now: Time) -> Result<Entry, InvalidField> {
    read_again(message.encode_to_vec(), now)
}

fn read_again(message: Vec<u8>, now: Time) -> Result<Entry, InvalidField> {
    let batch = batch(&[message.into()], now).map_err(|error| {
        let field = error.field.trim_start_matches("entries[0]").trim_start_matches('.');
        InvalidField::new(field, error.allowed)
    })?;
    let mut line = Vec::new();
    number(0, None, batch.text(), &mut line);
    Ok(parse(&line).expect("the line of an entry"))
}

fn message() -> proto::Entry {
    proto::Entry {
        message: "m".to_owned(),
        ..Default::default()
    }
}

fn field(message: proto::Entry) -> String {
    parsed(message, NOW).expect_err("not valid").field
}

#[test]
fn what_is_not_given_has_its_default() {
    let entry = parsed(message(), NOW).expect("a valid entry");
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
        assert!(parsed(last, NOW).is_ok(), "{name} of {max}");
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

fn lines(messages: &[proto::Entry]) -> Result<Batch, InvalidField> {
    let messages: Vec<_> = messages.iter().map(|message| message.encode_to_vec().into()).collect();
    batch(&messages, NOW)
}

#[test]
fn a_batch_names_the_entry_and_has_a_size() {
    let error = lines(&[message(), proto::Entry::default()]).expect_err("no message");
    assert_eq!(error.field, "entries[1].message");
    assert_eq!(lines(&[]).expect_err("none").field, "entries");
    assert_eq!(
        lines(&vec![message(); ENTRIES_MAX]).expect("as many as allowed").len(),
        ENTRIES_MAX
    );
    assert_eq!(
        lines(&vec![message(); ENTRIES_MAX + 1]).expect_err("one more").field,
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
    assert!(lines(&[large(last_bytes)]).is_ok());
    let error = lines(&[message(), large(last_bytes + 1)]).expect_err("it is too large");
    assert_eq!(error.field, "entries[1]");
}

#[test]
fn what_is_no_message_is_refused_and_named() {
    let tagged = |tag: u8, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).expect("it is short")], bytes].concat();
    let rows = [
        (vec![0x2a, 9, b'm'], ""),
        (vec![0x2b], ""),
        (tagged(0x0a, &[0x08]), "time"),
        (tagged(0x2a, b"\xff"), "message"),
        (tagged(0x1a, b"\xc3"), "service"),
        (tagged(0x32, &[0x0a, 1, 0xff]), "attributes"),
        (tagged(0x32, &[0x0a, 1, b'k', 0x12, 2, b'"', 0xff]), "attributes"),
        (tagged(0x5a, &[0x0a, 1, b'k', 0x12, 2, 0xe2, 0x80]), "resource"),
        (tagged(0x5a, &[0x0a, 9]), "resource"),
        (tagged(0x52, &[0x0a, 9]), "span"),
        (tagged(0x62, &[0x0a, 1, 0xff]), "scope"),
    ];
    for (wrong, field) in rows {
        let message = [message().encode_to_vec(), wrong].concat();
        assert_eq!(
            read_again(message.clone(), NOW).expect_err("not valid").field,
            field,
            "{message:x?}"
        );
    }
}

#[test]
fn of_what_is_there_twice_the_last_counts_and_messages_are_merged() {
    let first = proto::Entry {
        message: "first".to_owned(),
        service: "first".to_owned(),
        time: Some(Timestamp { seconds: 7, nanos: 0 }),
        attributes: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "1".to_owned())].into(),
        sequence: 9,
        ..Default::default()
    };
    let second = proto::Entry {
        message: "second".to_owned(),
        time: Some(Timestamp { seconds: 0, nanos: 8 }),
        attributes: [("b".to_owned(), "2".to_owned())].into(),
        ..Default::default()
    };
    let both = [first.encode_to_vec(), second.encode_to_vec()].concat();
    let expected = proto::Entry::decode(&both[..]).expect("a message");
    let expected = parsed(expected, NOW).expect("a valid entry");
    assert_eq!(expected.time.to_string(), "1970-01-01T00:00:07.000000008Z");
    assert_eq!(read_again(both, NOW), Ok(expected));
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let later = [
        &message().encode_to_vec()[..],
        &[0xa8, 0x06, 1, 0xb2, 0x06, 1, 0xff, 0xbd, 0x06, 1, 2, 3, 4],
    ]
    .concat();
    assert_eq!(read_again(later, NOW), parsed(message(), NOW));
}

/// The message with what it leaves to be filled in.
fn filled_in(mut message: proto::Entry) -> proto::Entry {
    if let Some(span) = &mut message.span {
        span.kind = span.kind.max(1);
        span.end_time = span.end_time.or(message.time);
        for event in &mut span.events {
            event.time = event.time.or(message.time);
        }
    }
    let failed = |span: &proto::Span| span.status() == proto::SpanStatus::Error;
    if message.severity() == proto::Severity::Unspecified {
        let is_error = message.span.as_ref().is_some_and(failed);
        let severity = if is_error {
            proto::Severity::Error
        } else {
            proto::Severity::Info
        };
        message.set_severity(severity);
    }
    message
}

proptest! {
    #[test]
    fn every_message_comes_back_from_its_line(message in messages()) {
        let entry = parsed(message.clone(), NOW).expect("within the limits");
        prop_assert_eq!(proto::Entry::from(entry), filled_in(message));
    }
}

use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::*;
use crate::entry::{
    BatchMark, ENTRIES_MAX, encode, escaped, number as numbered, parse,
    tests::{entries, entry, line_of_the_first_version},
};

fn line_of(entry: &Entry, batch: Option<&BatchMark<'_>>) -> Vec<u8> {
    let (mut text, mut line) = (Vec::new(), Vec::new());
    encode(entry, &mut text);
    numbered(entry.sequence, batch, &text, &mut line);
    line
}

/// Compares the message of a line, where it has one, with that of the entry that is read of it. Returns whether it has.
#[track_caller]
fn check(line: &[u8]) -> bool {
    let Some(encoded) = Encoded::of_line(line) else {
        return false;
    };
    let text = String::from_utf8_lossy(line);
    let entry = proto::Entry::from(parse(line).unwrap_or_else(|error| panic!("{error}: {text}")));
    assert_eq!(encoded.sequence, entry.sequence, "{text}");
    assert_eq!(proto::Entry::decode(encoded.message), Ok(entry), "{text}");
    true
}

/// A line of a log record with this behind its severity.
fn line(rest: &str) -> Vec<u8> {
    format!("{{\"seq\":1,\"time\":\"2026-01-01T00:00:00Z\",\"severity\":\"INFO\"{rest}}}\n").into_bytes()
}

#[test]
fn a_length_takes_as_many_bytes_as_it_needs() {
    for size in [1, 127, 128, 16_383, 16_384, 1024 * 1024] {
        assert!(check(&line_of(&entry(&"x".repeat(size)), None)), "{size}");
    }
}

#[test]
fn escapes_and_what_is_empty_are_read_as_by_others() {
    let rows = [
        r#","message":"\"\\\/\b\f\n\r\t\u0000\u001b\u202e\uFEFF\u00e9é🎓""#,
        r#","service":"","instance":"","message":"","scope":{}"#,
        r#","message":"m","attributes":{"":"","a":"","a":"b"},"resource":{"\n":"\n"}"#,
    ];
    for row in rows {
        assert!(check(&line(row)), "{row}");
    }
}

#[test]
fn what_we_never_write_is_left_to_others() {
    let rows = [
        (r#","message":"\ud83c\udf93""#, true),
        (r#","message":"\ud83c""#, false),
        (r#","message":"\x41""#, false),
        (r#","message":"\u00+1""#, false),
        (r#","message":"m","service":"s""#, true),
        (r#","message":"m", "attributes":{}"#, true),
        (r#","message":"m","attributes":{}"#, true),
        (r#","message":"m","attributes":{"a":"b",}"#, false),
        (r#","message":"m","scope":{"name":"n",}"#, false),
        (r#","message":"m","later":[1]"#, true),
        (r#","trace_id":"0","message":"m""#, false),
        ("", false),
    ];
    for (row, is_entry) in rows {
        assert!(!check(&line(row)), "{row}");
        assert_eq!(parse(&line(row)).is_ok(), is_entry, "{row}");
    }
    let padded = String::from_utf8(line(r#","message":"m""#))
        .expect("text")
        .replace(":1,", ":01,");
    assert!(!check(padded.as_bytes()) && parse(padded.as_bytes()).is_err());
}

/// What is done to a line.
#[derive(Debug, Clone)]
enum Damage {
    Replaced(u8),
    Inserted(u8),
    CutOff,
    Left(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![any::<u8>(), proptest::sample::select(&b"\"\\{}[],:0u\n"[..])];
    prop_oneof![
        byte().prop_map(Damage::Replaced),
        byte().prop_map(Damage::Inserted),
        Just(Damage::CutOff),
        (1_usize..30).prop_map(Damage::Left),
    ]
}

fn damaged(line: &[u8], at: Index, damage: &Damage) -> Vec<u8> {
    let (at, mut line) = (at.index(line.len()), line.to_vec());
    match damage {
        Damage::Replaced(byte) => line[at] = *byte,
        Damage::Inserted(byte) => line.insert(at, *byte),
        Damage::CutOff => line.truncate(at),
        Damage::Left(bytes) => drop(line.drain(at..line.len().min(at + bytes))),
    }
    line
}

prop_compose! {
    /// Entries, the names of half of which need no escapes.
    fn named()(entry in entries(), names in option::of(("[a-zé.]{0,9}", "[a-zé.]{0,9}"))) -> Entry {
        let (service, instance) = names.unwrap_or_else(|| (entry.service.clone(), entry.instance.clone()));
        Entry { service, instance, ..entry }
    }
}

proptest! {
    #[test]
    fn the_message_of_a_line_is_that_of_its_entry(
        entry in named(),
        writer in option::of("[A-Za-z0-9._:-]{1,64}"),
    ) {
        let batch = writer.map(|writer| BatchMark { writer: writer.into(), number: 0, entries: ENTRIES_MAX });
        let is_plain = |name: &str| escaped(name) == name.as_bytes();
        let is_straight = is_plain(&entry.service) && is_plain(&entry.instance);
        let line = line_of(&entry, batch.as_ref());
        prop_assert_eq!(check(&line), is_straight);
        let size = Encoded::of_line(&line).map(|encoded| encoded.message.len());
        prop_assert_eq!(size, is_straight.then(|| proto::Entry::from(entry).encoded_len()), "what is empty is left out");
    }

    #[test]
    fn a_line_of_the_first_version_has_the_message_of_its_entry_or_none(entry in named()) {
        let entry = Entry { span: None, resource: Default::default(), scope: None, ..entry };
        let line = line_of_the_first_version(&entry);
        prop_assert!(!check(&line) || line == line_of(&entry, None));
    }

    #[test]
    fn a_damaged_line_has_the_message_of_the_entry_that_it_still_is_or_none(
        entry in named(),
        damages in vec((any::<Index>(), damage()), 1..50),
    ) {
        let line = line_of(&entry, None);
        for (at, damage) in damages {
            check(&damaged(&line, at, &damage));
        }
    }
}

//! Messages that are looked for by their texts.

use std::fmt::Write as _;

use super::*;
use crate::{entry::escaped, store::Trigrams};

fn with_any<T: AsRef<str>>(texts: &[T]) -> Wanted {
    let trigrams = |text: &T| Trigrams::of([escaped(text.as_ref())]);
    Wanted {
        trigrams: texts.iter().map(trigrams).collect(),
        ..everything()
    }
}

/// Entries with messages of all kinds of characters.
fn told() -> impl Strategy<Value = Vec<Entry>> {
    let message = prop_oneof!["\\PC{1,99}", "(?s).{1,30}", "[ab01\"\\\\\n]{1,40}"];
    vec((entries(), message), 1..60).prop_map(|told| {
        let told = told.into_iter();
        told.map(|(entry, message)| Entry { message, ..entry }).collect()
    })
}

/// Some characters of a message of these.
fn part(entries: &[Entry], (entry, start): (prop::sample::Index, prop::sample::Index), length: usize) -> String {
    let message: Vec<_> = entry.get(entries).message.chars().collect();
    let start = start.index(message.len());
    message[start..].iter().take(length).collect()
}

/// Has the index say that it is of the second version, which knows nothing of texts.
fn make_older(fixture: &Fixture) -> Vec<u8> {
    const CONTENTS_BYTES: usize = 4092;
    let path = fixture.path(&sidecar::file_name(1));
    let mut index = fs::read(&path).expect("readable");
    index[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let checksum = crc32fast::hash(&[&0_u64.to_le_bytes(), &index[..CONTENTS_BYTES]].concat());
    index[CONTENTS_BYTES..CONTENTS_BYTES + 4].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path, &index).expect("written");
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_text_that_messages_have_is_found_in_all_of_them(
        told in told(),
        parts in vec(((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..99_usize), 2..9),
    ) {
        let fixture = Fixture::sealed(&text(&told));
        let sealed = fixture.open();
        fs::remove_file(fixture.path(&sidecar::file_name(1))).expect("deleted");
        let again = fixture.open();
        let texts: Vec<_> = parts.into_iter().map(|(place, length)| part(&told, place, length)).collect();
        for texts in texts.windows(2) {
            let has_any = |entry: &Entry| texts.iter().any(|text| entry.message.contains(text));
            let expected: Vec<_> = numbered(&told).into_iter().filter(has_any).collect();
            for sealed in [&sealed, &again] {
                let mut found = both_ways(sealed, &with_any(texts));
                found.iter_mut().for_each(|found| found.retain(has_any));
                prop_assert_eq!(found, [expected.clone(), expected.clone()], "{:?}", texts);
            }
        }
    }

    #[test]
    fn damage_of_an_index_hides_no_text(
        told in told(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        is_open in any::<bool>(),
    ) {
        let fixture = Fixture::sealed(&text(&told));
        let sealed = fixture.open();
        if is_open {
            sealed.sidecar().expect("readable");
        }
        let path = fixture.path(&sidecar::file_name(1));
        let mut index = fs::read(&path).expect("readable");
        let at = at.index(index.len());
        index[at] ^= 1 << bit;
        fs::write(&path, &index).expect("written");
        let wanted = with_any(&[&told[0].message]);
        for sealed in [sealed, fixture.open()] {
            let found = both_ways(&sealed, &wanted);
            prop_assert!(found.iter().all(|found| found.first() == numbered(&told).first()));
        }
    }
}

#[test]
fn frames_without_a_text_are_left_out() {
    let mut entries = some_entries();
    write!(entries[11].message, " has a needle").expect("written");
    let (_fixture, sealed) = Fixture::sealed(&text(&entries)).open_kept();
    let found = both_ways(&sealed, &with_any(&["a needle"]));
    assert!(found.iter().all(|found| (1..9).contains(&found.len())), "{found:?}");
    assert!(found.iter().flatten().any(|entry| entry.sequence == 12));
    for texts in [&["a noodle"][..], &["nothing", "nobody"]] {
        assert_eq!(both_ways(&sealed, &with_any(texts)), [[], []], "{texts:?}");
    }
    // Any message may have them.
    for texts in [&["zz"][..], &["nothing", ""], &[]] {
        let found = both_ways(&sealed, &with_any(texts));
        assert_eq!(found.map(|found| found.len()), [20, 20], "{texts:?}");
    }
}

#[test]
fn an_index_of_the_second_version_stays_and_hides_no_text() {
    let fixture = Fixture::sealed(&text(&some_entries()));
    let index = make_older(&fixture);
    let sealed = fixture.open();
    assert!(sealed.totals().is_some());
    for texts in ["entry 7", "nothing"] {
        let found = both_ways(&sealed, &with_any(&[texts]));
        assert_eq!(found.map(|found| found.len()), [20, 20], "{texts}");
    }
    assert_eq!(fs::read(fixture.path(&sidecar::file_name(1))).expect("readable"), index);
}

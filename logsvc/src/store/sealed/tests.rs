//! Segments that are sealed, read, damaged and made again.

mod disk;
mod texts;

use std::{collections::BTreeSet, fs, ops::Range, path::PathBuf, sync::atomic::AtomicBool};

use proptest::{collection::vec, option, prelude::*};

use self::disk::Dying;
use super::*;
use crate::{
    entry::{self, Entry, Severity, SpanId, Time, TraceId},
    store::{
        Kind, WriterId,
        disk::Directory,
        frames::{Effort, Found, Walk},
        keeper,
        plain::{self, Plain},
        scan::{Tear, scan},
        segments::{Block, Reader, Segment},
        writers::{LastBatch, Writers},
    },
};

/// So small that a few entries fill some frames.
const FRAME_BYTES: usize = 600;

/// A directory with one segment, which starts with the entry 1.
struct Fixture {
    directory: tempfile::TempDir,
    files: Arc<dyn Files>,
}

impl Fixture {
    fn new(text: &[u8]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = Arc::new(Directory::open(directory.path()).expect("a directory"));
        fs::write(directory.path().join(plain::file_name(1)), text).expect("written");
        Self { directory, files }
    }

    /// Has the segment sealed.
    fn sealed(text: &[u8]) -> Self {
        let fixture = Self::new(text);
        assert!(seal(&*fixture.files).expect("sealed"));
        fixture.files.remove(&plain::file_name(1)).expect("deleted");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn open(&self) -> Arc<Sealed> {
        let sealed = Sealed::open(self.files.clone(), Arc::default(), 1, 1_000_000);
        Arc::new(sealed.expect("an open segment"))
    }

    fn names(&self) -> BTreeSet<String> {
        let names = self.files.list().expect("readable").into_iter();
        names.filter(|name| name != "lock").collect()
    }
}

/// A directory with one segment of these entries, sealed in frames of a few.
pub(crate) fn sealed_directory(entries: &[Entry]) -> tempfile::TempDir {
    Fixture::sealed(&text(entries)).directory
}

fn seal(files: &dyn Files) -> io::Result<bool> {
    let plain = files.open(&plain::file_name(1))?;
    let sealing = Sealing {
        files,
        plain: &*plain,
        first: 1,
        size_bytes: plain.size_bytes()?,
        writers: Writers::default(),
        stop: &AtomicBool::new(false),
        frame_bytes: FRAME_BYTES,
        effort: Effort::Thorough,
    };
    sealing.run()
}

/// The lines of entries, numbered from 1.
fn text(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    for (entry, n) in entries.iter().zip(1..) {
        let mut line = Vec::new();
        entry::encode(entry, &mut line);
        entry::number(n, None, &line, &mut text);
    }
    text
}

fn numbered(entries: &[Entry]) -> Vec<Entry> {
    let number = |(entry, sequence): (&Entry, u64)| Entry {
        sequence,
        ..entry.clone()
    };
    entries.iter().zip(1..).map(number).collect()
}

/// Everything that is wanted, oldest first, as readers find it; then the same from the other end.
fn both_ways(sealed: &Arc<Sealed>, wanted: &Wanted) -> [Vec<Entry>; 2] {
    both_ways_in(&Segment::Sealed(sealed.clone()), wanted)
}

fn both_ways_in(segment: &Segment, wanted: &Wanted) -> [Vec<Entry>; 2] {
    let entries = |block: &Block| -> Vec<Entry> {
        let text = block.read(&mut Reader::default()).expect("readable");
        let entries = crate::store::entries(block, &text, 1, u64::MAX);
        entries
            .map(|(entry, _)| entry)
            .filter(|entry| wanted.matches(entry))
            .collect()
    };
    let (mut oldest, mut from) = (Vec::new(), 1);
    while let Some(block) = segment.from(from, wanted).expect("readable") {
        oldest.extend(entries(&block));
        from = block.last + 1;
    }
    let (mut newest, mut up_to) = (Vec::new(), 1_000_000);
    while let Some(block) = segment.up_to(up_to, wanted).expect("readable") {
        newest.extend(entries(&block).into_iter().rev());
        up_to = block.first() - 1;
    }
    newest.reverse();
    [oldest, newest]
}

fn everything() -> Wanted {
    Wanted {
        kind: Kind::Any,
        ..Wanted::default()
    }
}

fn all(sealed: &Arc<Sealed>) -> Vec<Entry> {
    let [oldest, newest] = both_ways(sealed, &everything());
    assert_eq!(oldest, newest);
    oldest
}

fn trace(n: u8) -> TraceId {
    TraceId::parse("trace_id", format!("{n:032x}")).expect("a valid id")
}

prop_compose! {
    fn entries()(
        message in "\\PC{1,99}",
        service in "[abc]?",
        seconds in 0..50_u32,
        severity in 1..7,
        trace_id in option::of(1..9_u8),
        is_span in any::<bool>(),
    ) -> Entry {
        let mut entry = entry::tests::entry(&message);
        entry.service = service;
        entry.time = Time::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.into()));
        entry.severity = Severity::parse("severity", severity).expect("valid").expect("given");
        entry.trace_id = trace_id.map(trace);
        if is_span && entry.trace_id.is_some() {
            entry.span_id = Some(SpanId::parse("span_id", "00000000000000ab").expect("a valid id"));
            entry.span = Some(Box::new(entry::Span {
                parent_span_id: None,
                kind: entry::SpanKind::Internal,
                end_time: entry.time,
                status: entry::SpanStatus::Unset,
                status_message: String::new(),
                events: Vec::new(),
                links: Vec::new(),
                trace_state: String::new(),
            }));
        }
        entry
    }
}

prop_compose! {
    fn wanted()(
        services in proptest::collection::btree_set("[abcd]?", 0..3),
        times in option::of((0..50_u32, 0..50_u32)),
        severity in 0..7,
        kind in 0..3,
        trace_id in option::of(1..12_u8),
    ) -> Wanted {
        let time = |seconds: u32| Time::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.into()));
        Wanted {
            start: times.map(|(start, _)| time(start)),
            end: times.map(|(_, end)| time(end)),
            services,
            min_severity: Severity::parse("min_severity", severity).expect("valid"),
            kind: [Kind::Log, Kind::Span, Kind::Any][usize::try_from(kind).expect("small")],
            trace_id: trace_id.map(trace),
            trigrams: Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_entry_comes_back_sealed_and_once_the_index_is_made_again(entries in vec(entries(), 1..60)) {
        let (text, expected) = (text(&entries), numbered(&entries));
        let fixture = Fixture::sealed(&text);
        let sealed = fixture.open();
        prop_assert_eq!(all(&sealed), &expected[..]);
        let totals = sealed.totals().expect("there is an index").clone();
        prop_assert_eq!((totals.entries, totals.last, totals.next), (expected.len() as u64, expected.len() as u64, expected.len() as u64 + 1));
        let file = fs::read(fixture.path(&file_name(1))).expect("readable");
        prop_assert_eq!(zstd::stream::decode_all(&file[..]).expect("an ordinary file"), text);
        fs::remove_file(fixture.path(&sidecar::file_name(1))).expect("deleted");
        let sealed = fixture.open();
        prop_assert_eq!(sealed.totals(), None);
        prop_assert_eq!(all(&sealed), &expected[..]);
        let again = fixture.open();
        let mut found = again.totals().expect("it was written again").clone();
        found.sealed = totals.sealed;
        prop_assert_eq!(found, totals);
    }

    #[test]
    fn whatever_is_wanted_is_found_from_both_ends(entries in vec(entries(), 1..60), wanted in vec(wanted(), 1..9)) {
        let fixture = Fixture::sealed(&text(&entries));
        let sealed = fixture.open();
        for wanted in wanted {
            let expected: Vec<_> = numbered(&entries).into_iter().filter(|entry| wanted.matches(entry)).collect();
            prop_assert_eq!(both_ways(&sealed, &wanted), [expected.clone(), expected], "{:?}", wanted);
        }
    }

    #[test]
    fn damage_of_a_segment_loses_what_it_hits_and_nothing_else(
        entries in vec(entries(), 1..60),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        is_cut in any::<bool>(),
    ) {
        let (text, expected) = (text(&entries), numbered(&entries));
        let fixture = Fixture::sealed(&text);
        let path = fixture.path(&file_name(1));
        let mut file = fs::read(&path).expect("readable");
        let frames = frames(&fixture);
        let at = at.index(file.len());
        if is_cut {
            file.truncate(at);
        } else {
            file[at] ^= 1 << bit;
        }
        fs::write(&path, &file).expect("written");
        let is_hit = |(offsets, _): &&(Range<usize>, Range<u64>)| if is_cut { offsets.end > at } else { offsets.contains(&at) };
        let lost: Vec<Range<u64>> = frames.iter().filter(is_hit).map(|(_, numbers)| numbers.clone()).collect();
        let left: Vec<_> = expected.iter().filter(|entry| !lost.iter().any(|lost| lost.contains(&entry.sequence))).cloned().collect();
        let sealed = fixture.open();
        // With its index a flipped bit is seen when the frame is read; after a cut the index is made again.
        prop_assert_eq!(all(&sealed), &left[..]);
        prop_assert_eq!(sealed.damaged(), 1);
        fs::remove_file(fixture.path(&sidecar::file_name(1))).expect("deleted");
        let found = all(&fixture.open());
        // There is a bit in the header of a frame that means nothing.
        prop_assert!(found == left || !is_cut && found == expected, "{:?}", found);
    }

    #[test]
    fn damage_of_an_index_loses_nothing(
        entries in vec(entries(), 1..60),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        is_cut in any::<bool>(),
        is_open in any::<bool>(),
        wanted in wanted(),
    ) {
        let fixture = Fixture::sealed(&text(&entries));
        let expected: Vec<_> = numbered(&entries).into_iter().filter(|entry| wanted.matches(entry)).collect();
        let path = fixture.path(&sidecar::file_name(1));
        let sealed = fixture.open();
        if is_open {
            sealed.sidecar().expect("readable");
        }
        let mut index = fs::read(&path).expect("readable");
        let at = at.index(index.len());
        if is_cut {
            index.truncate(at);
        } else {
            index[at] ^= 1 << bit;
        }
        fs::write(&path, &index).expect("written");
        prop_assert_eq!(both_ways(&sealed, &wanted), [expected.clone(), expected.clone()]);
        prop_assert_eq!(both_ways(&fixture.open(), &wanted), [expected.clone(), expected]);
    }

    #[test]
    fn lines_that_are_no_entries_stay_and_hide_none(
        entries in vec(entries(), 1..40),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
    ) {
        let mut text = text(&entries);
        for (at, byte) in damages {
            let at = at.index(text.len());
            text[at] = byte;
        }
        let fixture = Fixture::new(&text);
        let contents = fixture.files.open(&plain::file_name(1)).expect("there");
        let index = scan(&*contents, 1, Tear::NONE).expect("readable").index;
        let size_bytes = usize::try_from(index.size_bytes()).expect("small");
        // What is empty is never sealed.
        prop_assume!(size_bytes > 0);
        contents.truncate(size_bytes as u64).expect("cut off");
        let plain = Segment::Plain(Arc::new(Plain::new(1, contents, index)));
        let [expected, _] = both_ways_in(&plain, &everything());
        assert!(seal(&*fixture.files).expect("sealed"));
        let file = fs::read(fixture.path(&file_name(1))).expect("readable");
        prop_assert_eq!(zstd::stream::decode_all(&file[..]).expect("an ordinary file"), &text[..size_bytes]);
        prop_assert_eq!(all(&fixture.open()), expected);
    }
}

/// Where each frame is in the file, and the numbers of its entries.
fn frames(fixture: &Fixture) -> Vec<(Range<usize>, Range<u64>)> {
    let file = fixture.files.open(&file_name(1)).expect("there");
    let mut walk = Walk::new(&*file).expect("readable");
    let (mut frames, mut first) = (Vec::new(), 1);
    while let Some(found) = walk.next().expect("readable") {
        let Found::Frame { offset, packed, text } = found else {
            panic!("nothing is damaged yet");
        };
        let start = usize::try_from(offset).expect("small");
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        frames.push((start..start + packed.len(), first..first + lines));
        first += lines;
    }
    frames
}

fn some_entries() -> Vec<Entry> {
    (0..20)
        .map(|n| entry::tests::entry(&format!("entry {n} {}", "x".repeat(90))))
        .collect()
}

#[test]
fn a_segment_has_many_frames_of_whole_lines() {
    let entries = some_entries();
    let fixture = Fixture::sealed(&text(&entries));
    let frames = frames(&fixture);
    assert!((3..20).contains(&frames.len()), "{frames:?}");
    assert_eq!(frames.last().map(|(_, numbers)| numbers.end), Some(21));
    assert_eq!(fixture.names(), [file_name(1), sidecar::file_name(1)].into());
}

#[test]
fn an_end_at_any_step_of_sealing_leaves_each_entry_once() {
    let entries = some_entries();
    let (text, expected) = (text(&entries), numbered(&entries));
    for steps in 0.. {
        let fixture = Fixture::new(&text);
        let dying = Dying::after(steps, fixture.files.clone());
        let done = keeper::tests::seal(dying);
        let plain = find_plain(&fixture);
        let sealed = find(&*fixture.files, &plain).expect("readable");
        assert_eq!(
            plain.len() + sealed.len(),
            1,
            "after {steps} steps: {:?}",
            fixture.names()
        );
        if plain.is_empty() {
            assert_eq!(all(&fixture.open()), expected, "after {steps} steps");
        } else {
            assert_eq!(fs::read(fixture.path(&plain::file_name(1))).expect("readable"), text);
            assert_eq!(fixture.names(), [plain::file_name(1)].into(), "after {steps} steps");
        }
        if done {
            assert!(steps > 10, "{steps} steps are not all");
            assert!(plain.is_empty());
            return;
        }
    }
}

fn find_plain(fixture: &Fixture) -> BTreeSet<u64> {
    fixture
        .names()
        .iter()
        .filter_map(|name| plain::parse_name(name))
        .collect()
}

#[test]
fn what_is_told_to_stop_leaves_nothing() {
    let fixture = Fixture::new(&text(&some_entries()));
    let plain = fixture.files.open(&plain::file_name(1)).expect("there");
    let sealing = Sealing {
        files: &*fixture.files,
        plain: &*plain,
        first: 1,
        size_bytes: plain.size_bytes().expect("readable"),
        writers: Writers::default(),
        stop: &AtomicBool::new(true),
        frame_bytes: FRAME_BYTES,
        effort: Effort::Thorough,
    };
    assert!(!sealing.run().expect("no error"));
    assert_eq!(fixture.names(), [plain::file_name(1)].into());
}

#[test]
fn what_belongs_to_no_segment_is_cleaned_up_and_nothing_else_is() {
    let fixture = Fixture::sealed(&text(&some_entries()));
    for name in [
        &sidecar::file_name(9),
        "log-00000000000000000007.jsonl.zst.tmp",
        "log-7.idx",
        "other.idx",
        "a.tmp",
    ] {
        fs::write(fixture.path(name), "x").expect("written");
    }
    assert_eq!(find(&*fixture.files, &BTreeSet::new()).expect("readable"), [1].into());
    let left = [&file_name(1), &sidecar::file_name(1), "log-7.idx", "other.idx", "a.tmp"];
    assert_eq!(fixture.names(), left.map(str::to_owned).into());
}

#[test]
fn for_a_trace_that_is_not_there_no_index_is_read() {
    let entries = (1..9).map(|n| Entry {
        trace_id: Some(trace(n)),
        ..entry::tests::entry("of a trace")
    });
    let fixture = Fixture::sealed(&text(&entries.collect::<Vec<_>>()));
    let sealed = fixture.open();
    let of_trace = |n| Wanted {
        trace_id: Some(trace(n)),
        ..everything()
    };
    assert!(sealed.from(1, &of_trace(100)).expect("readable").is_none());
    assert!(sealed.caches.sidecars.get(1).is_none());
    assert!(sealed.from(1, &of_trace(8)).expect("readable").is_some());
    assert!(sealed.caches.sidecars.get(1).is_some());
}

#[test]
fn the_index_of_another_file_is_not_believed() {
    let (one, mut entries) = (Fixture::sealed(&text(&some_entries())), some_entries());
    entries.truncate(9);
    let other = Fixture::sealed(&text(&entries));
    fs::copy(one.path(&sidecar::file_name(1)), other.path(&sidecar::file_name(1))).expect("copied");
    assert_eq!(all(&other.open()), numbered(&entries));
}

#[test]
fn what_was_found_is_read_also_when_the_segment_was_deleted_since() {
    let fixture = Fixture::sealed(&text(&some_entries()));
    let sealed = fixture.open();
    let lines = sealed.from(1, &everything()).expect("readable").expect("there");
    sealed.remove().expect("deleted");
    assert!(fixture.names().is_empty());
    assert!(!lines.read(&mut Reader::default()).is_empty());
    assert!(sealed.from(1, &everything()).expect("no error").is_none());
}

#[test]
fn the_writers_at_the_end_are_known_also_once_the_index_is_made_again() {
    let writer = |id: &str| WriterId::parse("writer", id).expect("a valid name");
    let mut text = Vec::new();
    let mut line = Vec::new();
    entry::encode(&entry::tests::entry("m"), &mut line);
    for n in 1..=4_u64 {
        let mark = entry::BatchMark {
            writer: "w".into(),
            number: n,
            entries: 1,
        };
        entry::number(n, Some(&mark), &line, &mut text);
    }
    let fixture = Fixture::sealed(&text);
    let last = LastBatch {
        number: 4,
        last_sequence: 4,
    };
    for _ in 0..2 {
        let mut writers = Writers::default();
        let encoded = fixture.open().writers().expect("readable");
        assert_eq!(writers.restore(&encoded), Some(()));
        assert_eq!(writers.get(&writer("w")), Some(last));
        fs::remove_file(fixture.path(&sidecar::file_name(1))).expect("deleted");
    }
}

#[test]
fn more_services_than_are_named_are_found_all_the_same() {
    let named = |n: usize| {
        let mut entry = entry::tests::entry("m");
        entry.service = format!("service-{n}");
        entry
    };
    let entries: Vec<_> = (0..1100).map(named).collect();
    let sealed = Fixture::sealed(&text(&entries)).open_kept();
    for n in [0, 1023, 1024, 1099] {
        let wanted = Wanted {
            services: [format!("service-{n}")].into(),
            ..Wanted::default()
        };
        let found = both_ways(&sealed.1, &wanted);
        assert_eq!(found.map(|found| found.len()), [1, 1], "{n}");
    }
}

impl Fixture {
    fn open_kept(self) -> (Self, Arc<Sealed>) {
        let sealed = self.open();
        (self, sealed)
    }
}

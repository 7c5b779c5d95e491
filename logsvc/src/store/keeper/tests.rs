use std::{fs, path::PathBuf};

use super::*;
use crate::{
    config::StoreSettings,
    entry::{self, tests::entry},
    store::{
        Kind, Wanted,
        disk::{Contents, Directory},
        entries, index, scan,
        segments::{Block, Reader},
    },
};

/// Seals the segment that starts with the entry 1. Returns whether that was done to its end.
pub(in crate::store) fn seal(files: Arc<dyn Files>) -> bool {
    let keeping = keeping(files, &[1], StoreSettings::default());
    let Some(Segment::Plain(plain)) = keeping.segments.list().first().map(|segment| (**segment).clone()) else {
        panic!("there is a plain segment");
    };
    plain.close(Writers::default().encode());
    keeping.seal(&plain, Effort::Fast).is_ok()
}

/// A disk without room: it says how much is free, and nothing can be written.
#[derive(Debug)]
struct Full(Arc<Directory>, u64);

impl Files for Full {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn Contents>> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        self.0.open(name)
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.1)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

/// How many entries each segment has.
const ENTRIES: u64 = 10;

/// A directory with plain segments of [`ENTRIES`] entries each.
fn directory(segments: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for first in firsts(segments) {
        let (mut text, mut line) = (Vec::new(), Vec::new());
        entry::encode(&entry("m"), &mut line);
        (first..first + ENTRIES).for_each(|n| entry::number(n, None, &line, &mut text));
        fs::write(directory.path().join(plain::file_name(first)), text).expect("written");
    }
    directory
}

fn firsts(segments: u64) -> Vec<u64> {
    (0..segments).map(|n| n * ENTRIES + 1).collect()
}

fn files(directory: &tempfile::TempDir) -> Arc<Directory> {
    Arc::new(Directory::open(directory.path()).expect("a directory"))
}

/// What would be the thread, all but the last segment closed.
fn keeping(files: Arc<dyn Files>, firsts: &[u64], settings: StoreSettings) -> Keeping {
    let open = |first: &u64| {
        let contents = files.open(&plain::file_name(*first)).expect("there");
        let index: index::Index = scan::scan(&*contents, *first, scan::Tear::NONE)
            .expect("readable")
            .index;
        Arc::new(Plain::new(*first, contents, index))
    };
    let segments: Vec<_> = firsts.iter().map(open).collect();
    for plain in &segments[..segments.len() - 1] {
        plain.close(Writers::default().encode());
    }
    let segments = segments
        .into_iter()
        .map(|plain| Arc::new(Segment::Plain(plain)))
        .collect();
    let segments = Arc::new(Segments::new(segments));
    let deletion = Deletion::new(files.clone(), segments.clone(), settings);
    Keeping::new(files, segments, Arc::default(), Arc::new(deletion), Arc::default())
}

fn kinds(keeping: &Keeping) -> Vec<(u64, bool)> {
    let kind = |segment: &Arc<Segment>| (segment.first(), matches!(**segment, Segment::Sealed(_)));
    keeping.segments.list().iter().map(kind).collect()
}

/// The numbers of all entries that readers find.
fn all(segments: &Segments) -> Vec<u64> {
    let wanted = Wanted {
        kind: Kind::Any,
        ..Wanted::default()
    };
    let (mut all, mut from) = (Vec::new(), 1);
    while let Some(block) = segments.block_from(from, &wanted).expect("readable") {
        all.extend(numbers(&block));
        from = block.last + 1;
    }
    all
}

fn numbers(block: &Block) -> Vec<u64> {
    let text = block.read(&mut Reader::default()).expect("readable");
    entries(block, &text, 1, u64::MAX)
        .map(|(entry, _)| entry.sequence)
        .collect()
}

#[test]
fn all_but_the_last_segment_are_sealed_oldest_first_and_readers_notice_nothing() {
    let directory = directory(3);
    let mut keeping = keeping(files(&directory), &firsts(3), StoreSettings::default());
    let expected: Vec<u64> = (1..=3 * ENTRIES).collect();
    let before = keeping
        .segments
        .block_from(1, &Wanted::default())
        .expect("readable")
        .expect("there");
    for sealed in 0..3 {
        let expected_kinds: Vec<_> = (0..).zip(firsts(3)).map(|(n, first)| (first, n < sealed)).collect();
        assert_eq!(kinds(&keeping), expected_kinds);
        assert_eq!(all(&keeping.segments), expected);
        assert_eq!(keeping.seal_next(Effort::Fast), sealed < 2);
    }
    assert_eq!(numbers(&before), (1..=ENTRIES).collect::<Vec<_>>());
    assert!(!directory.path().join(plain::file_name(1)).exists());
}

#[test]
fn a_segment_that_cannot_be_sealed_stays_as_it_is_and_is_left_alone_for_a_while() {
    let directory = directory(3);
    let full = Arc::new(Full(files(&directory), 0));
    let mut keeping = keeping(full, &firsts(3), StoreSettings::default());
    assert_eq!([(); 3].map(|()| keeping.seal_next(Effort::Fast)), [true, true, false]);
    assert_eq!(
        kinds(&keeping),
        firsts(3).into_iter().map(|first| (first, false)).collect::<Vec<_>>()
    );
    assert_eq!(all(&keeping.segments).len() as u64, 3 * ENTRIES);
}

#[test]
fn at_zero_bytes_free_the_oldest_segments_are_deleted_but_never_the_last() {
    let directory = directory(4);
    let files = files(&directory);
    let keep_sealed = keeping(files.clone(), &firsts(2), StoreSettings::default());
    let Some(Segment::Plain(plain)) = keep_sealed.segments.list().first().map(|segment| (**segment).clone()) else {
        panic!("there is a plain segment");
    };
    assert!(keep_sealed.seal(&plain, Effort::Thorough).expect("sealed"));
    let sealed = keep_sealed.segments.list()[0].clone();
    let full = Arc::new(Full(files, 0));
    let keeping = keeping(full, &firsts(4)[1..], StoreSettings::default());
    keeping.segments.change(|segments| segments.insert(0, sealed));
    let held = keeping
        .segments
        .block_from(1, &Wanted::default())
        .expect("readable")
        .expect("there");
    assert!(keeping.deletion.make_room(true));
    assert_eq!(kinds(&keeping), [(3 * ENTRIES + 1, false)]);
    assert_eq!(
        numbers(&held),
        (1..=ENTRIES).collect::<Vec<_>>(),
        "who found it before reads on"
    );
    let usage = keeping.deletion.usage();
    assert_eq!(
        (usage.segments, usage.deleted_segments, usage.deleted_entries),
        (1, 3, 3 * ENTRIES)
    );
    let names: Vec<_> = keeping
        .files
        .list()
        .expect("readable")
        .into_iter()
        .filter(|name| name != "lock")
        .collect();
    assert_eq!(names, [plain::file_name(3 * ENTRIES + 1)]);
    assert!(!keeping.deletion.make_room(true), "the last one stays");
}

#[test]
fn a_full_disk_costs_one_segment_at_a_time_and_room_enough_none() {
    let directory = directory(3);
    let plenty = Arc::new(Full(files(&directory), u64::MAX));
    let keeping = keeping(plenty, &firsts(3), StoreSettings::default());
    assert!(!keeping.deletion.make_room(false));
    assert!(keeping.deletion.make_room(true));
    assert_eq!(kinds(&keeping).len(), 2);
}

#[test]
fn what_is_deleted_while_it_is_sealed_does_not_come_back() {
    let directory = directory(2);
    let keeping = keeping(files(&directory), &firsts(2), StoreSettings::default());
    let Some(Segment::Plain(plain)) = keeping.segments.list().first().map(|segment| (**segment).clone()) else {
        panic!("there is a plain segment");
    };
    keeping.segments.change(|segments| drop(segments.remove(0)));
    assert!(keeping.seal(&plain, Effort::Fast).expect("no error"));
    let names: Vec<_> = keeping
        .files
        .list()
        .expect("readable")
        .into_iter()
        .filter(|name| name != "lock")
        .collect();
    assert_eq!(names, [plain::file_name(ENTRIES + 1)]);
}

#[test]
fn the_thread_ends_when_it_is_dropped() {
    let directory = directory(2);
    let Keeping {
        files,
        segments,
        caches,
        deletion,
        bell,
        ..
    } = keeping(files(&directory), &firsts(2), StoreSettings::default());
    let keeper = Keeper::start(files.clone(), segments.clone(), caches, deletion, bell.clone()).expect("a thread");
    bell.ring();
    drop(keeper);
    assert_eq!(all(&segments).len() as u64, 2 * ENTRIES);
    assert_eq!(
        Arc::strong_count(&files),
        1 + open_segments(&segments),
        "the thread holds nothing any more"
    );
}

fn open_segments(segments: &Segments) -> usize {
    segments
        .list()
        .iter()
        .filter(|segment| matches!(***segment, Segment::Sealed(_)))
        .count()
}

#[test]
fn of_what_waits_to_be_sealed_all_but_the_newest_may_leave_memory_and_is_still_read() {
    let count = CACHED_SEGMENTS as u64 + 3;
    let directory = directory(count);
    let keeping = keeping(files(&directory), &firsts(count), StoreSettings::default());
    let long_waiting: Vec<_> = keeping.long_waiting().map(|plain| plain.first()).collect();
    assert_eq!(long_waiting, [ENTRIES + 1, 1], "the last segment is not closed");
    let mut read = vec![0; 8];
    for plain in keeping.long_waiting() {
        plain.contents().leave_memory();
        plain.contents().read_exact(&mut read, 0).expect("it is still there");
        assert_eq!(read, b"{\"seq\":1");
    }
}

#[test]
fn sealing_waits_while_entries_come_in_a_burst_unless_too_much_waits_already() {
    let directory = directory(3);
    let files = files(&directory);
    let in_a_burst_on = |files: Arc<dyn Files>, retention_size_bytes| {
        let settings = StoreSettings {
            retention_size_bytes,
            ..StoreSettings::default()
        };
        let mut keeping = keeping(files, &firsts(3), settings);
        // As if all of them had come since: no time has passed.
        keeping.pace = Pace::new(Instant::now() + Duration::from_secs(3600), 0);
        keeping
    };
    let in_a_burst = |retention_size_bytes| in_a_burst_on(files.clone(), retention_size_bytes);
    let list = in_a_burst(u64::MAX).segments.list();
    let size_bytes = |segment: &Arc<Segment>| match &**segment {
        Segment::Plain(plain) => plain.index().size_bytes(),
        Segment::Sealed(_) => 0,
    };
    let bytes: u64 = list[..2].iter().map(size_bytes).sum();
    let mut room = in_a_burst((bytes + 1) * BACKLOG_PART);
    assert_eq!(room.effort(), None);
    assert_eq!(room.effort(), Some(Effort::Thorough), "no entry has come since");
    assert_eq!(in_a_burst(bytes * BACKLOG_PART).effort(), Some(Effort::Fast));
    // Without a limit, or with less room than that, the disk is the limit.
    for (free_bytes, effort) in [
        ((bytes + 1) * BACKLOG_PART, None),
        (bytes * BACKLOG_PART, Some(Effort::Fast)),
    ] {
        for limit in [0, u64::MAX] {
            let disk = Arc::new(Full(files.clone(), free_bytes));
            assert_eq!(in_a_burst_on(disk, limit).effort(), effort, "{free_bytes} of {limit}");
        }
    }
}

mod failures;
mod writers;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{entry::tests::entry, native::tests::batch_of};

/// Settings by which nothing is ever deleted.
pub(super) fn everything() -> StoreSettings {
    StoreSettings {
        retention_size_bytes: 0,
        retention_age: None,
        retention_free_bytes: 0,
        ..StoreSettings::default()
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("log-00000000000000000001.jsonl")
}

fn open(directory: &tempfile::TempDir) -> Store {
    Store::open(directory.path(), &StoreSettings::default()).expect("an open store")
}

async fn write_as(store: &Store, messages: &[&str], synced: bool, fate: &Fate) -> Result<u64, Error> {
    let entries: Vec<_> = messages.iter().map(|message| entry(message)).collect();
    store
        .append(
            batch_of(&entries),
            if synced {
                Durability::Synced
            } else {
                Durability::Written
            },
            fate,
        )
        .await?
        .wait()
        .await
}

async fn write(store: &Store, messages: &[&str]) -> Result<u64, Error> {
    write_as(store, messages, true, &Fate::default()).await
}

/// Everything that readers see, oldest first.
pub(super) fn all(store: &Store) -> Vec<(u64, String)> {
    let (mut all, mut first) = (Vec::new(), 1);
    while let Some(block) = store.block_from(first, &Wanted::default()).expect("readable") {
        let text = store.read(&block, &mut Reader::default()).expect("readable");
        all.extend(entries(&block, &text, 1, u64::MAX).map(|(entry, _)| (entry.sequence, entry.message)));
        first = block.last + 1;
    }
    all
}

fn numbered(messages: &[(u64, &str)]) -> Vec<(u64, String)> {
    messages
        .iter()
        .map(|(n, message)| (*n, (*message).to_owned()))
        .collect()
}

#[tokio::test]
async fn opening_again_keeps_all_and_continues_the_sequence() {
    let directory = directory();
    let store = open(&directory);
    assert_eq!(*store.visible().borrow(), 0);
    assert_eq!(write(&store, &["a", "b"]).await.expect("written"), 2);
    drop(store);
    let store = open(&directory);
    assert_eq!(*store.visible().borrow(), 2);
    assert_eq!(write(&store, &["c"]).await.expect("written"), 3);
    assert_eq!(all(&store), numbered(&[(1, "a"), (2, "b"), (3, "c")]));
}

#[tokio::test]
async fn only_the_own_user_may_read() {
    let parent = directory();
    let directory = parent.path().join("data");
    let store = Store::open(&directory, &StoreSettings::default()).expect("an open store");
    write(&store, &["a"]).await.expect("written");
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("log-00000000000000000001.jsonl")), 0o600);
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let directory = directory();
    let store = open(&directory);
    assert!(matches!(
        Store::open(directory.path(), &StoreSettings::default()),
        Err(Error::InUse(_))
    ));
    drop(store);
    assert!(Store::open(directory.path(), &StoreSettings::default()).is_ok());
}

#[tokio::test]
async fn a_directory_that_is_none_is_refused() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    assert!(matches!(
        Store::open(&file, &StoreSettings::default()),
        Err(Error::Open { .. })
    ));
}

/// The names of the log files, in order.
fn names(directory: &tempfile::TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).expect("a directory");
    let names = names.map(|file| file.expect("a file").file_name().into_string().expect("text"));
    let mut names: Vec<_> = names.filter(|name| name.starts_with("log-")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_segment_that_is_large_or_old_gives_way_to_the_next_one() {
    for settings in [
        StoreSettings {
            segment_size_bytes: 1,
            ..StoreSettings::default()
        },
        StoreSettings {
            segment_age: Duration::ZERO,
            ..StoreSettings::default()
        },
    ] {
        let directory = directory();
        // Segments stay as they are written: nothing is sealed.
        let open = || {
            let files = Directory::open(directory.path()).expect("a directory");
            let store = Store::open_in(
                Arc::new(files),
                "boot",
                NUMBERS_RESERVE,
                (&settings).into(),
                &everything(),
            );
            store.expect("an open store")
        };
        let store = open();
        for (n, message) in (1..).zip(["a", "b", "c"]) {
            assert_eq!(write(&store, &[message]).await.expect("written"), n);
        }
        let expected = [1, 2, 3].map(|n| format!("log-{n:020}.jsonl"));
        assert_eq!(names(&directory), expected);
        assert_eq!(all(&store), numbered(&[(1, "a"), (2, "b"), (3, "c")]));
        drop(store);
        let store = open();
        assert_eq!(all(&store), numbered(&[(1, "a"), (2, "b"), (3, "c")]));
        assert_eq!(write(&store, &["d"]).await.expect("written"), 4);
    }
}

#[tokio::test]
async fn numbers_may_jump_between_segments_and_are_found_from_both_sides() {
    let directory = directory();
    let store = open(&directory);
    assert_eq!(write(&store, &["a", "b"]).await.expect("written"), 2);
    drop(store);
    let text = fs::read_to_string(path(&directory)).expect("readable");
    let later = text
        .replace("\"seq\":1", "\"seq\":10")
        .replace("\"seq\":2", "\"seq\":11");
    fs::write(directory.path().join("log-00000000000000000010.jsonl"), later).expect("written");
    let store = open(&directory);
    let expected = numbered(&[(1, "a"), (2, "b"), (10, "a"), (11, "b")]);
    assert_eq!((all(&store), store.first()), (expected, 1));
    let wanted = Wanted::default();
    for (sequence, from, up_to) in [(1, 1, 1), (3, 10, 1), (9, 10, 1), (10, 10, 10), (99, 0, 10)] {
        let found = store.block_from(sequence, &wanted).expect("readable");
        assert_eq!(found.map_or(0, |block| block.first()), from);
        let found = store.block_up_to(sequence, &wanted).expect("readable");
        assert_eq!(found.map_or(0, |block| block.first()), up_to);
    }
    assert_eq!(write(&store, &["c"]).await.expect("written"), 12);
}

#[tokio::test]
async fn a_last_line_torn_anywhere_is_cut_off_and_nothing_before_it() {
    let directory = directory();
    let store = open(&directory);
    write(&store, &["a", "b"]).await.expect("written");
    let kept = fs::read(path(&directory)).expect("readable");
    write(&store, &["a \u{1b} \u{e9} message"]).await.expect("written");
    drop(store);
    let whole = fs::read(path(&directory)).expect("readable");
    for end in kept.len()..whole.len() {
        fs::write(path(&directory), &whole[..end]).expect("written");
        let store = open(&directory);
        assert_eq!(fs::read(path(&directory)).expect("readable"), kept, "torn at {end}");
        assert_eq!(write(&store, &["c"]).await.expect("written"), 3);
        assert_eq!(all(&store), numbered(&[(1, "a"), (2, "b"), (3, "c")]));
    }
}

#[tokio::test]
async fn a_last_line_of_garbage_is_cut_off() {
    let directory = directory();
    let store = open(&directory);
    write(&store, &["a"]).await.expect("written");
    drop(store);
    let kept = fs::read(path(&directory)).expect("readable");
    for garbage in [&b"\0\0\0\0"[..], b"\0\0\n", b"\xff\xfe\n", b"{}\n", b"\n"] {
        fs::write(path(&directory), [&kept, garbage].concat()).expect("written");
        assert_eq!(all(&open(&directory)), numbered(&[(1, "a")]));
        assert_eq!(fs::read(path(&directory)).expect("readable"), kept);
    }
}

#[tokio::test]
async fn a_damaged_line_is_left_out_but_never_deleted() {
    let directory = directory();
    let store = open(&directory);
    write(&store, &["a", "b", "c", "d"]).await.expect("written");
    drop(store);
    let whole = fs::read_to_string(path(&directory)).expect("readable");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let damages = [
        whole.replace("{\"seq\":2", "x\"seq\":2"),
        whole.replace("\"seq\":2", "\"seq\":92"),
        whole.replace("\"seq\":2", "\"seq\":1"),
        whole.replace("\"seq\":2", "\"seq\":18446744073709551615"),
        lines[..1].concat() + "torn\nin\npieces\n" + &lines[2..].concat(),
    ];
    for damage in damages {
        fs::write(path(&directory), &damage).expect("written");
        let store = open(&directory);
        assert_eq!(all(&store), numbered(&[(1, "a"), (3, "c"), (4, "d")]), "{damage}");
        assert_eq!(fs::read_to_string(path(&directory)).expect("readable"), damage);
        assert_eq!(write(&store, &["e"]).await.expect("written"), 5);
    }
    let merged = [lines[0], lines[1].trim_end(), lines[2], lines[3]].concat();
    fs::write(path(&directory), &merged).expect("written");
    assert_eq!(all(&open(&directory)), numbered(&[(1, "a"), (4, "d")]));
}

#[tokio::test]
async fn a_damaged_line_before_a_torn_one_keeps_its_number() {
    let directory = directory();
    let store = open(&directory);
    write(&store, &["a", "b", "c"]).await.expect("written");
    drop(store);
    let text = fs::read_to_string(path(&directory)).expect("readable");
    let damaged = text
        .replace("{\"seq\":2", "x\"seq\":2")
        .replace("{\"seq\":3", "x\"seq\":3");
    fs::write(path(&directory), damaged).expect("written");
    let store = open(&directory);
    assert_eq!(write(&store, &["d"]).await.expect("written"), 3);
    assert_eq!(all(&store), numbered(&[(1, "a"), (3, "d")]));
    drop(store);
    assert_eq!(all(&open(&directory)), numbered(&[(1, "a"), (3, "d")]));
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_takes_no_more() {
    let directory = directory();
    let store = Arc::new(open(&directory));
    let mut queued = Vec::new();
    for _ in 0..100 {
        let batch = batch_of(&[entry("m")]);
        queued.push(
            store
                .append(batch, Durability::Written, &Fate::default())
                .await
                .expect("queued"),
        );
    }
    let closing = store.clone();
    tokio::task::spawn_blocking(move || closing.close())
        .await
        .expect("closed");
    for (n, written) in (1..).zip(queued) {
        assert_eq!(written.wait().await.expect("written"), n);
    }
    assert!(matches!(write(&store, &["m"]).await, Err(Error::Draining)));
    assert_eq!(all(&store).len(), 100);
}

#[tokio::test]
async fn many_writers_get_a_number_each_and_batches_stay_together() {
    let directory = directory();
    let store = Arc::new(open(&directory));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..40 {
        let store = store.clone();
        writers.spawn(async move {
            let messages = ["0", "1", "2"].map(|n| format!("{writer}.{n}"));
            let last = write(&store, &messages.each_ref().map(String::as_str))
                .await
                .expect("written");
            (last, messages)
        });
    }
    let written = writers.join_all().await;
    let all = all(&store);
    assert_eq!(all.len(), 120);
    for (last, messages) in written {
        let at = usize::try_from(last).expect("a small number");
        let batch: Vec<_> = all[at - 3..at].iter().map(|(_, message)| message.clone()).collect();
        assert_eq!(batch, messages);
    }
}

#[tokio::test]
async fn a_batch_larger_than_the_queue_is_written() {
    let directory = directory();
    let store = open(&directory);
    let huge = entry(&"\u{1}".repeat(crate::entry::MESSAGE_BYTES_MAX));
    let batch = batch_of(&vec![huge; 12]);
    assert!(batch.text.len() > queue::QUEUE_BYTES_MAX);
    let written = store
        .append(batch, Durability::Written, &Fate::default())
        .await
        .expect("queued");
    assert_eq!(written.wait().await.expect("written"), 12);
}

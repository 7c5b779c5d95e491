//! Batches of writers: each is written once, and whole.

use super::{
    failures::{Broken, Faults},
    *,
};

fn writer() -> WriterId {
    WriterId::parse("writer", "w").expect("a valid name")
}

async fn send(store: &Store, number: u64, messages: &[&str], durability: Durability) -> Written {
    let entries: Vec<_> = messages.iter().map(|message| entry(message)).collect();
    let batch = batch_of(&entries).of_writer(writer(), number);
    let queued = store.append(batch, durability, &Fate::default()).await;
    queued.expect("queued")
}

async fn write_batch(store: &Store, number: u64, messages: &[&str]) {
    let written = send(store, number, messages, Durability::Written).await;
    written.wait().await.expect("written");
}

#[tokio::test]
async fn a_batch_that_comes_again_is_answered_and_not_written_again() {
    let directory = directory();
    let store = open(&directory);
    assert_eq!(store.last_batch(&writer()), None);
    let (synced, written) = (Durability::Synced, Durability::Written);
    let mut queued = Vec::new();
    for (number, messages) in [
        (1, &["a", "b"][..]),
        (1, &["a", "b"]),
        (5, &["c"]),
        (1, &["a", "b"]),
        (5, &["c"]),
    ] {
        queued.push(send(&store, number, messages, written).await);
    }
    for (queued, last) in queued.into_iter().zip([2, 2, 3, 0, 3]) {
        assert_eq!(queued.wait().await.expect("written"), last);
    }
    assert_eq!(store.last_batch(&writer()), Some(5));
    drop(store);
    let store = open(&directory);
    assert_eq!(store.last_batch(&writer()), Some(5));
    assert_eq!(send(&store, 5, &["c"], synced).await.wait().await.expect("known"), 3);
    assert_eq!(send(&store, 4, &["c"], synced).await.wait().await.expect("known"), 0);
    assert_eq!(send(&store, 6, &["d"], synced).await.wait().await.expect("written"), 4);
    assert_eq!(all(&store), numbered(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]));
}

#[tokio::test]
async fn a_batch_that_comes_again_is_as_durable_as_asked_when_it_is_answered() {
    let directory = directory();
    let broken = Broken::open(directory.path());
    let first = send(&broken.store, 1, &["a"], Durability::Written).await;
    assert_eq!(first.wait().await.expect("written"), 1);
    broken.set(Faults {
        sync: true,
        ..Faults::default()
    });
    let again = send(&broken.store, 1, &["a"], Durability::Synced).await;
    assert!(matches!(again.wait().await, Err(Error::StoreFailed)));
}

#[tokio::test]
async fn a_batch_that_failed_is_written_when_it_comes_again() {
    let directory = directory();
    let broken = Broken::open(directory.path());
    broken.set(Faults {
        append: Some(io::ErrorKind::StorageFull),
        ..Faults::default()
    });
    let failed = send(&broken.store, 1, &["a"], Durability::Written).await;
    assert!(matches!(failed.wait().await, Err(Error::DiskFull)));
    assert_eq!(broken.store.last_batch(&writer()), None);
    broken.set(Faults::default());
    let again = send(&broken.store, 1, &["a"], Durability::Written).await;
    assert_eq!(again.wait().await.expect("written"), 1);
}

#[tokio::test]
async fn a_batch_of_a_writer_that_is_torn_anywhere_is_cut_off_whole() {
    let directory = directory();
    let store = open(&directory);
    write(&store, &["a"]).await.expect("written");
    write_batch(&store, 1, &["b"]).await;
    let kept = fs::read(path(&directory)).expect("readable");
    write_batch(&store, 2, &["c", "d", "e"]).await;
    drop(store);
    let whole = fs::read(path(&directory)).expect("readable");
    for end in kept.len()..whole.len() {
        fs::write(path(&directory), &whole[..end]).expect("written");
        let store = open(&directory);
        assert_eq!(fs::read(path(&directory)).expect("readable"), kept, "torn at {end}");
        assert_eq!(store.last_batch(&writer()), Some(1));
    }
}

#[tokio::test]
async fn damage_at_the_end_of_a_batch_costs_no_more_than_it_hit() {
    let directory = directory();
    let store = open(&directory);
    write_batch(&store, 1, &["a", "b", "c"]).await;
    drop(store);
    let whole = fs::read_to_string(path(&directory)).expect("readable");
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let merged = [lines[0], lines[1].trim_end(), lines[2]].concat();
    for (damaged, kept) in [
        (whole.replace("{\"seq\":3", "x\"seq\":3"), &[(1, "a"), (2, "b")][..]),
        (merged, &[(1, "a")]),
    ] {
        fs::write(path(&directory), damaged).expect("written");
        for _ in 0..2 {
            let store = open(&directory);
            assert_eq!((all(&store), store.last_batch(&writer())), (numbered(kept), Some(1)));
        }
        let store = open(&directory);
        assert_eq!(write(&store, &["d"]).await.expect("written"), 4);
        assert_eq!(all(&store), [numbered(kept), numbered(&[(4, "d")])].concat());
    }
}

use std::pin::{Pin, pin};

use futures_util::{FutureExt, StreamExt};
use homeroom::proto::log::v1 as proto;
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::*;
use crate::{
    config::StoreSettings,
    entry::tests::entry,
    native::tests::batch_of,
    query::tests::world::{append, delete_oldest, small_segments_up_to},
    store::{Durability, Fate},
};

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(directory.path(), &StoreSettings::default()).expect("an open store");
    (directory, Arc::new(store))
}

async fn write(store: &Store, messages: &[&str]) {
    let entries: Vec<_> = messages.iter().map(|message| entry(message)).collect();
    let written = store
        .append(batch_of(&entries), Durability::Written, &Fate::default())
        .await;
    written.expect("queued").wait().await.expect("written");
}

fn tail(
    store: &Arc<Store>,
    text: &str,
    after: Option<u64>,
) -> std::pin::Pin<Box<dyn Stream<Item = Result<Part, Error>>>> {
    let message = proto::Filter {
        text: text.to_owned(),
        ..Default::default()
    };
    let filter = Filter::try_from(message).expect("a valid filter");
    let start = Start { after, lag_max: 0 };
    Tails::new(store.clone())
        .follow(filter, start, Shutdown::new())
        .boxed_local()
}

fn from(after: u64) -> Start {
    Start {
        after: Some(after),
        lag_max: 0,
    }
}

async fn next(tail: &mut (impl Stream<Item = Result<Part, Error>> + Unpin)) -> (Vec<String>, u64) {
    let part = tail.next().await.expect("it goes on").expect("no error");
    assert_eq!(part.dropped, None);
    let entries = part.found.iter().flat_map(|found| &found.entries);
    let message = |entry: &Encoded| proto::Entry::decode(&entry.message[..]).expect("a message").message;
    (entries.map(message).collect(), part.sequence)
}

fn part(messages: &[&str], sequence: u64) -> (Vec<String>, u64) {
    (messages.iter().map(|message| (*message).to_owned()).collect(), sequence)
}

#[tokio::test]
async fn it_starts_at_the_end_or_where_asked() {
    let (_directory, store) = store();
    write(&store, &["a", "b", "c"]).await;
    let (mut end, mut all, mut some) = (
        tail(&store, "", None),
        tail(&store, "", Some(0)),
        tail(&store, "", Some(2)),
    );
    assert_eq!(next(&mut end).await, part(&[], 3));
    assert_eq!(next(&mut all).await, part(&[], 0));
    assert_eq!(next(&mut all).await, part(&["a", "b", "c"], 3));
    assert_eq!(next(&mut some).await, part(&[], 2));
    assert_eq!(next(&mut some).await, part(&["c"], 3));
    assert!(end.next().now_or_never().is_none(), "nothing is new yet");
    write(&store, &["d"]).await;
    for tail in [&mut end, &mut all, &mut some] {
        assert_eq!(next(tail).await, part(&["d"], 4));
    }
}

#[tokio::test]
async fn it_tells_where_it_is_though_nothing_matches() {
    let (_directory, store) = store();
    let mut tail = tail(&store, "needle", None);
    assert_eq!(next(&mut tail).await, part(&[], 0));
    write(&store, &["a", "b"]).await;
    assert_eq!(next(&mut tail).await, part(&[], 2));
    write(&store, &["c", "a needle", "d"]).await;
    assert_eq!(next(&mut tail).await, part(&["a needle"], 5));
}

#[tokio::test]
async fn a_number_not_reached_yet_is_waited_for() {
    let (_directory, store) = store();
    let mut tail = tail(&store, "", Some(2));
    assert_eq!(next(&mut tail).await, part(&[], 2));
    write(&store, &["a", "b"]).await;
    assert!(tail.next().now_or_never().is_none(), "only what is later is sent");
    write(&store, &["c"]).await;
    assert_eq!(next(&mut tail).await, part(&["c"], 3));
    let mut last = super::tests::tail(&store, "", Some(u64::MAX));
    assert_eq!(next(&mut last).await, part(&[], u64::MAX));
}

#[tokio::test]
async fn it_ends_when_the_service_drains_or_the_segment_is_closed() {
    let (_directory, store) = store();
    write(&store, &["a"]).await;
    let shutdown = Shutdown::new();
    let mut drained = pin!(Tails::new(store.clone()).follow(Filter::default(), from(0), shutdown.clone()));
    let mut closed = tail(&store, "", None);
    for _ in 0..2 {
        assert!(drained.next().await.is_some_and(|part| part.is_ok()));
    }
    shutdown.cancel();
    assert!(matches!(drained.next().await, Some(Err(Error::Draining))));
    assert!(drained.next().await.is_none());
    next(&mut closed).await;
    store.close();
    assert!(matches!(closed.next().await, Some(Err(Error::Draining))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_resumes_again_and_again_gets_everything_once_while_writers_write() {
    const WRITERS: usize = 4;
    const BATCHES: usize = 60;
    const BATCH: usize = 40;
    let (_directory, store) = store();
    let tails = Tails::new(store.clone());
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for _ in 0..BATCHES {
                write(&store, &["m"; BATCH]).await;
            }
        });
    }
    let (total, mut all, mut after) = ((WRITERS * BATCHES * BATCH) as u64, Vec::new(), 0);
    while after < total {
        // Each connection is dropped after some parts; the caller goes on from the last number it has.
        let mut tail = pin!(tails.follow(Filter::default(), from(after), Shutdown::new()).take(3));
        while after < total
            && let Some(part) = tail.next().await
        {
            let part = part.expect("no error");
            let entries = part.found.iter().flat_map(|found| &found.entries);
            all.extend(entries.map(|entry| entry.sequence));
            after = part.sequence;
            assert_eq!(all.last().copied().unwrap_or(0), after);
        }
    }
    writers.join_all().await;
    assert!(all.into_iter().eq(1..=total));
}

type Parts = Pin<Box<dyn Stream<Item = Result<Part, Error>>>>;

fn follow(tails: &Tails, start: Start) -> Parts {
    tails.follow(Filter::default(), start, Shutdown::new()).boxed_local()
}

async fn part_of(tail: &mut Parts) -> Part {
    tail.next().await.expect("it goes on").expect("no error")
}

fn numbers(part: &Part) -> Vec<u64> {
    let entries = part.found.iter().flat_map(|found| &found.entries);
    entries.map(|entry| entry.sequence).collect()
}

#[tokio::test]
async fn a_reader_too_far_behind_is_taken_to_the_end_and_told_what_it_missed() {
    let (_directory, store) = store();
    let tails = Tails::new(store.clone());
    let mut slow = follow(
        &tails,
        Start {
            after: None,
            lag_max: 3,
        },
    );
    let mut patient = follow(&tails, Start::default());
    for tail in [&mut slow, &mut patient] {
        part_of(tail).await;
    }
    write(&store, &["a", "b", "c"]).await;
    assert_eq!(
        numbers(&part_of(&mut slow).await),
        [1, 2, 3],
        "as far behind as it may be"
    );
    write(&store, &["d", "e", "f", "g"]).await;
    let dropped = part_of(&mut slow).await;
    assert_eq!(
        (dropped.dropped, dropped.sequence),
        (Some(Missed { first: 4, last: 7 }), 7)
    );
    assert!(dropped.found.is_none());
    write(&store, &["h"]).await;
    let part = part_of(&mut slow).await;
    assert_eq!((part.dropped, numbers(&part)), (None, vec![8]));
    let mut all = Vec::new();
    while all.len() < 8 {
        all.extend(numbers(&part_of(&mut patient).await));
    }
    assert_eq!(all, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn open_tails_are_counted() {
    let (_directory, store) = store();
    let tails = Tails::new(store);
    let (first, second) = (
        follow(&tails, Start::default()),
        follow(&tails.clone(), Start::default()),
    );
    assert_eq!(tails.open(), 2);
    drop(first);
    assert_eq!(tails.open(), 1);
    drop(second);
    assert_eq!(tails.open(), 0);
}

#[tokio::test]
async fn tails_with_one_filter_read_the_end_of_the_log_once() {
    let (_directory, store) = store();
    let tails = Tails::new(store.clone());
    let mut readers: Vec<_> = (0..3).map(|_| follow(&tails, Start::default())).collect();
    for tail in &mut readers {
        part_of(tail).await;
    }
    write(&store, &["a", "b"]).await;
    let mut found = Vec::new();
    for tail in &mut readers {
        found.push(part_of(tail).await.found.expect("entries"));
    }
    assert!(found.iter().all(|other| Arc::ptr_eq(other, &found[0])));
    readers.truncate(1);
    drop(found);
    write(&store, &["c"]).await;
    let alone = part_of(&mut readers[0]).await.found.expect("an entry");
    assert_eq!(
        (alone.entries.len(), Arc::strong_count(&alone)),
        (1, 1),
        "nothing is kept for others"
    );
}

#[tokio::test]
async fn tails_with_other_filters_do_not_get_what_was_read_for_one() {
    let (_directory, store) = store();
    let tails = Tails::new(store.clone());
    let filter = |text: &str| {
        let message = proto::Filter {
            text: text.to_owned(),
            ..Default::default()
        };
        Filter::try_from(message).expect("a valid filter")
    };
    let tail = |text| {
        tails
            .follow(filter(text), Start::default(), Shutdown::new())
            .boxed_local()
    };
    let (mut a, mut b) = (tail("a"), tail("b"));
    for tail in [&mut a, &mut b] {
        part_of(tail).await;
    }
    write(&store, &["a", "b", "ab"]).await;
    assert_eq!(numbers(&part_of(&mut a).await), [1, 3]);
    assert_eq!(numbers(&part_of(&mut b).await), [2, 3]);
}

/// What happens around a reader.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// So many entries are written.
    Written(u8),
    /// It reads a part, if there is one.
    Read,
    /// Its connection breaks, and it resumes.
    Resumed,
    /// Log starts again, so many segments fewer: retention had deleted them.
    Restarted(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1_u8..5).prop_map(Event::Written),
        4 => Just(Event::Read),
        1 => Just(Event::Resumed),
        1 => (0_u8..4).prop_map(Event::Restarted),
    ]
}

fn message() -> proto::Entry {
    proto::Entry {
        message: "m".to_owned(),
        ..Default::default()
    }
}

/// Follows on from a number.
async fn resume(store: &Arc<Store>, at: u64, lag_max: u64) -> Parts {
    let start = Start {
        after: Some(at),
        lag_max,
    };
    let mut tail = follow(&Tails::new(store.clone()), start);
    assert_eq!(part_of(&mut tail).await.sequence, at);
    tail
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_entry_is_read_once_or_told_as_dropped_whatever_happens(
        events in vec(event(), 1..40),
        lag_max in prop_oneof![Just(0), 1_u64..9],
        // About a dozen entries, or no limit.
        retained_bytes in prop_oneof![Just(0), Just(2000)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut store = small_segments_up_to(&directory, retained_bytes);
            append(&store, &vec![message(); 1]).await;
            let (mut at, mut written) = (1, 1);
            let mut tail = resume(&store, at, lag_max).await;
            for event in events.into_iter().chain([Event::Read; 9]) {
                match event {
                    Event::Written(entries) => {
                        append(&store, &vec![message(); entries.into()]).await;
                        written += u64::from(entries);
                    }
                    Event::Read if at < written => {
                        let part = part_of(&mut tail).await;
                        let next = part.dropped.map_or(at + 1, |dropped| dropped.last + 1);
                        if let Some(dropped) = part.dropped {
                            let is_far = lag_max > 0 && written - at > lag_max && dropped.last == written;
                            assert!(dropped.first == at + 1 && (is_far || next <= store.first()));
                        }
                        assert!(numbers(&part).into_iter().eq(next..=part.sequence));
                        at = part.sequence;
                    }
                    Event::Read => {}
                    Event::Resumed => tail = resume(&store, at, lag_max).await,
                    Event::Restarted(deleted) => {
                        drop(tail);
                        drop(store);
                        delete_oldest(&directory, deleted.into());
                        store = small_segments_up_to(&directory, retained_bytes);
                        tail = resume(&store, at, lag_max).await;
                    }
                }
            }
            assert_eq!(at, written);
        });
    }
}

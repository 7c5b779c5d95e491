use std::pin::pin;

use futures_util::{FutureExt, StreamExt};
use homeroom::proto::log::v1 as proto;

use super::*;
use crate::{
    config::StoreSettings,
    entry::tests::entry,
    store::{Batch, Durability, Fate},
};

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(directory.path(), &StoreSettings::default()).expect("an open store");
    (directory, Arc::new(store))
}

async fn write(store: &Store, messages: &[&str]) {
    let entries: Vec<_> = messages.iter().map(|message| entry(message)).collect();
    let written = store
        .append(Batch::encode(&entries), Durability::Written, &Fate::default())
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
    (entries.map(|entry| entry.message.clone()).collect(), part.sequence)
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

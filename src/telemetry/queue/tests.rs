use std::time::Duration;

use super::*;
use crate::testing::soon;

fn entry(n: usize) -> Entry {
    Entry {
        message: n.to_string(),
        ..Entry::default()
    }
}

fn filled(policy: QueuePolicy, entries_max: usize, count: usize) -> (Queue, Entries) {
    let (queue, entries) = queue(QueueSettings { entries_max, policy });
    (0..count).for_each(|n| queue.push(entry(n)));
    (queue, entries)
}

fn taken(entries: &Entries) -> Vec<usize> {
    let taken = entries.take(usize::MAX).into_iter();
    taken.map(|entry| entry.message.parse().expect("a number")).collect()
}

#[test]
fn a_full_queue_drops_the_newest_or_the_oldest_and_counts_them() {
    for (policy, left) in [
        (QueuePolicy::DropNewest, [0, 1, 2]),
        (QueuePolicy::DropOldest, [4, 5, 6]),
    ] {
        let (queue, entries) = filled(policy, 3, 7);
        assert_eq!(queue.len(), 3);
        assert_eq!(taken(&entries), left);
        assert_eq!((entries.take_dropped(), entries.take_dropped()), (4, 0));
        assert_eq!(queue.counters().dropped.load(Relaxed), 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thread_that_waits_for_room_does_not_keep_its_other_tasks_from_making_it() {
    let (queue, entries) = filled(QueuePolicy::Block, 2, 0);
    // The worker that pushes is the only one, and was to run this task, too.
    let pushing = tokio::spawn(async move {
        let taking = tokio::spawn(async move {
            let mut all = Vec::new();
            while all.len() < 100 {
                entries.some().await;
                all.extend(taken(&entries));
            }
            (all, entries.take_dropped())
        });
        (0..100).for_each(|n| queue.push(entry(n)));
        taking.await.expect("no panic")
    });
    let (all, dropped) = soon("all entries", pushing).await.expect("no panic");
    assert_eq!((all, dropped), ((0..100).collect(), 0));
}

#[test]
fn a_thread_that_waits_for_room_is_let_go_when_there_is_some_or_nobody_takes_any_more() {
    for end in [|entries: Entries| assert_eq!(taken(&entries), [0, 1]), drop] {
        let (queue, entries) = filled(QueuePolicy::Block, 2, 2);
        let pushing = std::thread::spawn(move || queue.push(entry(2)));
        end(entries);
        pushing.join().expect("no panic");
    }
}

#[test]
fn only_the_first_entry_waits_in_vain() {
    let (queue, entries) = filled(QueuePolicy::Block, 2, 3);
    assert!(queue.0.stuck.load(Relaxed), "it has waited");
    queue.push(entry(3));
    assert_eq!(entries.take_dropped(), 2);
    assert_eq!(taken(&entries), [0, 1]);
    assert!(!queue.0.stuck.load(Relaxed), "there is room again");
}

#[tokio::test]
async fn nobody_waits_on_a_runtime_of_one_thread() {
    let (queue, entries) = filled(QueuePolicy::Block, 2, 3);
    assert!(!queue.0.stuck.load(Relaxed), "it has not waited");
    assert_eq!((entries.take_dropped(), taken(&entries)), (1, vec![0, 1]));
}

#[tokio::test]
async fn who_waits_for_entries_is_woken_by_the_first_one_and_by_many() {
    let (queue, entries) = filled(QueuePolicy::DropNewest, 10, 0);
    let waiting = tokio::spawn(async move {
        entries.some().await;
        entries.many().await;
        entries
    });
    for n in 0..5 {
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        queue.push(entry(n));
    }
    let entries = soon("the end of the wait", waiting).await.expect("no panic");
    assert_eq!(taken(&entries).len(), 5);
}

#[test]
fn a_queue_that_nobody_takes_from_any_more_holds_nothing() {
    let (queue, entries) = filled(QueuePolicy::DropOldest, 2, 0);
    drop(entries);
    queue.push(entry(0));
    assert_eq!((queue.len(), queue.counters().dropped.load(Relaxed)), (0, 1));
    assert_eq!(BLOCK_MAX, Duration::from_secs(1));
}

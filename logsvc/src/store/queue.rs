//! What waits for the committer.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::append::{Append, Batch, Durability, Fate, Written};
use crate::error::Error;

/// How much waits for the committer, so that slow disks do not fill the memory; more waits in the callers.
pub(super) const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a batch takes besides its text, so that small ones do not fill the memory either.
const BATCH_BYTES: usize = 1024;
/// How long a caller waits for room: longer than a disk stutters, and shorter than clients wait for an answer.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);
/// A group ends with the batch that reaches this size: a disk is at its best long before, and others wait for it.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Whether batches are taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// What waits is still written.
    Closed,
    /// There is no committer any more.
    Abandoned,
}

#[derive(Debug, Default)]
struct Waiting {
    appends: VecDeque<Append>,
    state: State,
    /// Whether the committer is still to be woken: while it is at work it finds by itself what waits.
    committer_sleeps: bool,
}

/// Batches in the order in which they are written.
#[derive(Debug)]
pub(super) struct Queue {
    /// In bytes.
    room: Arc<Semaphore>,
    /// Guards what waits; held to add to it or to take from it.
    waiting: Mutex<Waiting>,
    /// Something waits, or the queue was closed.
    arrived: Condvar,
}

/// What the committer has to do.
#[derive(Debug)]
pub(super) enum Work {
    /// To write these.
    Group(Vec<Append>),
    /// To look after what is due.
    Nothing,
    /// To end.
    End,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            waiting: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Adds a batch once there is room.
    ///
    /// Cancel safe: it is added or it is not.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::Draining`] once closed, [`Error::StoreFailed`] once abandoned.
    pub(super) async fn push(&self, batch: Batch, durability: Durability, fate: Fate) -> Result<Written, Error> {
        let size_bytes = (batch.text.len() + BATCH_BYTES).min(QUEUE_BYTES_MAX);
        let permits = u32::try_from(size_bytes).expect("the room is counted in 32 bits");
        let room = self.room(permits).await?;
        let (answer, written) = oneshot::channel();
        let mut waiting = self.waiting();
        match waiting.state {
            State::Open => {}
            State::Closed => return Err(Error::Draining),
            State::Abandoned => return Err(Error::StoreFailed),
        }
        waiting.appends.push_back(Append {
            batch,
            synced: durability == Durability::Synced,
            fate,
            answer,
            _room: room,
        });
        let committer_sleeps = mem::take(&mut waiting.committer_sleeps);
        // Who is woken finds it unlocked.
        drop(waiting);
        if committer_sleeps {
            self.arrived.notify_one();
        }
        Ok(Written::new(written))
    }

    /// How much waits, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        QUEUE_BYTES_MAX - self.room.available_permits()
    }

    async fn room(&self, permits: u32) -> Result<OwnedSemaphorePermit, Error> {
        // There usually is some, and then nothing is to be timed.
        if let Ok(room) = self.room.clone().try_acquire_many_owned(permits) {
            return Ok(room);
        }
        let room = timeout(ROOM_WAIT_MAX, self.room.clone().acquire_many_owned(permits)).await;
        room.map_err(|_| Error::Overloaded)?.map_err(|_| Error::StoreFailed)
    }

    /// Takes what waits, as much as makes a group, as soon as there is anything: what comes while a group is written and
    /// synced makes the next one. Returns without it at `until`.
    pub(super) fn take(&self, until: Option<Instant>) -> Work {
        let mut waiting = self.waiting();
        loop {
            if !waiting.appends.is_empty() {
                return Work::Group(group(&mut waiting.appends));
            }
            if waiting.state != State::Open {
                return Work::End;
            }
            let due = until.map(|until| until.saturating_duration_since(Instant::now()));
            if due.is_some_and(|due| due.is_zero()) {
                return Work::Nothing;
            }
            waiting.committer_sleeps = true;
            waiting = match due {
                None => self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(rest) => {
                    let woken = self.arrived.wait_timeout(waiting, rest);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            waiting.committer_sleeps = false;
        }
    }

    /// Takes no more batches.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        if waiting.state == State::Open {
            waiting.state = State::Closed;
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Tells that nobody takes anything any more: fails what waits, and what comes.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting();
        if waiting.state == State::Open {
            waiting.state = State::Abandoned;
        }
        let failed = mem::take(&mut waiting.appends);
        drop(waiting);
        drop(failed);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn group(appends: &mut VecDeque<Append>) -> Vec<Append> {
    let mut size_bytes = 0;
    let is_full = |append: &Append| {
        let is_full = size_bytes >= GROUP_BYTES;
        size_bytes += append.batch.text.len();
        is_full
    };
    let length = appends.iter().position(is_full).unwrap_or(appends.len());
    appends.drain(..length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(size_bytes: usize) -> Batch {
        let mut batch = Batch::default();
        batch.text.resize(size_bytes, b'x');
        batch
    }

    async fn push(queue: &Queue, size_bytes: usize) -> Result<Written, Error> {
        queue.push(batch(size_bytes), Durability::Synced, Fate::default()).await
    }

    fn taken(work: Work) -> usize {
        match work {
            Work::Group(group) => group.len(),
            other => panic!("{other:?} is no group"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_for_some_seconds_is_refused() {
        let queue = Queue::new();
        let _written = push(&queue, QUEUE_BYTES_MAX).await.expect("room");
        let started = tokio::time::Instant::now();
        let refused = push(&queue, 1).await;
        assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
        assert_eq!(started.elapsed(), ROOM_WAIT_MAX);
        drop(queue.take(None));
        push(&queue, 1).await.expect("room once it is taken and answered");
    }

    #[tokio::test]
    async fn all_that_waits_is_taken_as_groups_that_end_once_they_are_full() {
        let queue = Queue::new();
        let now = queue.take(Some(Instant::now()));
        assert!(matches!(now, Work::Nothing), "{now:?}");
        for size_bytes in [1, 1, GROUP_BYTES - 2, 1, 1] {
            let _written = push(&queue, size_bytes).await.expect("room");
        }
        assert_eq!(taken(queue.take(None)), 3);
        queue.close();
        assert_eq!(taken(queue.take(None)), 2);
        assert!(matches!(queue.take(None), Work::End));
    }
}

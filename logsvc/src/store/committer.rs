//! The thread that writes: it takes what is queued as one group, writes and syncs it at once, and answers.
//!
//! Nothing here is logged for each request: the log of this service goes into itself, so that would never end.

use std::{
    cmp::Ordering,
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    append::{Append, Batch},
    commit::{Commit, OnCommit},
    disk::is_full,
    writers::{LastBatch, WriterId, Writers},
    writing::Writing,
};
use crate::error::Error;

/// A group ends with the batch that reaches this size: a disk is at its best long before, and others wait for it.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// What the disk was like the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Working,
    /// The last write found no room. Each write tries again.
    Full,
    /// What a write leaves on the disk is not known any more: nothing is written again until a restart looks at it.
    Retired,
}

/// Owns the end of the log.
pub(super) struct Committer {
    writing: Writing,
    /// Guards what is known of writers; changed only here. Never held while a disk is waited for.
    writers: Arc<Mutex<Writers>>,
    visible: watch::Sender<u64>,
    on_commit: OnCommit,
    state: State,
    /// The text of a group, kept for its room.
    text: Vec<u8>,
}

/// What becomes of a group once it is written.
#[derive(Default)]
struct Plan {
    /// The number of the last entry of each batch; 0 where it is not known any more.
    answers: Vec<u64>,
    /// Which batches are written: the others are duplicates.
    is_new: Vec<bool>,
    /// The sizes of the pieces of those that are.
    sizes: Vec<usize>,
    last_batches: HashMap<WriterId, LastBatch>,
}

impl Committer {
    pub(super) fn new(
        writing: Writing,
        writers: Arc<Mutex<Writers>>,
        visible: watch::Sender<u64>,
        on_commit: OnCommit,
    ) -> Self {
        Self {
            writing,
            writers,
            visible,
            on_commit,
            state: State::Working,
            text: Vec::new(),
        }
    }

    /// Works until everybody who could append is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Append>) {
        while let Some(first) = queue.blocking_recv() {
            self.commit(group(first, &mut queue));
        }
        if self.state != State::Retired {
            // A failure was logged; there is nobody to tell.
            let _ = self.sync();
        }
    }

    fn commit(&mut self, mut group: Vec<Append>) {
        // Nobody waits for the answer of a batch whose stream ended with the failure of another one.
        group.retain(|append| !append.fate.is_sealed());
        if group.is_empty() {
            return;
        }
        let begun = Instant::now();
        match self.write(&group) {
            Ok(plan) => {
                self.tell(&group, &plan, begun.elapsed());
                self.publish(&group, &plan);
                answer(group, plan.answers);
            }
            Err(failure) => refuse(group, failure),
        }
    }

    fn tell(&self, group: &[Append], plan: &Plan, took: Duration) {
        let written = group.iter().zip(&plan.is_new).filter(|(_, is_new)| **is_new);
        let batches = written.map(|(append, _)| &append.batch);
        self.on_commit.tell(|| Commit::of(batches, self.text.len(), took));
    }

    fn write(&mut self, group: &[Append]) -> Result<Plan, Failure> {
        if self.state == State::Retired {
            return Err(Failure::Failed);
        }
        self.writing.prepare().map_err(|error| self.retire("begin", &error))?;
        let plan = self.number(group);
        self.writing.write(&self.text).map_err(|error| self.undo(&error))?;
        // A duplicate, too, is answered once it is as durable as asked.
        if group.iter().any(|append| append.synced) {
            self.sync()?;
        }
        if self.state == State::Full {
            self.state = State::Working;
            info!("the disk of the log has room again");
        }
        Ok(plan)
    }

    /// Makes the text of a group.
    fn number(&mut self, group: &[Append]) -> Plan {
        self.text.clear();
        let (mut next, mut plan) = (self.writing.next(), Plan::default());
        for batch in group.iter().map(|append| &append.batch) {
            let duplicate = self.duplicate(batch, &plan);
            plan.is_new.push(duplicate.is_none());
            plan.answers.push(duplicate.unwrap_or_else(|| {
                batch.number(next, &mut self.text, &mut plan.sizes);
                next += batch.sizes.len() as u64;
                next - 1
            }));
            if let (Some((writer, number)), None) = (&batch.writer, duplicate) {
                let last_batch = LastBatch {
                    number: *number,
                    last_sequence: next - 1,
                };
                plan.last_batches.insert(writer.clone(), last_batch);
            }
        }
        plan
    }

    /// The number of the last entry of a batch that was written before, or is by the same plan.
    fn duplicate(&self, batch: &Batch, plan: &Plan) -> Option<u64> {
        let (writer, number) = batch.writer.as_ref()?;
        let known = || self.writers.lock().unwrap_or_else(PoisonError::into_inner).get(writer);
        let last = plan.last_batches.get(writer).copied().or_else(known)?;
        match number.cmp(&last.number) {
            Ordering::Less => Some(0),
            Ordering::Equal => Some(last.last_sequence),
            Ordering::Greater => None,
        }
    }

    /// Shows what was written to readers.
    fn publish(&mut self, group: &[Append], plan: &Plan) {
        let new = group.iter().zip(&plan.is_new).filter(|(_, is_new)| **is_new);
        let pieces = new.flat_map(|(append, _)| &append.batch.pieces);
        let last = self.writing.publish(pieces.zip(plan.sizes.iter().copied()));
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        for (writer, batch) in &plan.last_batches {
            writers.note(writer, *batch);
        }
        drop(writers);
        self.visible.send_replace(last);
    }

    fn sync(&mut self) -> Result<(), Failure> {
        // After a failed fsync the kernel may forget what it could not write: trying again would prove nothing.
        self.writing.sync().map_err(|error| self.retire("sync", &error))
    }

    /// Cuts off what a failed write left.
    fn undo(&mut self, cause: &io::Error) -> Failure {
        if let Err(error) = self.writing.undo() {
            return self.retire("truncate", &error);
        }
        if !is_full(cause) {
            return self.retire("write", cause);
        }
        if self.state == State::Working {
            self.state = State::Full;
            warn!(error = %cause, "the disk of the log is full");
        }
        Failure::Full
    }

    fn retire(&mut self, operation: &str, cause: &io::Error) -> Failure {
        self.state = State::Retired;
        error!(operation, error = %cause, "the disk of the log failed: nothing is written until a restart");
        Failure::Failed
    }
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    Full,
    Failed,
}

/// Takes what is queued behind `first`.
fn group(first: Append, queue: &mut mpsc::Receiver<Append>) -> Vec<Append> {
    let mut size_bytes = first.batch.text.len();
    let mut group = vec![first];
    while size_bytes < GROUP_BYTES
        && let Ok(append) = queue.try_recv()
    {
        size_bytes += append.batch.text.len();
        group.push(append);
    }
    group
}

/// Tells each its last number. Who stopped waiting is not told.
fn answer(group: Vec<Append>, answers: Vec<u64>) {
    for (append, last_sequence) in group.into_iter().zip(answers) {
        let _ = append.answer.send(Ok(last_sequence));
    }
}

fn refuse(group: Vec<Append>, failure: Failure) {
    for append in group {
        append.fate.seal();
        let error = match failure {
            Failure::Full => Error::DiskFull,
            Failure::Failed => Error::StoreFailed,
        };
        let _ = append.answer.send(Err(error));
    }
}

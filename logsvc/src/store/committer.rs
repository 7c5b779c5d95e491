//! The thread that writes: it takes what is queued as one group, writes and syncs it at once, and answers.
//!
//! Nothing here is logged for each request: the log of this service goes into itself, so that would never end.

use std::{
    cmp::Ordering,
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{
    append::{Append, Batch},
    health::{Failure, Health},
    queue::{Queue, Work},
    writers::{LastBatch, WriterId, Writers},
    writing::Writing,
};

/// How often a store that found no room looks for it without being asked.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// Owns the end of the log.
pub(super) struct Committer {
    writing: Writing,
    /// Guards what is known of writers; changed only here. Never held while a disk is waited for.
    writers: Arc<Mutex<Writers>>,
    visible: watch::Sender<u64>,
    health: watch::Sender<Health>,
    /// The text of a group, kept for its room.
    text: Vec<u8>,
}

/// What becomes of a group once it is written.
#[derive(Default)]
struct Plan {
    /// The number of the last entry of each batch; 0 where it is not known any more.
    answers: Vec<u64>,
    /// How many entries are written.
    entries: u64,
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
        health: watch::Sender<Health>,
    ) -> Self {
        Self {
            writing,
            writers,
            visible,
            health,
            text: Vec::new(),
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue) {
        let _guard = Abandon(queue);
        loop {
            match queue.take(self.due()) {
                Work::Group(group) => self.commit(group),
                Work::Nothing => self.tick(),
                Work::End => break,
            }
        }
        if let Err(failure) = self.writing.finish() {
            // Numbers jump when it is opened next, that is all.
            warn!(error = %failure, "the log is not ended as it should be");
        }
    }

    fn due(&self) -> Option<Instant> {
        let room = matches!(*self.health.borrow(), Health::Full(_)).then(|| Instant::now() + ROOM_INTERVAL);
        self.writing.due().into_iter().chain(room).min()
    }

    fn tick(&mut self) {
        if let Err(failure) = self.writing.tick() {
            self.note(failure.health());
        }
        if matches!(*self.health.borrow(), Health::Full(_)) && self.writing.has_room() {
            self.note(Health::Working);
        }
    }

    fn commit(&mut self, mut group: Vec<Append>) {
        // Nobody waits for the answer of a batch whose stream ended with the failure of another one.
        group.retain(|append| !append.fate.is_sealed());
        if group.is_empty() {
            return;
        }
        let plan = self.number(&group);
        // A duplicate, too, is answered once it is as durable as asked.
        let synced = group.iter().any(|append| append.synced);
        match self.writing.commit(&self.text, plan.entries, synced) {
            Ok(()) => {
                if plan.entries > 0 {
                    self.publish(&group, &plan);
                    self.note(Health::Working);
                }
                answer(group, plan.answers);
            }
            Err(failure) => {
                self.note(failure.health());
                refuse(group, &failure);
            }
        }
    }

    /// Says how the disk is when that is news.
    fn note(&mut self, health: Health) {
        if mem::discriminant(&*self.health.borrow()) == mem::discriminant(&health) {
            return;
        }
        match &health {
            Health::Working => info!("the disk of the log works again: entries are written"),
            Health::Full(cause) => warn!(
                cause,
                "the disk of the log is full: entries are refused until there is room"
            ),
            Health::Failed(cause) => error!(cause, "the disk of the log failed: entries are refused until it works"),
        }
        self.health.send_replace(health);
    }

    /// Makes the text of a group.
    fn number(&mut self, group: &[Append]) -> Plan {
        self.text.clear();
        let (mut next, mut plan) = (self.writing.next(), Plan::default());
        for append in group {
            let batch = &append.batch;
            if let Some(known) = self.duplicate(batch, &plan) {
                plan.is_new.push(false);
                plan.answers.push(known);
                continue;
            }
            batch.number(next, &mut self.text, &mut plan.sizes);
            let entries = batch.sizes.len() as u64;
            (next, plan.entries) = (next + entries, plan.entries + entries);
            plan.is_new.push(true);
            plan.answers.push(next - 1);
            if let Some((writer, number)) = &batch.writer {
                let (number, last_sequence) = (*number, next - 1);
                plan.last_batches
                    .insert(writer.clone(), LastBatch { number, last_sequence });
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
}

/// Whoever waits is told when the committer is gone.
struct Abandon<'a>(&'a Queue);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Tells each its last number. Who stopped waiting is not told.
fn answer(group: Vec<Append>, answers: Vec<u64>) {
    for (append, last_sequence) in group.into_iter().zip(answers) {
        let _ = append.answer.send(Ok(last_sequence));
    }
}

fn refuse(group: Vec<Append>, failure: &Failure) {
    for append in group {
        append.fate.seal();
        let _ = append.answer.send(Err(failure.into()));
    }
}

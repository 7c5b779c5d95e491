//! The thread that writes: it takes what is queued as one group, writes and syncs it at once, and answers.
//!
//! Nothing here is logged for each request: the log of this service goes into itself, so that would never end.

use std::{
    cmp::Ordering,
    collections::HashMap,
    io, mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{
    append::{Append, Batch},
    commit::{Commit, OnCommit},
    health::{Failure, Health},
    queue::{Queue, Work},
    writers::{LastBatch, WriterId, Writers},
    writing::Writing,
};

/// How often a store that found no room looks for it without being asked.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// A part of a group that is written at once has at least this many bytes, unless it is the last one.
const PART_BYTES: usize = 256 * 1024;

/// Owns the end of the log.
pub(super) struct Committer {
    writing: Writing,
    /// Guards what is known of writers; changed only here. Never held while a disk is waited for.
    writers: Arc<Mutex<Writers>>,
    visible: watch::Sender<u64>,
    health: watch::Sender<Health>,
    on_commit: OnCommit,
    /// Lines on their way to the file, kept for its room.
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
    last_batches: HashMap<WriterId, LastBatch>,
}

impl Plan {
    /// The batches of its group that are written.
    fn new_of<'g>(&self, group: &'g [Append]) -> impl Iterator<Item = &'g Batch> {
        let new = group.iter().zip(&self.is_new).filter(|(_, is_new)| **is_new);
        new.map(|(append, _)| &append.batch)
    }
}

impl Committer {
    pub(super) fn new(
        writing: Writing,
        writers: Arc<Mutex<Writers>>,
        visible: watch::Sender<u64>,
        health: watch::Sender<Health>,
        on_commit: OnCommit,
    ) -> Self {
        Self {
            writing,
            writers,
            visible,
            health,
            on_commit,
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
        let begun = Instant::now();
        let plan = self.plan(&group);
        // A duplicate, too, is answered once it is as durable as asked.
        let synced = group.iter().any(|append| append.synced);
        // The sizes of the pieces that are written.
        let mut sizes = Vec::new();
        let first = self.writing.next();
        let committed = self.writing.commit(plan.entries, synced, |out| {
            sizes.clear();
            write(plan.new_of(&group), first, &mut self.text, &mut sizes, out)
        });
        match committed {
            Ok(()) => {
                if plan.entries > 0 {
                    let (size_bytes, took) = (sizes.iter().sum(), begun.elapsed());
                    self.on_commit
                        .tell(|| Commit::of(plan.new_of(&group), size_bytes, took));
                    self.publish(&group, &plan, &sizes);
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

    /// Decides what of a group is written, and under which numbers.
    fn plan(&self, group: &[Append]) -> Plan {
        let (mut next, mut plan) = (self.writing.next(), Plan::default());
        for append in group {
            let batch = &append.batch;
            if let Some(known) = self.duplicate(batch, &plan) {
                plan.is_new.push(false);
                plan.answers.push(known);
                continue;
            }
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
    fn publish(&mut self, group: &[Append], plan: &Plan, sizes: &[usize]) {
        let pieces = plan.new_of(group).flat_map(|batch| &batch.pieces);
        let last = self.writing.publish(pieces.zip(sizes.iter().copied()));
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

/// Numbers the lines of batches from `first` on and gives them to `out`, in parts that a processor's cache holds until they
/// are written. Adds what their pieces take to `sizes`; `text` is room.
fn write<'b>(
    batches: impl Iterator<Item = &'b Batch>,
    first: u64,
    text: &mut Vec<u8>,
    sizes: &mut Vec<usize>,
    out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    text.clear();
    let mut next = first;
    for batch in batches {
        batch.number(next, text, sizes);
        next += batch.len() as u64;
        if text.len() >= PART_BYTES {
            out(text)?;
            text.clear();
        }
    }
    if text.is_empty() { Ok(()) } else { out(text) }
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

//! The thread that writes: it takes what is queued as one group, writes and syncs it at once, and answers.
//!
//! Nothing here is logged for each request: the log of this service goes into itself, so that would never end.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{append::Append, disk::is_full, writing::Writing};
use crate::{entry::number, error::Error};

/// A group ends with the batch that reaches this size: a disk is at its best long before, and others wait for it.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// What was written at once.
#[derive(Debug)]
pub struct Commit {
    /// How many log records.
    pub logs: u64,
    /// How many spans.
    pub spans: u64,
    /// How long their lines are.
    pub size_bytes: u64,
    /// How long it took to write them, and to sync them when somebody asked for that.
    pub took: Duration,
}

/// Who is told of each [`Commit`], once somebody is.
#[derive(Clone, Default)]
pub(super) struct OnCommit(Arc<OnceLock<Tell>>);

type Tell = Box<dyn Fn(&Commit) + Send + Sync>;

impl OnCommit {
    pub(super) fn set(&self, tell: Tell) {
        let _ = self.0.set(tell);
    }
}

impl fmt::Debug for OnCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnCommit").finish_non_exhaustive()
    }
}

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
    visible: watch::Sender<u64>,
    on_commit: OnCommit,
    state: State,
    /// The text of a group, kept for its room.
    text: Vec<u8>,
}

impl Committer {
    pub(super) fn new(writing: Writing, visible: watch::Sender<u64>, on_commit: OnCommit) -> Self {
        Self {
            writing,
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
        let synced = group.iter().any(|append| append.synced);
        let begun = Instant::now();
        match self.write(&group, synced) {
            Ok(sizes) => {
                self.tell(&group, begun.elapsed());
                let first = self.writing.next();
                let pieces = group.iter().flat_map(|append| &append.batch.pieces);
                let last = self.writing.publish(pieces.zip(sizes));
                self.visible.send_replace(last);
                answer(group, first);
            }
            Err(failure) => refuse(group, failure),
        }
    }

    fn tell(&self, group: &[Append], took: Duration) {
        let Some(tell) = self.on_commit.0.get() else {
            return;
        };
        let pieces = || group.iter().flat_map(|append| &append.batch.pieces);
        let spans = pieces().map(|piece| piece.spans as u64).sum();
        tell(&Commit {
            logs: pieces().map(|piece| piece.lines as u64).sum::<u64>() - spans,
            spans,
            size_bytes: self.text.len() as u64,
            took,
        });
    }

    /// Writes a group. Returns the sizes of its pieces.
    fn write(&mut self, group: &[Append], synced: bool) -> Result<Vec<usize>, Failure> {
        if self.state == State::Retired {
            return Err(Failure::Failed);
        }
        self.writing.prepare().map_err(|error| self.retire("begin", &error))?;
        let sizes = self.number(group);
        self.writing.write(&self.text).map_err(|error| self.undo(&error))?;
        if synced {
            self.sync()?;
        }
        if self.state == State::Full {
            self.state = State::Working;
            info!("the disk of the log has room again");
        }
        Ok(sizes)
    }

    /// Makes the text of a group. Returns the sizes of its pieces.
    fn number(&mut self, group: &[Append]) -> Vec<usize> {
        self.text.clear();
        let (mut sequence, mut sizes) = (self.writing.next(), Vec::new());
        for batch in group.iter().map(|append| &append.batch) {
            let (mut rest, mut lines) = (&batch.text[..], batch.sizes.iter());
            for piece in &batch.pieces {
                let start = self.text.len();
                for size_bytes in lines.by_ref().take(piece.lines) {
                    let (line, after) = rest.split_at(*size_bytes);
                    number(sequence, line, &mut self.text);
                    sequence += 1;
                    rest = after;
                }
                sizes.push(self.text.len() - start);
            }
        }
        sizes
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
fn answer(group: Vec<Append>, first: u64) {
    let mut next = first;
    for append in group {
        next += append.batch.sizes.len() as u64;
        let _ = append.answer.send(Ok(next - 1));
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

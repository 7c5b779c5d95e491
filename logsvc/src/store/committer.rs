//! The thread that writes: it takes what is queued as one group, writes and syncs it at once, and answers.
//!
//! Nothing here is logged for each request: the log of this service goes into itself, so that would never end.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::{
    append::Append,
    disk::{Disk, is_full},
    index::Index,
};
use crate::{
    entry::{Time, number},
    error::Error,
};

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

/// Owns the end of the file.
pub(super) struct Committer {
    disk: Box<dyn Disk>,
    index: Arc<Mutex<Index>>,
    visible: watch::Sender<u64>,
    next: u64,
    size_bytes: u64,
    state: State,
    /// Whether something was written that is not synced.
    dirty: bool,
}

impl Committer {
    pub(super) fn new(disk: Box<dyn Disk>, index: Arc<Mutex<Index>>, visible: watch::Sender<u64>) -> Self {
        let (next, size_bytes) = {
            let index = index.lock().unwrap_or_else(PoisonError::into_inner);
            (index.next(), index.size_bytes())
        };
        Self {
            disk,
            index,
            visible,
            next,
            size_bytes,
            state: State::Working,
            dirty: false,
        }
    }

    /// Works until everybody who could append is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Append>) {
        while let Some(first) = queue.blocking_recv() {
            self.commit(group(first, &mut queue));
        }
        if self.dirty && self.state != State::Retired {
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
        let (text, lines) = self.number(&group);
        let synced = group.iter().any(|append| append.synced);
        match self.write(&text, synced) {
            Ok(()) => {
                self.publish(&lines, text.len());
                answer(group, lines.first().map_or(0, |(sequence, ..)| *sequence));
            }
            Err(failure) => refuse(group, failure),
        }
    }

    /// The text of a group, and the number, time and size of each line.
    fn number(&self, group: &[Append]) -> (Vec<u8>, Vec<(u64, Time, usize)>) {
        let (mut text, mut lines) = (Vec::new(), Vec::new());
        for batch in group.iter().map(|append| &append.batch) {
            let mut rest = &batch.text[..];
            for (time, size_bytes) in &batch.lines {
                let (line, after) = rest.split_at(*size_bytes);
                let (start, sequence) = (text.len(), self.next + lines.len() as u64);
                number(sequence, None, line, &mut text);
                lines.push((sequence, *time, text.len() - start));
                rest = after;
            }
        }
        (text, lines)
    }

    fn write(&mut self, text: &[u8], synced: bool) -> Result<(), Failure> {
        if self.state == State::Retired {
            return Err(Failure::Failed);
        }
        self.disk.append(text).map_err(|error| self.undo(&error))?;
        self.dirty = true;
        if synced {
            self.sync()?;
        }
        if self.state == State::Full {
            self.state = State::Working;
            info!("the disk of the log has room again");
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        // After a failed fsync the kernel may forget what it could not write: trying again would prove nothing.
        self.disk.sync().map_err(|error| self.retire("sync", &error))?;
        self.dirty = false;
        Ok(())
    }

    /// Cuts off what a failed write left.
    fn undo(&mut self, cause: &io::Error) -> Failure {
        if let Err(error) = self.disk.truncate(self.size_bytes) {
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

    /// Shows to readers what was written.
    fn publish(&mut self, lines: &[(u64, Time, usize)], size_bytes: usize) {
        let Some((last, ..)) = lines.last() else {
            return;
        };
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        for (sequence, time, size_bytes) in lines {
            index.push(*size_bytes, Some((*sequence, *time)));
        }
        drop(index);
        self.next = last + 1;
        self.size_bytes += size_bytes as u64;
        self.visible.send_replace(*last);
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
        next += append.batch.lines.len() as u64;
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

//! What is told of each commit, to whoever counts.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::append::Batch;

/// What was written at once.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Commit {
    /// The commit of some batches.
    pub(super) fn of<'b>(batches: impl Iterator<Item = &'b Batch>, size_bytes: usize, took: Duration) -> Self {
        let (mut lines, mut spans) = (0, 0);
        for piece in batches.flat_map(|batch| &batch.pieces) {
            lines += piece.lines as u64;
            spans += piece.spans as u64;
        }
        Self {
            logs: lines - spans,
            spans,
            size_bytes: size_bytes as u64,
            took,
        }
    }
}

/// Who is told, once somebody is.
#[derive(Clone, Default)]
pub(super) struct OnCommit(Arc<OnceLock<Tell>>);

type Tell = Box<dyn Fn(&Commit) + Send + Sync>;

impl OnCommit {
    /// Says who is told. The first call counts.
    pub(super) fn set(&self, tell: Tell) {
        let _ = self.0.set(tell);
    }

    pub(super) fn tell(&self, commit: impl FnOnce() -> Commit) {
        if let Some(tell) = self.0.get() {
            tell(&commit());
        }
    }
}

impl fmt::Debug for OnCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnCommit").finish_non_exhaustive()
    }
}

//! Which writers have a stream: of each the last one that was opened.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use homeroom::shutdown::Shutdown;

use crate::store::WriterId;

/// The streams of writers that are open.
#[derive(Debug, Default)]
pub(in super::super) struct Streams {
    /// Guards the list; never held while something is awaited.
    of: Mutex<HashMap<WriterId, Shutdown>>,
}

/// The place of a stream. Dropping it leaves the place, unless another one has it by then.
#[derive(Debug)]
pub(super) struct Seat {
    streams: Arc<Streams>,
    writer: WriterId,
    replaced: Shutdown,
}

impl Streams {
    /// Gives a writer's place to a new stream, and ends the one that had it.
    pub(super) fn take(self: &Arc<Self>, writer: WriterId) -> Seat {
        let replaced = Shutdown::new();
        if let Some(older) = self.lock().insert(writer.clone(), replaced.clone()) {
            older.cancel();
        }
        Seat {
            streams: self.clone(),
            writer,
            replaced,
        }
    }

    /// How many writers have a stream.
    pub(in super::super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WriterId, Shutdown>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The writer.
    pub(super) fn writer(&self) -> &WriterId {
        &self.writer
    }

    /// Ends when another stream of the same writer has been opened. Cancel safe.
    pub(super) async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        // Who was replaced is told before the lock is given up: nobody but the holder is not.
        if !self.replaced.is_cancelled() {
            streams.remove(&self.writer);
        }
    }
}

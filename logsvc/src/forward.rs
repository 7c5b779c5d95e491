//! Sends entries and spans on to another OTLP/gRPC backend: from the store, in order, each at least once.
//!
//! It reads as `tail` does and is never waited for: a backend that is slow or away costs nobody anything, until retention
//! deletes what it has not taken. Must never import `tail` or `grpc`.

mod backend;
mod cursor;
mod otlp;
mod sender;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use homeroom::{metrics::prometheus_client::metrics::counter::Counter, model::Address};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

use self::{cursor::Cursor, sender::Sender};
use crate::store::Store;

/// How often the position is written: what is sent twice after a crash, at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the words about a failure are kept, in characters: they come from elsewhere.
const CAUSE_CHARS_MAX: usize = 256;

/// The forwarding to one backend.
#[derive(Debug)]
pub struct Forward {
    endpoint: Address,
    /// The number of the last entry that the backend has.
    sequence: watch::Sender<u64>,
    /// Guards the file, and what it says. Held while it is written, on a thread where that may block.
    saved: Mutex<Saved>,
    /// Guards the words about the last failure. Never held together with `saved`.
    cause: Mutex<String>,
    counts: Counts,
}

/// What has been counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Entries that the backend took.
    pub sent: Counter,
    /// Entries that it refused for good.
    pub refused: Counter,
    /// Entries that were deleted before they could be sent.
    pub missed: Counter,
    /// Calls that failed, most of which are repeated.
    pub failed: Counter,
}

#[derive(Debug)]
struct Saved {
    cursor: Cursor,
    sequence: u64,
    is_failing: bool,
}

/// How long is waited for what.
#[derive(Debug, Clone)]
struct Pace {
    /// For entries that follow others, so that a quiet log is not sent in hundreds of calls.
    linger: Duration,
    /// Before the first repetition.
    backoff_min: Duration,
    /// Before a later one, besides what the backend asks for.
    backoff_max: Duration,
}

impl Pace {
    const DEFAULT: Self = Self {
        linger: Duration::from_millis(200),
        backoff_min: Duration::from_millis(500),
        backoff_max: Duration::from_secs(30),
    };
}

impl Forward {
    /// Goes on where the file in `directory` says that this backend is: with everything that is kept where there is none.
    pub async fn open(directory: &Path, endpoint: Address, counts: Counts) -> Arc<Self> {
        let cursor = Cursor::new(directory, endpoint.clone());
        let reading = cursor.clone();
        let read = spawn_blocking(move || reading.read()).await;
        let sequence = read.expect("reading a file does not panic").unwrap_or_else(|error| {
            warn!(%error, "cannot read how far entries have been forwarded: starting with the first");
            0
        });
        Arc::new(Self {
            endpoint,
            sequence: watch::Sender::new(sequence),
            saved: Mutex::new(Saved {
                cursor,
                sequence,
                is_failing: false,
            }),
            cause: Mutex::default(),
            counts,
        })
    }

    /// Forwards what the store has and gets, until it is closed or this is dropped.
    pub async fn run(self: Arc<Self>, store: Arc<Store>) {
        self.run_at(store, Pace::DEFAULT).await;
    }

    async fn run_at(self: Arc<Self>, store: Arc<Store>, pace: Pace) {
        tokio::select! {
            () = Sender::new(self.clone(), store, pace).run() => {}
            () = self.save_often() => {}
        }
    }

    async fn save_often(self: &Arc<Self>) {
        let mut interval = interval(SAVE_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.save().await;
        }
    }

    /// Writes the position to its file, when it has changed: what comes next starts there.
    ///
    /// Cancel safe: it goes on by itself.
    pub async fn save(self: &Arc<Self>) {
        let forward = self.clone();
        let save = move || forward.saved().save(forward.sequence());
        spawn_blocking(save).await.expect("writing a file does not panic");
    }

    /// Where entries go.
    pub fn endpoint(&self) -> &Address {
        &self.endpoint
    }

    /// The number of the last entry that the backend has.
    pub fn sequence(&self) -> u64 {
        *self.sequence.borrow()
    }

    /// What went wrong the last time; empty when nothing did.
    pub fn cause(&self) -> String {
        self.lock_cause().clone()
    }

    fn set_cause(&self, cause: &str) {
        *self.lock_cause() = cause.chars().take(CAUSE_CHARS_MAX).collect();
    }

    fn pass(&self, sequence: u64) {
        self.sequence.send_replace(sequence);
    }

    fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_cause(&self) -> MutexGuard<'_, String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saved {
    fn save(&mut self, sequence: u64) {
        if sequence == self.sequence {
            return;
        }
        match self.cursor.write(sequence) {
            Ok(()) => {
                self.sequence = sequence;
                self.is_failing = false;
            }
            Err(error) => {
                if !self.is_failing {
                    warn!(%error, "cannot write how far entries have been forwarded: a restart sends some again");
                }
                self.is_failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Follows the log: reads what is there, block by block, then waits for more. Must never import `grpc`.

mod shared;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::stream::{self, Stream};
use homeroom::shutdown::Shutdown;
use tokio::sync::watch;

use self::shared::Shared;
use crate::{
    entry::Encoded,
    error::Error,
    query::{Filter, Found, Missed},
    store::Store,
};

/// A part of what is followed.
#[derive(Debug)]
pub struct Part {
    /// What was skipped before the entries: deleted, or left out since the reader was too far behind.
    pub dropped: Option<Missed>,
    /// Where the entries are that match, in order of sequence; none in a part that only tells something else.
    pub found: Option<Arc<Found<Encoded>>>,
    /// Every entry up to this number was in a part, was told as dropped, or does not match.
    pub sequence: u64,
}

/// Where to start, and how far behind one may be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// The last number that the reader has; 0 for everything that is kept, `None` for the end of the log. A number that
    /// is not reached yet is waited for: entries up to it are not sent.
    pub after: Option<u64>,
    /// How many numbers behind the end of the log the reader is taken there; 0 for never.
    pub lag_max: u64,
}

/// All who follow the log of a store. Clones share it.
#[derive(Debug, Clone)]
pub struct Tails {
    store: Arc<Store>,
    shared: Arc<Shared>,
    open: Arc<AtomicU32>,
}

impl Tails {
    /// Nobody yet.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            shared: Arc::default(),
            open: Arc::default(),
        }
    }

    /// How many follow now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Follows the entries that match, from a start.
    ///
    /// The first part comes at once and tells where it starts; after it there is one for every few blocks looked through,
    /// with entries or without. Nothing is read ahead, and no part has more than a page: a slow reader finds everything
    /// in the files later. Ends with [`Error::Draining`] when `shutdown` is cancelled or the store is closed, and with
    /// [`Error::Read`].
    pub fn follow(
        &self,
        filter: Filter,
        start: Start,
        shutdown: Shutdown,
    ) -> impl Stream<Item = Result<Part, Error>> + use<> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let visible = self.store.visible();
        let end = *visible.borrow();
        let tail = Tail {
            after: match start.after {
                None => end,
                // What is deleted already was not asked for.
                Some(0) => self.store.first() - 1,
                Some(after) => after,
            },
            lag_max: start.lag_max,
            visible,
            filter: Arc::new(filter),
            shutdown,
            is_started: false,
            tails: self.clone(),
        };
        stream::unfold(Some(tail), |tail| async {
            let mut tail = tail?;
            match tail.next().await {
                Ok(part) => Some((Ok(part), Some(tail))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

struct Tail {
    tails: Tails,
    visible: watch::Receiver<u64>,
    filter: Arc<Filter>,
    shutdown: Shutdown,
    after: u64,
    lag_max: u64,
    is_started: bool,
}

impl Drop for Tail {
    fn drop(&mut self) {
        if self.tails.open.fetch_sub(1, Ordering::Relaxed) <= 2 {
            self.tails.shared.clear();
        }
    }
}

impl Tail {
    async fn next(&mut self) -> Result<Part, Error> {
        if !self.is_started {
            self.is_started = true;
            return Ok(self.part(None, None));
        }
        let visible = self.wait().await?;
        if self.lag_max > 0 && visible - self.after > self.lag_max {
            let first = self.after + 1;
            self.after = visible;
            return Ok(self.part(Some(Missed { first, last: visible }), None));
        }
        let Tails { store, shared, open } = &self.tails;
        let found = match open.load(Ordering::Relaxed) {
            1 => Arc::new(shared::step(store, &self.filter, self.after, visible).await?),
            _ => shared.step(store, &self.filter, self.after, visible).await?,
        };
        self.after = found.after;
        Ok(self.part(found.missed, Some(found)))
    }

    /// Waits until there is something after where it is.
    async fn wait(&mut self) -> Result<u64, Error> {
        let after = self.after;
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Error::Draining),
            visible = self.visible.wait_for(|visible| *visible > after) => match visible {
                Ok(visible) => Ok(*visible),
                Err(_) => Err(Error::Draining),
            },
        }
    }

    fn part(&self, dropped: Option<Missed>, found: Option<Arc<Found<Encoded>>>) -> Part {
        Part {
            dropped,
            found,
            sequence: self.after,
        }
    }
}

#[cfg(test)]
mod tests;

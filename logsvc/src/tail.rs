//! Follows the log: reads what is there, block by block, then waits for more.

use std::sync::Arc;

use futures_util::stream::{self, Stream};
use homeroom::shutdown::Shutdown;
use tokio::sync::watch;

use crate::{
    entry::Entry,
    error::Error,
    query::{Filter, Limit, Order, Scan},
    store::Store,
};

/// A part of what is followed.
#[derive(Debug)]
pub struct Part {
    /// Entries that match, in order of sequence.
    pub entries: Vec<Entry>,
    /// Every entry up to this number was in a part, or does not match.
    pub sequence: u64,
}

struct Tail {
    store: Arc<Store>,
    visible: watch::Receiver<u64>,
    filter: Arc<Filter>,
    shutdown: Shutdown,
    after: u64,
    is_started: bool,
}

/// Follows the entries that match and have a number above `after`; `None` is the end of the log. A number that is not
/// reached yet is waited for: entries up to it are not sent.
///
/// The first part comes at once, without entries, and tells where it starts; after it there is one for every few blocks
/// looked through, with entries or without. Nothing is read ahead: a slow reader finds everything in the file later.
/// Ends with [`Error::Draining`] when `shutdown` is cancelled or the store is closed, and with [`Error::Read`].
pub fn follow(
    store: Arc<Store>,
    filter: Filter,
    after: Option<u64>,
    shutdown: Shutdown,
) -> impl Stream<Item = Result<Part, Error>> {
    let visible = store.visible();
    let tail = Tail {
        after: after.unwrap_or_else(|| *visible.borrow()),
        store,
        visible,
        filter: Arc::new(filter),
        shutdown,
        is_started: false,
    };
    stream::unfold(Some(tail), |tail| async {
        let mut tail = tail?;
        match tail.next().await {
            Ok(part) => Some((Ok(part), Some(tail))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Tail {
    async fn next(&mut self) -> Result<Part, Error> {
        if !self.is_started {
            self.is_started = true;
            return Ok(self.part(Vec::new()));
        }
        let visible = self.wait().await?;
        let scan = Scan::new(
            self.filter.clone(),
            Order::OldestFirst,
            Limit::PAGE,
            Some(self.after),
            visible,
        );
        let found = scan.step(&self.store).await?.found();
        self.after = found.after;
        Ok(self.part(found.entries))
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

    fn part(&self, entries: Vec<Entry>) -> Part {
        Part {
            entries,
            sequence: self.after,
        }
    }
}

#[cfg(test)]
mod tests;

//! Finds entries: goes through the blocks in either order. Must never import `tail` or `grpc`.

mod filter;

use std::{io, sync::Arc};

use homeroom::{
    model::InvalidField,
    page::{PAGE_SIZE_BYTES_MAX, PAGE_SIZE_MAX},
    proto::log::v1 as proto,
};

pub use self::filter::Filter;
use crate::{
    entry::Entry,
    error::Error,
    store::{Block, Store, entries},
};

/// How many blocks are read before the caller is looked after: about 16 MiB, a few hundredths of a second.
const STEP_BLOCKS: usize = 64;

/// In which order entries are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they were written.
    OldestFirst,
    /// The last written first.
    NewestFirst,
}

impl Order {
    /// Reads an order.
    ///
    /// # Errors
    /// A number that has no name in this version.
    pub fn parse(field: &str, number: i32) -> Result<Self, InvalidField> {
        let refused = |_| InvalidField::new(field, "must be one of the values of `Order`");
        Ok(match proto::Order::try_from(number).map_err(refused)? {
            proto::Order::Unspecified | proto::Order::OldestFirst => Self::OldestFirst,
            proto::Order::NewestFirst => Self::NewestFirst,
        })
    }
}

/// When enough is found.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// This many entries.
    pub entries: usize,
    /// About this many bytes, counted as lines; one entry may have more.
    pub size_bytes: usize,
}

impl Limit {
    /// The largest page.
    pub const PAGE: Self = Self {
        entries: PAGE_SIZE_MAX,
        size_bytes: PAGE_SIZE_BYTES_MAX,
    };
}

/// A way through the numbers `first` to `last`, that shrinks from one of its ends as it goes.
#[derive(Debug)]
pub struct Scan {
    filter: Arc<Filter>,
    order: Order,
    limit: Limit,
    first: u64,
    last: u64,
    found: Vec<Entry>,
    size_bytes: usize,
    is_full: bool,
}

impl Scan {
    /// Starts behind the number `after`, in the order given; at the end where the order starts when there is none. Goes
    /// no further than `visible`.
    pub fn new(filter: Arc<Filter>, order: Order, limit: Limit, after: Option<u64>, visible: u64) -> Self {
        let (first, last) = match (order, after) {
            (Order::OldestFirst, Some(after)) => (after.saturating_add(1), visible),
            (Order::NewestFirst, Some(before)) => (1, visible.min(before.saturating_sub(1))),
            (_, None) => (1, visible),
        };
        Self {
            filter,
            order,
            limit,
            first,
            last,
            found: Vec::new(),
            size_bytes: 0,
            is_full: false,
        }
    }

    /// Goes on until enough is found or nothing is left to look through.
    ///
    /// Cancel safe: the reading ends soon after.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub async fn finish(mut self, store: &Arc<Store>) -> Result<Found, Error> {
        while !self.is_done() {
            self = self.step(store).await?;
        }
        Ok(self.found())
    }

    /// Goes on for some blocks, on a thread where that may block.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub async fn step(mut self, store: &Arc<Store>) -> Result<Self, Error> {
        let store = store.clone();
        let step = tokio::task::spawn_blocking(move || {
            for _ in 0..STEP_BLOCKS {
                self.next_block(&store)?;
            }
            Ok(self)
        });
        step.await.map_err(io::Error::other).flatten().map_err(Error::Read)
    }

    /// What was found up to now.
    pub fn found(self) -> Found {
        Found {
            after: match self.order {
                Order::OldestFirst => self.first - 1,
                Order::NewestFirst => self.last + 1,
            },
            more: self.is_full,
            entries: self.found,
        }
    }

    fn is_done(&self) -> bool {
        self.is_full || self.first > self.last
    }

    fn next_block(&mut self, store: &Store) -> io::Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let block = match self.order {
            Order::OldestFirst => store.block_from(self.first, &self.filter.wanted)?,
            Order::NewestFirst => store.block_up_to(self.last, &self.filter.wanted)?,
        };
        let Some(block) = block else {
            self.leave(self.first, self.last);
            return Ok(());
        };
        self.look_through(&block, &store.read(&block)?);
        if !self.is_full {
            self.leave(block.first(), block.last);
        }
        Ok(())
    }

    fn look_through(&mut self, block: &Block, text: &[u8]) {
        if !self.filter.may_be_in(text) {
            return;
        }
        let filter = self.filter.clone();
        let matching = entries(block, text, self.first, self.last).filter(|(entry, _)| filter.matches(entry));
        match self.order {
            Order::OldestFirst => self.take(matching),
            Order::NewestFirst => {
                let mut matching: Vec<_> = matching.collect();
                matching.reverse();
                self.take(matching);
            }
        }
    }

    /// Takes entries until there are enough. That is only known by one more: there is no next page without an entry.
    fn take(&mut self, entries: impl IntoIterator<Item = (Entry, usize)>) {
        for (entry, size_bytes) in entries {
            let is_over = self.size_bytes + size_bytes > self.limit.size_bytes && !self.found.is_empty();
            if is_over || self.found.len() == self.limit.entries {
                self.is_full = true;
                return;
            }
            self.leave(entry.sequence, entry.sequence);
            self.size_bytes += size_bytes;
            self.found.push(entry);
        }
    }

    /// Has looked through `first` to `last`.
    fn leave(&mut self, first: u64, last: u64) {
        match self.order {
            Order::OldestFirst => self.first = self.first.max(last.min(self.last) + 1),
            Order::NewestFirst => self.last = self.last.min(first.max(self.first) - 1),
        }
    }
}

/// What a [`Scan`] found.
#[derive(Debug)]
pub struct Found {
    /// The entries, in the order asked for.
    pub entries: Vec<Entry>,
    /// Where to go on: everything before this number, in the order asked for, and itself, was looked through.
    pub after: u64,
    /// Whether there is another entry after them that matches.
    pub more: bool,
}

#[cfg(test)]
mod tests;

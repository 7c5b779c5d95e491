//! One way through the log, in either order.

use std::{io, ops::Range, sync::Arc};

use super::{Filter, Found, FromLine, Limit, Missed, Order};
use crate::{
    error::Error,
    store::{Block, Reader, Store, lines},
};

/// How many blocks are read before the caller is looked after: about 16 MiB, a hundredth of a second.
pub(super) const STEP_BLOCKS: usize = 64;

/// A way through the numbers `first` to `last`, that shrinks from one of its ends as it goes.
#[derive(Debug)]
pub struct Scan<T> {
    filter: Arc<Filter>,
    order: Order,
    limit: Limit,
    first: u64,
    last: u64,
    found: Vec<T>,
    size_bytes: usize,
    read_bytes: u64,
    is_full: bool,
    missed: Option<Missed>,
    reader: Reader,
}

impl<T: FromLine> Scan<T> {
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
            read_bytes: 0,
            is_full: false,
            missed: None,
            reader: Reader::default(),
        }
    }

    /// Goes on until enough is found or nothing is left to look through.
    ///
    /// Cancel safe: the reading ends soon after.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub async fn finish(mut self, store: &Arc<Store>) -> Result<Found<T>, Error> {
        while !self.is_done() {
            self = self.step(store).await?;
        }
        Ok(self.found())
    }

    /// Goes on for some blocks, on a thread where that may block, once it is its turn.
    ///
    /// Cancel safe: the reading ends soon after.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub async fn step(mut self, store: &Arc<Store>) -> Result<Self, Error> {
        let store = store.clone();
        let turn = store.turn().await;
        let step = tokio::task::spawn_blocking(move || {
            // Until the reading ended, waited for or not.
            let _turn = turn;
            for _ in 0..STEP_BLOCKS {
                self.next_block(&store)?;
            }
            Ok(self)
        });
        step.await.map_err(io::Error::other).flatten().map_err(Error::Read)
    }

    /// What was found up to now.
    pub fn found(self) -> Found<T> {
        Found {
            after: match self.order {
                Order::OldestFirst => self.first - 1,
                Order::NewestFirst => self.last + 1,
            },
            more: self.is_full,
            entries: self.found,
            missed: self.missed,
        }
    }

    fn is_done(&self) -> bool {
        self.is_full || self.first > self.last
    }

    fn next_block(&mut self, store: &Store) -> io::Result<()> {
        if self.is_done() {
            return Ok(());
        }
        if self.read_bytes >= self.limit.read_bytes {
            self.is_full = true;
            return Ok(());
        }
        let block = match self.order {
            Order::OldestFirst => store.block_from(self.first, &self.filter.wanted)?,
            Order::NewestFirst => store.block_up_to(self.last, &self.filter.wanted)?,
        };
        self.note_missed(store.first(), block.as_ref());
        match block {
            _ if self.is_full => {}
            None => self.leave(self.first, self.last),
            Some(block) => {
                let text = store.read(&block, &mut self.reader)?;
                self.look_through(&block, &text);
                self.reader.take_back(text);
            }
        }
        Ok(())
    }

    /// Notes what was deleted before it was looked through. What was deleted before the block was looked for cannot be
    /// in it: `kept` is the first number that was kept afterwards.
    fn note_missed(&mut self, kept: u64, block: Option<&Block>) {
        let end = block.map_or(self.last, |block| self.last.min(block.first() - 1));
        let last = end.min(kept - 1);
        if self.order == Order::NewestFirst || last < self.first {
            return;
        }
        if !self.found.is_empty() {
            // It is told before the entries that come after it: by another way from here.
            self.is_full = true;
            return;
        }
        let first = self.missed.map_or(self.first, |missed| missed.first);
        self.missed = Some(Missed { first, last });
        self.leave(first, last);
    }

    fn look_through(&mut self, block: &Block, text: &[u8]) {
        self.read_bytes += text.len() as u64;
        if self.filter.may_be_in(text) {
            let (filter, numbers) = (self.filter.clone(), self.first..=self.last);
            let read = |place: Range<usize>| filter.read(&text[place.clone()]).map(|entry: T| (entry, place.len()));
            let entries = self.places(block, text).into_iter().filter_map(read);
            let entries = entries.filter(|(entry, _)| numbers.contains(&entry.sequence()));
            match self.order {
                Order::OldestFirst => self.take(entries),
                Order::NewestFirst => self.take(entries.rev()),
            }
        }
        if !self.is_full {
            self.leave(block.first(), block.last);
        }
    }

    /// Where the lines are that may be an entry that is looked for.
    fn places(&self, block: &Block, text: &[u8]) -> Vec<Range<usize>> {
        match self.filter.needles.first() {
            Some(needle) if block.is_whole => needle.lines(text).collect(),
            _ => lines(block, text, self.first, self.last).collect(),
        }
    }

    /// Takes entries until there are enough. That is only known by one more: there is no next page without an entry.
    fn take(&mut self, entries: impl IntoIterator<Item = (T, usize)>) {
        for (entry, size_bytes) in entries {
            let is_over = self.size_bytes + size_bytes > self.limit.size_bytes && !self.found.is_empty();
            if is_over || self.found.len() == self.limit.entries {
                self.is_full = true;
                return;
            }
            self.leave(entry.sequence(), entry.sequence());
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

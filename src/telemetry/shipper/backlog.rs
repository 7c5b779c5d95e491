//! The batches that Log has not acknowledged. Pure.
//!
//! A batch is sent again on every new stream until it is acknowledged: Log knows it by its number, and writes it once.

use std::{collections::VecDeque, mem};

use prost::Message;

use crate::proto::log::v1::{Durability, Entry, IngestRequest};

/// So much waits for Log at most, as it goes over the wire.
pub(super) const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Far below the message size that Log accepts, with the longest entry that the layer makes on top.
pub(super) const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Batches in the order of their numbers, those that were sent on this stream first.
#[derive(Debug)]
pub(super) struct Backlog {
    batches: VecDeque<Batch>,
    next_number: u64,
    size_bytes: usize,
    sent: usize,
    sent_bytes: usize,
}

#[derive(Debug)]
struct Batch {
    number: u64,
    count: usize,
    /// The entries as a request has them: decoded they take five times the room, and there may be as many as have room.
    encoded: Vec<u8>,
    size_bytes: usize,
    /// Whether all that can be printed of it was.
    printed: bool,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            next_number: 1,
            size_bytes: 0,
            sent: 0,
            sent_bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether more may be added.
    pub(super) fn has_room(&self) -> bool {
        self.size_bytes + BATCH_BYTES_MAX <= BACKLOG_BYTES_MAX
    }

    /// Adds entries, in as many batches as they need.
    pub(super) fn push(&mut self, entries: Vec<Entry>) {
        let (mut batch, mut size_bytes) = (Vec::new(), 0);
        for entry in entries {
            let entry_bytes = entry.encoded_len();
            if size_bytes + entry_bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                self.push_batch(mem::take(&mut batch), mem::take(&mut size_bytes));
            }
            size_bytes += entry_bytes;
            batch.push(entry);
        }
        if !batch.is_empty() {
            self.push_batch(batch, size_bytes);
        }
    }

    fn push_batch(&mut self, entries: Vec<Entry>, size_bytes: usize) {
        let count = entries.len();
        let request = IngestRequest {
            entries,
            ..IngestRequest::default()
        };
        self.batches.push_back(Batch {
            number: self.next_number,
            count,
            encoded: request.encode_to_vec(),
            size_bytes,
            printed: false,
        });
        self.next_number += 1;
        self.size_bytes += size_bytes;
    }

    /// The next batch that may be sent on this stream, when so many bytes may be under way; one always may.
    pub(super) fn send(&mut self, credit_bytes: usize) -> Option<IngestRequest> {
        let batch = self.batches.get(self.sent)?;
        if self.sent > 0 && self.sent_bytes + batch.size_bytes > credit_bytes {
            return None;
        }
        self.sent += 1;
        self.sent_bytes += batch.size_bytes;
        Some(IngestRequest {
            batch: batch.number,
            durability: Durability::Written.into(),
            ..batch.request()
        })
    }

    /// Whether something was sent on this stream that is not acknowledged.
    pub(super) fn is_under_way(&self) -> bool {
        self.sent > 0
    }

    /// A new stream begins.
    pub(super) fn send_again(&mut self) {
        self.sent = 0;
        self.sent_bytes = 0;
    }

    /// Removes the batches up to this one. Tells how many entries they had.
    pub(super) fn acknowledge(&mut self, number: u64) -> usize {
        let mut entries = 0;
        while self.batches.front().is_some_and(|batch| batch.number <= number) {
            entries += self.pop_batch().map_or(0, |batch| batch.count);
        }
        entries
    }

    /// Removes the first batch.
    pub(super) fn pop(&mut self) -> Option<Vec<Entry>> {
        Some(self.pop_batch()?.request().entries)
    }

    fn pop_batch(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        self.size_bytes -= batch.size_bytes;
        if self.sent > 0 {
            self.sent -= 1;
            self.sent_bytes -= batch.size_bytes;
        }
        Some(batch)
    }

    /// The batches that were not printed so far; from now on they were.
    pub(super) fn print(&mut self) -> impl Iterator<Item = Vec<Entry>> {
        let unprinted = self.batches.iter_mut().filter(|batch| !batch.printed);
        unprinted.map(|batch| {
            batch.printed = true;
            batch.request().entries
        })
    }
}

impl Batch {
    fn request(&self) -> IngestRequest {
        IngestRequest::decode(&*self.encoded).expect("it was encoded here")
    }
}

#[cfg(test)]
mod tests;

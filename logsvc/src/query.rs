//! Finds entries: goes through the blocks in either order. Must never import `tail` or `grpc`.
//!
//! Its parts: `filter` is what is looked for, of which `pattern`, `spans` and `needle` are parts; `scan` goes through the
//! store, `read` says what it reads lines as, and `traces` lists what traces its spans are of.

mod filter;
mod needle;
mod pattern;
mod read;
mod scan;
mod spans;
mod traces;

use homeroom::{
    model::InvalidField,
    page::{PAGE_SIZE_BYTES_MAX, PAGE_SIZE_MAX},
    proto::log::v1 as proto,
};

pub use self::{
    filter::Filter,
    read::FromLine,
    scan::Scan,
    traces::{Cursor, Listed, list},
};
use crate::entry::Entry;

/// A page ends once so much text was read for it: some six million entries, a second or a few. Who looks for what is rare
/// gets pages without entries, and on with their tokens, rather than no answer within any deadline.
const PAGE_READ_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

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
    /// This many bytes were read, found or not.
    pub read_bytes: u64,
}

impl Limit {
    /// What is looked at of a trace: below the 4 MiB that stock clients accept.
    pub const TRACE: Self = Self {
        entries: 10_000,
        size_bytes: 3 * 1024 * 1024,
        read_bytes: u64::MAX,
    };
    /// The largest page.
    pub const PAGE: Self = Self {
        entries: PAGE_SIZE_MAX,
        size_bytes: PAGE_SIZE_BYTES_MAX,
        read_bytes: PAGE_READ_BYTES_MAX,
    };
}

/// What a [`Scan`] found.
#[derive(Debug, Clone)]
pub struct Found<T = Entry> {
    /// The entries, in the order asked for.
    pub entries: Vec<T>,
    /// Where to go on: everything before this number, in the order asked for, and itself, was looked through.
    pub after: u64,
    /// Whether there may be another entry after them that matches: there is one, unless the limit of what is read was
    /// reached.
    pub more: bool,
    /// What retention deleted before it was looked through; of no interest to who asked for everything that is kept. Only
    /// told with the oldest first.
    pub missed: Option<Missed>,
}

/// Entries that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The number of the first of them.
    pub first: u64,
    /// The number of the last of them.
    pub last: u64,
}

#[cfg(test)]
pub(crate) mod tests;

//! What lines are read as once they are found. Pure.

use super::Filter;
use crate::entry::{Encoded, Entry, parse};

/// What a line is read as: an [`Entry`], or the bytes of its message for who only passes it on.
pub trait FromLine: Sized + Send + 'static {
    /// Its position in the log.
    fn sequence(&self) -> u64;

    /// Reads a line whose head is that of an entry that is looked for; `None` when it is not one after all.
    fn read(line: &[u8], filter: &Filter) -> Option<Self>;
}

impl FromLine for Entry {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn read(line: &[u8], filter: &Filter) -> Option<Self> {
        parse(line).ok().filter(|entry| filter.matches(entry))
    }
}

impl FromLine for Encoded {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn read(line: &[u8], filter: &Filter) -> Option<Self> {
        // Of a line that is not our own the head may not say what the rest of it does.
        let straight = filter.is_told_by_heads().then(|| Self::of_line(line)).flatten();
        straight.or_else(|| Entry::read(line, filter).map(Self::from))
    }
}

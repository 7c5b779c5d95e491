//! A text as it stands in lines, to be found in them without reading them. Pure.
//!
//! Lines are written in one way only: what is equal is equal there, too. What is found may still be something else, such
//! as a value that looks like a key.

use std::{fmt, iter::Peekable, ops::Range};

use memchr::memmem::{FindIter, Finder};

use crate::entry::escaped;

/// Bytes that every line that is looked for has.
#[derive(Clone)]
pub(super) struct Needle(Finder<'static>);

impl Needle {
    /// Within any text of an entry.
    pub(super) fn text(text: &str) -> Self {
        Self(Finder::new(&escaped(text)).into_owned())
    }

    /// A key with exactly this value.
    pub(super) fn pair(key: &str, value: &str) -> Self {
        let pair = [b"\"", &escaped(key)[..], b"\":\"", &escaped(value), b"\""].concat();
        Self(Finder::new(&pair).into_owned())
    }

    /// Whether a line, or one of some lines, has it.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        self.0.find(text).is_some()
    }
}

/// Goes along some lines, to those that have a needle, or to all when there is none. The text is looked through once, which
/// is much faster than each line by itself.
pub(super) struct Hits<'a>(Option<Peekable<FindIter<'a, 'a>>>);

impl<'a> Hits<'a> {
    pub(super) fn new(needle: Option<&'a Needle>, text: &'a [u8]) -> Self {
        Self(needle.map(|needle| needle.0.find_iter(text).peekable()))
    }

    /// Whether the line that is at `place` may have it: one behind those that were asked for before.
    pub(super) fn are_in(&mut self, place: &Range<usize>) -> bool {
        let Some(hits) = &mut self.0 else { return true };
        while hits.next_if(|hit| *hit < place.start).is_some() {}
        hits.peek().is_some_and(|hit| *hit < place.end)
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0.needle()).fmt(f)
    }
}

impl PartialEq for Needle {
    fn eq(&self, other: &Self) -> bool {
        self.0.needle() == other.0.needle()
    }
}

impl Eq for Needle {}

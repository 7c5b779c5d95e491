//! A text as it stands in lines, to be found in them without reading them. Pure.
//!
//! Lines are written in one way only: what is equal is equal there, too. What is found may still be something else, such
//! as a value that looks like a key.

use std::{fmt, iter, ops::Range};

use memchr::{memchr, memmem::Finder, memrchr};

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

    /// Where the lines of a text are that have it, with their line breaks. What is between them is not looked at.
    pub(super) fn lines(&self, text: &[u8]) -> impl Iterator<Item = Range<usize>> {
        let mut end = 0;
        iter::from_fn(move || {
            let hit = end + self.0.find(&text[end..])?;
            let start = memrchr(b'\n', &text[end..hit]).map_or(end, |at| end + at + 1);
            end = memchr(b'\n', &text[hit..]).map_or(text.len(), |at| hit + at + 1);
            Some(start..end)
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_that_has_it_is_found_once() {
        let text = b"ab\nb\nabab\n\nxab\nab";
        let lines: Vec<_> = Needle::text("ab").lines(text).map(|place| &text[place]).collect();
        assert_eq!(lines, [&b"ab\n"[..], b"abab\n", b"xab\n", b"ab"]);
    }
}

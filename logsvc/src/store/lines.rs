//! The lines of a block, told apart by their numbers. Pure.

use std::{mem, ops::Range};

use super::Block;
use crate::entry::{Entry, parse, sequence};

/// Where the lines of a block's `text` are whose numbers are `first` to `last`, each with its line break.
///
/// Only the numbers are looked at: a line whose number is damaged is skipped, the rest of one may be damaged.
pub fn lines(block: &Block, text: &[u8], first: u64, last: u64) -> impl Iterator<Item = Range<usize>> {
    let (mut position, mut start, mut before_last) = (block.before(), 0, None);
    memchr::memchr_iter(b'\n', text).filter_map(move |end| {
        let place = start..end + 1;
        let line = &text[place.clone()];
        start = place.end;
        let number = sequence(line);
        if let Some((before, last)) = before_last.take()
            && number.is_some_and(|n| !position.allows(n))
            && parse(last).is_err()
        {
            // It has its number, but damage swallowed its end and lines after it.
            position = before;
            position.pass(None);
        }
        // After damage a number proves nothing: what comes then has to be an entry.
        let is_trusted = |n: &u64| position.allows(*n) && (position.damaged == 0 || parse(line).is_ok());
        before_last = Some((position, line));
        let number = number.filter(is_trusted);
        position.pass(number);
        number.filter(|n| (first..=last).contains(n)).map(|_| place)
    })
}

/// All lines of a text, each with its line break, but for a last one that has none.
pub(super) fn all(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', text).map(|end| end + 1).chain([text.len()]);
    let lines = ends.map(move |end| &text[mem::replace(&mut start, end)..end]);
    lines.filter(|line| !line.is_empty())
}

/// The entries of [`lines`], each with the size of its line. Damaged lines are skipped.
pub fn entries(block: &Block, text: &[u8], first: u64, last: u64) -> impl Iterator<Item = (Entry, usize)> {
    let lines = lines(block, text, first, last).map(|place| &text[place]);
    lines.filter_map(|line| Some((parse(line).ok()?, line.len())))
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_split_behind_their_breaks() {
        for text in ["", "a", "a\n", "a\n\nb\n", "\na"] {
            let expected: Vec<_> = text.split_inclusive('\n').map(str::as_bytes).collect();
            assert_eq!(super::all(text.as_bytes()).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }
}

//! What is where in a file of lines: an index so sparse that it fits into memory. Pure.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Wanted,
    append::Piece,
    summary::{Facts, Summary},
};

/// A block has at most this many bytes, or one line: what a lookup reads for one entry.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;
/// A block has at most this many lines: what a lookup parses for one entry.
pub(super) const BLOCK_LINES: usize = 1024;

/// No log gets there in a thousand years: a number above it is damage, and leaves none for the entries after it.
pub(super) const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// Where a walk over the lines is: what the next number may be.
///
/// Numbers rise by one. After a damaged line they may rise by more, since damage can swallow line breaks; so a number
/// that was damaged itself does not make the true ones after it look wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The number of the last entry.
    pub(super) last: u64,
    /// How many damaged lines came after it.
    pub(super) damaged: u64,
}

impl Position {
    /// Where the first entry has the number `first`.
    pub(super) fn before(first: u64) -> Self {
        Self {
            last: first.saturating_sub(1).min(SEQUENCE_MAX),
            damaged: 0,
        }
    }

    pub(super) fn allows(self, sequence: u64) -> bool {
        match self.damaged {
            0 => sequence == self.last + 1,
            _ => (self.last + 1..=SEQUENCE_MAX).contains(&sequence),
        }
    }

    /// Whether so many lines from here to `end` are an entry each.
    pub(super) fn is_whole_to(self, end: Self, lines: usize) -> bool {
        self.damaged == 0 && end.damaged == 0 && end.last - self.last == lines as u64
    }

    /// Passes a line: an entry of that number, or a damaged one.
    pub(super) fn pass(&mut self, sequence: Option<u64>) {
        match sequence {
            Some(last) => *self = Self { last, damaged: 0 },
            None => self.damaged += 1,
        }
    }
}

/// Some lines in a row, in their segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Where it starts, in bytes.
    pub(super) offset: u64,
    /// How long it is.
    pub(super) size_bytes: usize,
    /// The number of the last entry in it.
    pub(super) last: u64,
    /// Where the walk over the lines is at its start.
    pub(super) before: Position,
    /// Whether each line is an entry, of the number after that of the line before.
    pub(super) is_whole: bool,
}

impl Extent {
    /// The least number that an entry in it may have.
    pub(super) fn first(&self) -> u64 {
        self.before.last + 1
    }
}

#[derive(Debug)]
struct Indexed {
    extent: Extent,
    lines: usize,
    summary: Summary,
}

impl Indexed {
    fn new(offset: u64, before: Position) -> Self {
        Self {
            extent: Extent {
                offset,
                size_bytes: 0,
                last: before.last,
                before,
                is_whole: true,
            },
            lines: 0,
            summary: Summary::default(),
        }
    }
}

/// All blocks of a file, in order, without a gap between them.
#[derive(Debug, Default)]
pub(super) struct Index {
    blocks: Vec<Indexed>,
    /// The services of all blocks but the last.
    names: BTreeSet<Arc<str>>,
    position: Position,
    size_bytes: u64,
}

impl Index {
    /// The index of an empty file whose first entry is to have the number `first`.
    pub(super) fn starting_at(first: u64) -> Self {
        Self {
            position: Position::before(first),
            ..Self::default()
        }
    }

    /// The number of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.position.last
    }

    /// The number that the next entry gets: none that a damaged line may have had.
    pub(super) fn next(&self) -> u64 {
        self.position.last + self.position.damaged + 1
    }

    /// How long the file is.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether the entry after the last one may have this number.
    pub(super) fn allows(&self, sequence: u64) -> bool {
        self.position.allows(sequence)
    }

    /// Adds the line that follows the last one: the number of its entry and what is known of it, `None` when it is
    /// damaged.
    pub(super) fn push(&mut self, size_bytes: usize, entry: Option<(u64, Facts<'_>)>) {
        let sequence = entry.map(|(sequence, _)| sequence);
        let summary = self.extend(1, size_bytes, sequence);
        if let Some((_, facts)) = entry {
            summary.note(facts);
        }
    }

    /// Adds lines that follow, as they should be, of this size once they are numbered.
    pub(super) fn push_piece(&mut self, piece: &Piece, size_bytes: usize) {
        let last = self.next() + piece.lines as u64 - 1;
        self.extend(piece.lines, size_bytes, Some(last)).join(&piece.summary);
    }

    /// Passes lines, in the last block or a new one, whose summary it returns.
    fn extend(&mut self, lines: usize, size_bytes: usize, last: Option<u64>) -> &mut Summary {
        let has_room =
            |block: &Indexed| block.lines + lines <= BLOCK_LINES && block.extent.size_bytes + size_bytes <= BLOCK_BYTES;
        if !self.blocks.last().is_some_and(has_room) {
            if let Some(block) = self.blocks.last_mut() {
                block.summary.settle(&mut self.names);
            }
            self.blocks.push(Indexed::new(self.size_bytes, self.position));
        }
        self.position.pass(last);
        self.size_bytes += size_bytes as u64;
        let block = self.blocks.last_mut().expect("there is a block now");
        block.lines += lines;
        block.extent.size_bytes += size_bytes;
        block.extent.last = self.position.last;
        block.extent.is_whole = block.extent.before.is_whole_to(self.position, block.lines);
        &mut block.summary
    }

    pub(super) fn from(&self, sequence: u64, wanted: &Wanted) -> Option<Extent> {
        let at = self.blocks.partition_point(|block| block.extent.last < sequence);
        let mut blocks = self.blocks[at..].iter();
        let found = blocks.find(|block| wanted.may_be_within(&block.summary));
        found.map(|block| block.extent)
    }

    pub(super) fn up_to(&self, sequence: u64, wanted: &Wanted) -> Option<Extent> {
        let after = self.blocks.partition_point(|block| block.extent.first() <= sequence);
        let mut blocks = self.blocks[..after].iter();
        let found = blocks.rfind(|block| wanted.may_be_within(&block.summary));
        found.map(|block| block.extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Severity, Time};

    fn facts() -> Facts<'static> {
        Facts {
            time: Time::MIN,
            severity: Severity::Info,
            is_span: false,
            service: "",
            trace: None,
        }
    }

    fn index(lines: usize, size_bytes: usize) -> Index {
        let mut index = Index::starting_at(1);
        for _ in 0..lines {
            index.push(size_bytes, Some((index.next(), facts())));
        }
        index
    }

    #[test]
    fn a_block_ends_at_its_lines_or_its_bytes() {
        let by_lines = index(2 * BLOCK_LINES + 1, 1);
        assert_eq!(
            by_lines.from(1, &Wanted::default()).map(|b| b.last),
            Some(BLOCK_LINES as u64)
        );
        let by_bytes = index(10, BLOCK_BYTES / 2);
        assert_eq!(
            by_bytes.from(3, &Wanted::default()).map(|b| (b.first(), b.last)),
            Some((3, 4))
        );
    }

    #[test]
    fn every_number_is_found_in_its_block_from_both_sides() {
        let (index, all) = (index(3 * BLOCK_LINES, 10), Wanted::default());
        for sequence in 1..=index.last() {
            let (from, up_to) = (index.from(sequence, &all), index.up_to(sequence, &all));
            let (from, up_to) = (from.expect("a block"), up_to.expect("a block"));
            assert_eq!(from.offset, up_to.offset);
            assert!((from.first()..=from.last).contains(&sequence));
        }
        assert!(index.from(index.last() + 1, &all).is_none());
        assert!(index.up_to(0, &all).is_none());
    }

    #[test]
    fn a_number_may_jump_only_after_damage() {
        let mut position = Position { last: 5, damaged: 0 };
        assert!(position.allows(6) && !position.allows(7) && !position.allows(5));
        position.pass(None);
        assert!(position.allows(6) && position.allows(9) && !position.allows(5));
        position.pass(Some(9));
        assert!(position.allows(10) && !position.allows(11));
    }

    #[test]
    fn a_block_is_whole_unless_a_line_is_damaged() {
        let is_whole = |index: &Index| index.from(1, &Wanted::default()).map(|block| block.is_whole);
        let mut index = index(3, 10);
        assert_eq!(is_whole(&index), Some(true));
        index.push(10, None);
        assert_eq!(is_whole(&index), Some(false));
        // As many numbers as lines, but one is of a line that is not there.
        index.push(10, Some((6, facts())));
        assert_eq!(is_whole(&index), Some(false));
    }

    #[test]
    fn a_damaged_line_keeps_its_number() {
        let mut index = index(3, 10);
        index.push(10, None);
        assert_eq!((index.last(), index.next(), index.size_bytes()), (3, 5, 40));
    }
}

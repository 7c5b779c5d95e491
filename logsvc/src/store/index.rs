//! What is where in the file: an index so sparse that it fits into memory. Pure.

use super::Wanted;
use crate::entry::{Entry, Time, parse, sequence};

/// A block ends with the line that reaches this many bytes: what a lookup reads for one entry.
const BLOCK_BYTES: usize = 256 * 1024;
/// A block ends with this many lines: what a lookup parses for one entry.
const BLOCK_LINES: usize = 1024;

/// No log gets there in a thousand years: a number above it is damage, and leaves none for the entries after it.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// Where a walk over the lines is: what the next number may be.
///
/// Numbers rise by one. After a damaged line they may rise by more, since damage can swallow line breaks; so a number
/// that was damaged itself does not make the true ones after it look wrong.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    /// The number of the last entry.
    last: u64,
    /// How many damaged lines came after it.
    damaged: u64,
}

impl Position {
    fn allows(self, sequence: u64) -> bool {
        match self.damaged {
            0 => sequence == self.last + 1,
            _ => (self.last + 1..=SEQUENCE_MAX).contains(&sequence),
        }
    }

    /// Passes a line: an entry of that number, or a damaged one.
    fn pass(&mut self, sequence: Option<u64>) {
        match sequence {
            Some(last) => *self = Self { last, damaged: 0 },
            None => self.damaged += 1,
        }
    }
}

/// Some lines in a row.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// Where it starts, in bytes.
    pub offset: u64,
    /// How long it is.
    pub size_bytes: usize,
    /// The number of the last entry in it.
    pub last: u64,
    /// The least time in it.
    pub earliest: Time,
    /// The greatest time in it.
    pub latest: Time,
    before: Position,
    lines: usize,
}

impl Block {
    /// The least number that an entry in it may have.
    pub fn first(&self) -> u64 {
        self.before.last + 1
    }
}

/// All blocks, in order, without a gap between them.
#[derive(Debug, Default)]
pub(super) struct Index {
    blocks: Vec<Block>,
    position: Position,
    size_bytes: u64,
}

impl Index {
    /// The index of an empty file whose first entry is to have the number `first`.
    pub(super) fn starting_at(first: u64) -> Self {
        let mut index = Self::default();
        index.position.last = first.saturating_sub(1).min(SEQUENCE_MAX);
        index
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

    /// Reads the line that follows the last one; `None` when it is damaged.
    pub(super) fn read(&self, line: &[u8]) -> Option<Entry> {
        parse(line).ok().filter(|entry| self.position.allows(entry.sequence))
    }

    /// Adds the line that follows the last one: the number and the time of its entry, `None` when it is damaged.
    pub(super) fn push(&mut self, size_bytes: usize, entry: Option<(u64, Time)>) {
        let is_full = |block: &Block| block.lines >= BLOCK_LINES || block.size_bytes >= BLOCK_BYTES;
        if self.blocks.last().is_none_or(is_full) {
            self.blocks.push(Block {
                offset: self.size_bytes,
                size_bytes: 0,
                last: self.position.last,
                earliest: Time::MAX,
                latest: Time::MIN,
                before: self.position,
                lines: 0,
            });
        }
        let block = self.blocks.last_mut().expect("there is a block now");
        block.lines += 1;
        block.size_bytes += size_bytes;
        if let Some((sequence, time)) = entry {
            block.last = sequence;
            block.earliest = block.earliest.min(time);
            block.latest = block.latest.max(time);
        }
        self.position.pass(entry.map(|(sequence, _)| sequence));
        self.size_bytes += size_bytes as u64;
    }

    pub(super) fn block_from(&self, sequence: u64, wanted: &Wanted) -> Option<Block> {
        let at = self.blocks.partition_point(|block| block.last < sequence);
        let mut blocks = self.blocks[at..].iter();
        blocks.find(|block| wanted.may_be_within(block)).copied()
    }

    pub(super) fn block_up_to(&self, sequence: u64, wanted: &Wanted) -> Option<Block> {
        let after = self.blocks.partition_point(|block| block.first() <= sequence);
        let mut blocks = self.blocks[..after].iter();
        blocks.rfind(|block| wanted.may_be_within(block)).copied()
    }
}

/// Reads the entries of a block's `text` whose numbers are `first` to `last`, each with the size of its line.
///
/// Damaged lines are skipped; of the lines that are not asked for only the number is read.
pub fn entries(block: &Block, text: &[u8], first: u64, last: u64) -> impl Iterator<Item = (Entry, usize)> {
    let mut position = block.before;
    text.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        let other = sequence(line).filter(|n| position.allows(*n) && !(first..=last).contains(n));
        if other.is_some() {
            position.pass(other);
            return None;
        }
        let entry = parse(line).ok().filter(|entry| position.allows(entry.sequence));
        position.pass(entry.as_ref().map(|entry| entry.sequence));
        entry
            .filter(|entry| (first..=last).contains(&entry.sequence))
            .map(|entry| (entry, line.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(lines: usize, size_bytes: usize) -> Index {
        let mut index = Index::starting_at(1);
        for _ in 0..lines {
            index.push(size_bytes, Some((index.next(), Time::MIN)));
        }
        index
    }

    #[test]
    fn a_block_ends_at_its_lines_or_its_bytes() {
        let by_lines = index(2 * BLOCK_LINES + 1, 1);
        assert_eq!(
            by_lines.block_from(1, &Wanted::default()).map(|b| b.last),
            Some(BLOCK_LINES as u64)
        );
        let by_bytes = index(10, BLOCK_BYTES / 2);
        assert_eq!(
            by_bytes.block_from(3, &Wanted::default()).map(|b| (b.first(), b.last)),
            Some((3, 4))
        );
    }

    #[test]
    fn every_number_is_found_in_its_block_from_both_sides() {
        let (index, all) = (index(3 * BLOCK_LINES, 10), Wanted::default());
        for sequence in 1..=index.last() {
            let (from, up_to) = (index.block_from(sequence, &all), index.block_up_to(sequence, &all));
            let (from, up_to) = (from.expect("a block"), up_to.expect("a block"));
            assert_eq!(from.offset, up_to.offset);
            assert!((from.first()..=from.last).contains(&sequence));
        }
        assert!(index.block_from(index.last() + 1, &all).is_none());
        assert!(index.block_up_to(0, &all).is_none());
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
    fn a_damaged_line_keeps_its_number() {
        let mut index = index(3, 10);
        index.push(10, None);
        assert_eq!((index.last(), index.next(), index.size_bytes()), (3, 5, 40));
    }
}

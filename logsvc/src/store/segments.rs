//! All segments, oldest first: which entries are where. `reader` is what one needs to read them.

mod reader;

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};

pub use self::reader::Reader;
use super::{
    Wanted,
    index::{Extent, Position},
    plain::Plain,
    sealed::{Lines, Sealed},
};

/// A file of entries.
#[derive(Debug, Clone)]
pub(super) enum Segment {
    /// Lines as they are.
    Plain(Arc<Plain>),
    /// Lines in frames of zstd.
    Sealed(Arc<Sealed>),
}

impl Segment {
    /// The number of its first entry.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.first(),
            Self::Sealed(sealed) => sealed.first(),
        }
    }

    /// The number of its last entry; one below `first` when it has none.
    pub(super) fn last(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.last(),
            Self::Sealed(sealed) => sealed.last(),
        }
    }

    /// The number that an entry after it may have.
    pub(super) fn next(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.index().next(),
            Self::Sealed(sealed) => sealed.next(),
        }
    }

    /// The first block with an entry at `sequence` or after it that may hold what is wanted.
    pub(super) fn from(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Block>> {
        match self {
            Self::Plain(plain) => Ok(plain.from(sequence, wanted).map(|extent| Block::plain(plain, extent))),
            Self::Sealed(sealed) => Ok(sealed.from(sequence, wanted)?.map(Block::sealed)),
        }
    }

    /// The last block with an entry at `sequence` or before it that may hold what is wanted.
    pub(super) fn up_to(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Block>> {
        match self {
            Self::Plain(plain) => Ok(plain.up_to(sequence, wanted).map(|extent| Block::plain(plain, extent))),
            Self::Sealed(sealed) => Ok(sealed.up_to(sequence, wanted)?.map(Block::sealed)),
        }
    }
}

/// Some lines in a row. It is read as it was found, also when its segment was sealed or deleted since.
#[derive(Debug, Clone)]
pub struct Block {
    place: Place,
    before: Position,
    /// The number of the last entry in it.
    pub last: u64,
    /// Whether each line is an entry, of the number after that of the line before.
    pub is_whole: bool,
}

#[derive(Debug, Clone)]
enum Place {
    Plain(Arc<Plain>, Extent),
    Sealed(Lines),
}

impl Block {
    fn plain(plain: &Arc<Plain>, extent: Extent) -> Self {
        Self {
            place: Place::Plain(plain.clone(), extent),
            before: extent.before,
            last: extent.last,
            is_whole: extent.is_whole,
        }
    }

    fn sealed(lines: Lines) -> Self {
        Self {
            before: lines.before(),
            last: lines.last(),
            is_whole: lines.is_whole(),
            place: Place::Sealed(lines),
        }
    }

    /// The least number that an entry in it may have.
    pub fn first(&self) -> u64 {
        self.before.last + 1
    }

    /// Reads its lines.
    pub(super) fn read(&self, reader: &mut Reader) -> io::Result<Arc<Vec<u8>>> {
        match &self.place {
            Place::Plain(plain, extent) => plain.read(extent, reader.room(extent.size_bytes)).map(Arc::new),
            Place::Sealed(lines) => Ok(lines.read(reader)),
        }
    }

    /// Where the walk over the lines is at its start.
    pub(super) fn before(&self) -> Position {
        self.before
    }
}

type List = Arc<[Arc<Segment>]>;

/// The segments, oldest first: the numbers of each are above those of the one before.
#[derive(Debug)]
pub(super) struct Segments {
    /// Guards which there are; held to look at it or to change it, never while a disk is waited for.
    list: RwLock<List>,
}

impl Segments {
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self {
            list: RwLock::new(segments.into()),
        }
    }

    /// The segments as they are now.
    pub(super) fn list(&self) -> List {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes which segments there are, for those who look from now on.
    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = list.to_vec();
        change(&mut changed);
        *list = changed.into();
    }

    /// The number of the last entry; 0 when there was none.
    pub(super) fn last(&self) -> u64 {
        self.list().last().map_or(0, |segment| segment.last())
    }

    pub(super) fn block_from(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Block>> {
        let list = self.list();
        let at = list.partition_point(|segment| segment.last() < sequence);
        for segment in &list[at..] {
            if let Some(block) = segment.from(sequence, wanted)? {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    pub(super) fn block_up_to(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Block>> {
        let list = self.list();
        let after = list.partition_point(|segment| segment.first() <= sequence);
        for segment in list[..after].iter().rev() {
            if let Some(block) = segment.up_to(sequence, wanted)? {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }
}

//! All segments, oldest first: which entries are where.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    Wanted,
    index::{Extent, Position},
    plain::Plain,
};

/// A file of entries.
#[derive(Debug)]
pub(super) enum Segment {
    /// Lines as they are.
    Plain(Arc<Plain>),
}

impl Segment {
    /// The number of its first entry.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.first(),
        }
    }

    /// The number of its last entry; one below `first` when it has none.
    pub(super) fn last(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.last(),
        }
    }

    /// The number that an entry after it may have.
    pub(super) fn next(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.index().next(),
        }
    }

    /// The first block with an entry at `sequence` or after it that may hold what is wanted.
    fn from(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Extent>> {
        match self {
            Self::Plain(plain) => Ok(plain.from(sequence, wanted)),
        }
    }

    /// The last block with an entry at `sequence` or before it that may hold what is wanted.
    fn up_to(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Extent>> {
        match self {
            Self::Plain(plain) => Ok(plain.up_to(sequence, wanted)),
        }
    }

    fn read(&self, extent: &Extent) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(plain) => plain.read(extent),
        }
    }
}

/// Some lines in a row. It is read as it was found, also when its segment was sealed or deleted since.
#[derive(Debug, Clone)]
pub struct Block {
    segment: Arc<Segment>,
    extent: Extent,
    /// The number of the last entry in it.
    pub last: u64,
}

impl Block {
    fn new(segment: &Arc<Segment>, extent: Extent) -> Self {
        Self {
            segment: segment.clone(),
            extent,
            last: extent.last,
        }
    }

    /// The least number that an entry in it may have.
    pub fn first(&self) -> u64 {
        self.extent.first()
    }

    /// Reads its lines.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        self.segment.read(&self.extent)
    }

    /// Where the walk over the lines is at its start.
    pub(super) fn before(&self) -> Position {
        self.extent.before
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
            if let Some(extent) = segment.from(sequence, wanted)? {
                return Ok(Some(Block::new(segment, extent)));
            }
        }
        Ok(None)
    }

    pub(super) fn block_up_to(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<Block>> {
        let list = self.list();
        let after = list.partition_point(|segment| segment.first() <= sequence);
        for segment in list[..after].iter().rev() {
            if let Some(extent) = segment.up_to(sequence, wanted)? {
                return Ok(Some(Block::new(segment, extent)));
            }
        }
        Ok(None)
    }
}

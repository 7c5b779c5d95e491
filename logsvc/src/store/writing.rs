//! The end of the log: the segment that is written, and when it gives way to the next one.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::warn;

use super::{
    append::Piece,
    disk::Files,
    index::Index,
    keeper::Bell,
    plain::{Plain, file_name},
    segments::{Segment, Segments},
};
use crate::config::StoreSettings;

/// When a segment gives way to the next one.
#[derive(Debug, Clone, Copy)]
struct Limits {
    size_bytes: u64,
    age: Duration,
}

/// The segment that is written.
#[derive(Debug)]
struct Active {
    plain: Arc<Plain>,
    /// Where the next line belongs.
    end: u64,
    /// Whether something was written that is not synced.
    is_dirty: bool,
    since: SystemTime,
}

/// Writes at the end of the log.
#[derive(Debug)]
pub(super) struct Writing {
    files: Arc<dyn Files>,
    segments: Arc<Segments>,
    /// Rung when a segment can be sealed.
    bell: Arc<Bell>,
    limits: Limits,
    /// `None` until there is something to write.
    active: Option<Active>,
    /// The number that the next entry gets.
    next: u64,
}

impl Writing {
    /// Goes on with the last segment.
    pub(super) fn new(
        files: Arc<dyn Files>,
        segments: Arc<Segments>,
        bell: Arc<Bell>,
        settings: &StoreSettings,
    ) -> Self {
        let list = segments.list();
        let (active, next) = match list.last().map(|segment| &**segment) {
            Some(Segment::Plain(plain)) => (Some(Active::new(plain.clone())), plain.index().next()),
            Some(Segment::Sealed(sealed)) => (None, sealed.next()),
            None => (None, 1),
        };
        for segment in &list[..list.len().saturating_sub(1)] {
            if let Segment::Plain(plain) = &**segment {
                plain.close();
            }
        }
        Self {
            active,
            files,
            segments,
            bell,
            limits: Limits {
                size_bytes: settings.segment_size_bytes,
                age: settings.segment_age,
            },
            next,
        }
    }

    /// The number that the next entry gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Has a segment to write to. When the next one cannot be made, the one before is written on.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let limits = self.limits;
        if self.active.as_ref().is_some_and(|active| !active.is_due(limits)) {
            return Ok(());
        }
        match self.rotate() {
            Err(error) if self.active.is_some() => {
                warn!(%error, "cannot begin another segment of the log");
                Ok(())
            }
            result => result,
        }
    }

    /// Begins another segment, once the one before is synced.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let name = file_name(self.next);
        let contents = self.files.create(&name)?;
        if let Err(error) = self.files.sync_names() {
            // Who opens the directory next does so, too, when this fails.
            let _ = self.files.remove(&name);
            return Err(error);
        }
        let plain = Arc::new(Plain::new(self.next, contents, Index::starting_at(self.next)));
        self.segments
            .change(|segments| segments.push(Arc::new(Segment::Plain(plain.clone()))));
        if let Some(before) = self.active.replace(Active::new(plain)) {
            before.plain.close();
            self.bell.ring();
        }
        Ok(())
    }

    /// Writes lines at the end, which nobody sees yet. After an error some of it may be there.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let active = self.active.as_mut().expect("it is prepared");
        active.plain.contents().write(text, active.end)?;
        active.is_dirty = true;
        Ok(())
    }

    /// Cuts off what a failed write left.
    pub(super) fn undo(&mut self) -> io::Result<()> {
        let active = self.active.as_ref().expect("it is prepared");
        active.plain.contents().truncate(active.end)
    }

    /// Returns when a power cut would leave everything that was written before.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(active) = self.active.as_mut().filter(|active| active.is_dirty) {
            active.plain.contents().sync()?;
            active.is_dirty = false;
        }
        Ok(())
    }

    /// Shows to readers what was written: pieces with the sizes that they have now. Returns the number of the last entry.
    pub(super) fn publish<'a>(&mut self, pieces: impl Iterator<Item = (&'a Piece, usize)>) -> u64 {
        let active = self.active.as_mut().expect("it is prepared");
        let mut index = active.plain.index();
        for (piece, size_bytes) in pieces {
            index.push_piece(piece, size_bytes);
        }
        active.end = index.size_bytes();
        self.next = index.next();
        index.last()
    }
}

impl Active {
    fn new(plain: Arc<Plain>) -> Self {
        let end = plain.index().size_bytes();
        let since = plain.contents().created().unwrap_or_else(|_| SystemTime::now());
        Self {
            plain,
            end,
            is_dirty: false,
            since,
        }
    }

    fn is_due(&self, limits: Limits) -> bool {
        // A clock that went back makes no segment old.
        let age = self.since.elapsed().unwrap_or_default();
        self.end >= limits.size_bytes || self.end > 0 && age >= limits.age
    }
}

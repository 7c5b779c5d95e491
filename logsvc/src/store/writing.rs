//! The end of the log: the segment that is written, and when it gives way to the next one.
//!
//! What is written counts once it is published. A failure leaves the segment as it was, or gives it up: then it ends, for
//! ever, behind what was published, and the next group begins another segment above the numbers that are in doubt.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::{
    append::Piece,
    disk::{Files, is_full},
    health::Failure,
    index::Index,
    keeper::{Bell, Deletion},
    numbers::{Cut, Numbers},
    plain::{Plain, file_name},
    segments::{Segment, Segments},
    writers::Writers,
};
use crate::config::StoreSettings;

/// What a power cut may cost those who asked for no more than WRITTEN.
const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// As long as that at most.
const UNSYNCED_MAX: Duration = Duration::from_secs(1);

/// How much is written again at once.
const SETTLE_BYTES: usize = 1024 * 1024;

/// When a segment gives way to the next one, and when nothing is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    size_bytes: u64,
    age: Duration,
    /// With less room than this nothing is written.
    free_min_bytes: u64,
}

impl From<&StoreSettings> for Limits {
    fn from(settings: &StoreSettings) -> Self {
        Self {
            size_bytes: settings.segment_size_bytes,
            age: settings.segment_age,
            // Retention begins to make room when there is twice as much.
            free_min_bytes: settings.retention_free_bytes / 2,
        }
    }
}

/// Gives lines to who writes them, in parts.
pub(super) trait Lines: FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {}

impl<T: FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>> Lines for T {}

/// Where the log goes on.
#[derive(Debug)]
pub(super) struct End {
    /// The segment that is written on, when there is one.
    pub(super) active: Option<Arc<Plain>>,
    /// The number that the next entry gets.
    pub(super) next: u64,
    pub(super) numbers: Numbers,
}

/// The segment that is written.
#[derive(Debug)]
struct Active {
    plain: Arc<Plain>,
    /// Where the next line belongs.
    end: u64,
    since: SystemTime,
    /// What is not synced, once something is.
    unsynced: Option<Unsynced>,
}

#[derive(Debug)]
struct Unsynced {
    since: Instant,
    /// Where it begins.
    offset: u64,
}

/// A part of a segment that could not be synced.
#[derive(Debug)]
struct Doubt {
    plain: Arc<Plain>,
    offset: u64,
    end: u64,
}

/// Writes at the end of the log.
#[derive(Debug)]
pub(super) struct Writing {
    files: Arc<dyn Files>,
    segments: Arc<Segments>,
    /// Guards what is known of writers; changed only by the committer. Never held while a disk is waited for.
    writers: Arc<Mutex<Writers>>,
    /// Rung when a segment can be sealed.
    bell: Arc<Bell>,
    /// Asked when there is no room.
    deletion: Arc<Deletion>,
    limits: Limits,
    numbers: Numbers,
    /// `None` until there is something to write.
    active: Option<Active>,
    /// The number that the next entry gets.
    next: u64,
    /// Where a segment ends that was given up, until that is kept.
    cut: Option<Cut>,
    /// What readers see of that segment, and of which nobody knows whether it is synced.
    doubt: Option<Doubt>,
}

impl Writing {
    pub(super) fn new(
        files: Arc<dyn Files>,
        segments: Arc<Segments>,
        writers: Arc<Mutex<Writers>>,
        end: End,
        limits: Limits,
        bell: Arc<Bell>,
        deletion: Arc<Deletion>,
    ) -> Self {
        Self {
            files,
            segments,
            writers,
            limits,
            bell,
            deletion,
            numbers: end.numbers,
            active: end.active.map(Active::new),
            next: end.next,
            cut: None,
            doubt: None,
        }
    }

    /// The number that the next entry gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether the store may use what is left of the disk.
    pub(super) fn has_room(&self) -> bool {
        // A disk that does not tell is tried.
        let free_bytes = self.files.free_bytes().unwrap_or(u64::MAX);
        free_bytes >= self.limits.free_min_bytes
    }

    /// Writes the lines of so many entries, which nobody sees before they are published, and returns when they are as
    /// durable as asked, and all that was written before. `lines` gives them, in parts, as often as it is asked.
    pub(super) fn commit(&mut self, entries: u64, synced: bool, mut lines: impl Lines) -> Result<(), Failure> {
        let mut size_bytes = 0;
        if entries > 0 {
            self.prepare(entries)?;
            size_bytes = match self.write(&mut lines, entries) {
                // What was written is cut off again: once there is room it is written as if nothing happened.
                Err(failure) if failure.is_full() && self.deletion.make_room(true) => {
                    self.write(&mut lines, entries)?
                }
                result => result?,
            };
        }
        if synced || self.unsynced_bytes(size_bytes) >= UNSYNCED_BYTES_MAX {
            self.sync().map_err(|error| self.give_up("sync", error, entries))?;
        }
        Ok(())
    }

    /// Shows to readers what was committed: pieces with the sizes that they have now. Returns the number of the last entry.
    pub(super) fn publish<'a>(&mut self, pieces: impl Iterator<Item = (&'a Piece, usize)>) -> u64 {
        let active = self.active.as_mut().expect("something was written");
        let mut index = active.plain.index();
        for (piece, size_bytes) in pieces {
            index.push_piece(piece, size_bytes);
        }
        active.end = index.size_bytes();
        self.next = index.next();
        index.last()
    }

    /// When there is something to do that nobody asks for.
    pub(super) fn due(&self) -> Option<Instant> {
        let active = self.active.as_ref()?;
        let sync = active.unsynced.as_ref().map(|unsynced| unsynced.since + UNSYNCED_MAX);
        let end = Instant::now().checked_add(self.limits.age.saturating_sub(active.age()));
        sync.into_iter().chain(end).min()
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) -> Result<(), Failure> {
        if self.active.as_ref().is_some_and(|active| active.is_due(self.limits)) {
            return self.close();
        }
        let is_due = |unsynced: &Unsynced| unsynced.since.elapsed() >= UNSYNCED_MAX;
        match self.active.as_ref().and_then(|active| active.unsynced.as_ref()) {
            Some(unsynced) if is_due(unsynced) => self.sync().map_err(|error| self.give_up("sync", error, 0)),
            _ => Ok(()),
        }
    }

    /// Syncs everything, and keeps that nothing is missing.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        self.sync().map_err(|error| self.give_up("sync", error, 0))?;
        self.keep_cut()?;
        self.numbers
            .finish(self.next - 1)
            .map_err(|error| Failure::of("keep the last number", error))
    }

    /// Has a segment to write to, and numbers for so many entries.
    fn prepare(&mut self, entries: u64) -> Result<(), Failure> {
        let has_room = self.has_room() || self.deletion.make_room(false) && self.has_room();
        if !has_room {
            return Err(Failure::reserved());
        }
        if self.active.as_ref().is_some_and(|active| active.is_due(self.limits)) {
            self.close()?;
        }
        if self.active.is_none() {
            self.settle().map_err(|error| Failure::unsure("sync again", error))?;
            self.keep_cut()?;
            self.begin().map_err(|error| Failure::of("begin a segment", error))?;
        }
        let allowed = self.numbers.allow(self.next, self.next + entries - 1);
        allowed.map_err(|error| Failure::of("reserve numbers", error))
    }

    /// Ends the segment: it can be sealed.
    fn close(&mut self) -> Result<(), Failure> {
        self.sync().map_err(|error| self.give_up("sync", error, 0))?;
        if let Some(active) = self.active.take() {
            active.plain.close(self.writers().encode());
            self.bell.ring();
        }
        Ok(())
    }

    fn keep_cut(&mut self) -> Result<(), Failure> {
        if let Some(cut) = self.cut {
            let kept = self.numbers.give_up(cut, self.next);
            kept.map_err(|error| Failure::of("keep where a segment ends", error))?;
            self.cut = None;
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        let name = file_name(self.next);
        let contents = self.files.create(&name)?;
        if let Err(error) = self.files.sync_names() {
            // When this fails, too, it is done when the directory is opened: it is empty.
            let _ = self.files.remove(&name);
            return Err(error);
        }
        let plain = Arc::new(Plain::new(self.next, contents, Index::starting_at(self.next)));
        let segment = Arc::new(Segment::Plain(plain.clone()));
        self.segments.change(|segments| segments.push(segment));
        self.active = Some(Active::new(plain));
        Ok(())
    }

    /// Returns how many bytes it wrote.
    fn write(&mut self, lines: &mut impl Lines, entries: u64) -> Result<u64, Failure> {
        let active = self.active.as_mut().expect("it is prepared");
        let mut end = active.end;
        let written = lines(&mut |part| {
            active.plain.contents().write(part, end)?;
            end += part.len() as u64;
            Ok(())
        });
        if let Err(error) = written {
            return Err(self.undo(error, entries));
        }
        active.unsynced.get_or_insert_with(|| Unsynced {
            since: Instant::now(),
            offset: active.end,
        });
        Ok(end - active.end)
    }

    /// Cuts off what a failed write left, so that no power cut brings it back under numbers that others have then.
    fn undo(&mut self, cause: io::Error, entries: u64) -> Failure {
        let active = self.active.as_mut().expect("it is prepared");
        let contents = active.plain.contents();
        let undone = contents.truncate(active.end).and_then(|()| contents.sync());
        if undone.is_ok() {
            active.unsynced = None;
        }
        match undone {
            Ok(()) if is_full(&cause) => Failure::of("write", cause),
            _ => self.give_up("write", cause, entries),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.settle()?;
        if let Some(active) = self.active.as_mut().filter(|active| active.unsynced.is_some()) {
            active.plain.contents().sync()?;
            active.unsynced = None;
        }
        Ok(())
    }

    /// Writes what could not be synced once more, so that the kernel has to write it, too.
    fn settle(&mut self) -> io::Result<()> {
        let Some(doubt) = &self.doubt else {
            return Ok(());
        };
        let contents = doubt.plain.contents();
        let mut bytes = vec![0; SETTLE_BYTES];
        let mut offset = doubt.offset;
        while offset < doubt.end {
            let length = usize::try_from(doubt.end - offset).map_or(SETTLE_BYTES, |rest| rest.min(SETTLE_BYTES));
            contents.read_exact(&mut bytes[..length], offset)?;
            contents.write(&bytes[..length], offset)?;
            offset += length as u64;
        }
        contents.sync()?;
        self.doubt = None;
        Ok(())
    }

    /// Ends the segment behind what was published: after a failed fsync the kernel may forget what it could not write, so
    /// that trying again would prove nothing. The numbers of so many entries behind that are not given away again.
    fn give_up(&mut self, doing: &'static str, cause: io::Error, entries: u64) -> Failure {
        if let Some(active) = self.active.take() {
            // What is kept of the cut counts, should this fail.
            let _ = active.plain.contents().truncate(active.end);
            self.cut = Some(Cut {
                segment: active.plain.first(),
                size_bytes: active.end,
            });
            self.doubt = active.doubt();
            self.leave(&active.plain);
        }
        self.next += entries;
        Failure::unsure(doing, cause)
    }

    /// Leaves a segment as it is.
    fn leave(&self, plain: &Plain) {
        plain.close(self.writers().encode());
        self.bell.ring();
        if plain.index().size_bytes() == 0 {
            let first = plain.first();
            self.segments
                .change(|segments| segments.retain(|segment| segment.first() != first));
            // When this fails it is done when the directory is opened.
            let _ = self.files.remove(&file_name(first));
        }
    }

    fn unsynced_bytes(&self, written: u64) -> u64 {
        let active = self.active.as_ref();
        let unsynced = active.and_then(|active| Some(active.end - active.unsynced.as_ref()?.offset));
        unsynced.map_or(0, |unsynced| unsynced + written)
    }

    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    fn new(plain: Arc<Plain>) -> Self {
        let end = plain.index().size_bytes();
        let since = plain.contents().created().unwrap_or_else(|_| SystemTime::now());
        Self {
            plain,
            end,
            since,
            unsynced: None,
        }
    }

    /// What is published of it and not synced.
    fn doubt(&self) -> Option<Doubt> {
        let unsynced = self.unsynced.as_ref().filter(|unsynced| unsynced.offset < self.end)?;
        Some(Doubt {
            plain: self.plain.clone(),
            offset: unsynced.offset,
            end: self.end,
        })
    }

    /// A clock that went back makes no segment old.
    fn age(&self) -> Duration {
        self.since.elapsed().unwrap_or_default()
    }

    fn is_due(&self, limits: Limits) -> bool {
        self.end >= limits.size_bytes || self.end > 0 && self.age() >= limits.age
    }
}

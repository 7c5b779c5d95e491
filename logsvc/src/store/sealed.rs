//! A segment that will not change any more: its lines in frames of zstd, with an index beside it.
//!
//! Its parts: `seal` makes one of a plain segment, `rebuild` makes its index again, `find` is what an end of the process
//! in the middle of that leaves; `read` reads one by itself; `recent` keeps what was used last, `filters` what tells where
//! a trace is not. Files are open only while they are used or as long as the index is held in memory: there may be many
//! hundred segments.

mod filters;
mod find;
mod read;
mod rebuild;
mod recent;
mod seal;

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tracing::error;

pub use self::read::read_sealed;
use self::{filters::Filters, rebuild::rebuild, recent::Recent};
pub(super) use self::{find::find, seal::Sealing};
use super::{
    Wanted, damaged,
    disk::Files,
    index::Position,
    plain,
    segments::Reader,
    sidecar::{self, Frame, Pages, Sidecar, Totals},
};

/// The text that was read last: some tens of frames, so that pages of a query and the entries of a trace are not
/// decompressed each time.
const FRAMES_BYTES_MAX: usize = 12 * 1024 * 1024;
/// The indexes that were used last: hundreds, at some tens of KiB.
const SIDECARS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What an index takes besides what it tells: it has two files open, and knows what text was looked for last.
const SIDECAR_BYTES_MIN: usize = 16 * 1024;
/// What tells where a trace is not: of some 13 million traces, or 700 segments. For a trace that may be in an older one the
/// indexes of those are read.
const FILTERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The name of the file of the segment whose first entry has the number `first`.
pub(super) fn file_name(first: u64) -> String {
    format!("log-{first:020}.jsonl.zst")
}

/// The number in the name of such a file; `None` when it is not one of these.
fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".jsonl.zst")?;
    digits.parse().ok().filter(|first| file_name(*first) == name)
}

/// What all sealed segments of a store keep in memory.
#[derive(Debug)]
pub(super) struct Caches {
    /// Text by segment and offset of the frame.
    frames: Recent<(u64, u64), Vec<u8>>,
    sidecars: Recent<u64, Sidecar>,
    filters: Filters,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            frames: Recent::new(FRAMES_BYTES_MAX),
            sidecars: Recent::new(SIDECARS_BYTES_MAX),
            filters: Filters::new(FILTERS_BYTES_MAX),
        }
    }
}

/// A sealed segment.
#[derive(Debug)]
pub(super) struct Sealed {
    files: Arc<dyn Files>,
    caches: Arc<Caches>,
    first: u64,
    /// No entry has a number above it.
    bound: u64,
    /// What its file and its index take, without an index that was made again since.
    size_bytes: u64,
    /// Not known while there is no sound index.
    totals: OnceLock<Totals>,
    /// Guards the making of the index. Held while a disk is waited for, by one thread; others wait for what it makes.
    loading: Mutex<()>,
    /// Guards where the frames start that were found to be damaged: each is logged once.
    damaged: Mutex<BTreeSet<u64>>,
}

impl Sealed {
    /// Opens a segment whose numbers are at most `bound`. Its index is looked at, but made again only when it is needed.
    ///
    /// # Errors
    /// What the disk says of the segment itself.
    pub(super) fn open(files: Arc<dyn Files>, caches: Arc<Caches>, first: u64, bound: u64) -> io::Result<Self> {
        let file_bytes = files.open(&file_name(first))?.size_bytes()?;
        let index = files.open(&sidecar::file_name(first));
        let index_bytes = index.as_ref().map_or(0, |index| index.size_bytes().unwrap_or(0));
        let outline = index.and_then(|index| Sidecar::outline_of(index, first, file_bytes));
        let (totals, filter) = outline.ok().unzip();
        if let Some(filter) = filter {
            caches.filters.put(first, filter);
        }
        Ok(Self {
            files,
            caches,
            first,
            bound,
            size_bytes: file_bytes + index_bytes,
            totals: totals.map_or_else(OnceLock::new, OnceLock::from),
            loading: Mutex::new(()),
            damaged: Mutex::default(),
        })
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the last entry, or one above it as long as it is not known.
    pub(super) fn last(&self) -> u64 {
        self.totals.get().map_or(self.bound, |totals| totals.last)
    }

    /// The number that may come next, or one above that as long as it is not known.
    pub(super) fn next(&self) -> u64 {
        self.totals.get().map_or(self.bound + 1, |totals| totals.next)
    }

    /// What is known of it as a whole; `None` as long as its index was not made again.
    pub(super) fn totals(&self) -> Option<&Totals> {
        self.totals.get()
    }

    /// What its files take.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How many entries it has; as many as there are numbers as long as that is not known.
    pub(super) fn entries(&self) -> u64 {
        self.totals
            .get()
            .map_or(self.bound + 1 - self.first, |totals| totals.entries)
    }

    /// How many parts of it are damaged, as far as that is known.
    pub(super) fn damaged(&self) -> u64 {
        let found = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        found + self.totals().map_or(0, |totals| totals.damaged)
    }

    /// The first lines with an entry at `sequence` or after it that may hold what is wanted; none once it is deleted.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn from(self: &Arc<Self>, sequence: u64, wanted: &Wanted) -> io::Result<Option<Lines>> {
        self.look(wanted, |sidecar| sidecar.from(sequence, wanted))
    }

    /// The last lines with an entry at `sequence` or before it that may hold what is wanted; none once it is deleted.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn up_to(self: &Arc<Self>, sequence: u64, wanted: &Wanted) -> io::Result<Option<Lines>> {
        self.look(wanted, |sidecar| sidecar.up_to(sequence, wanted))
    }

    /// Whether it may have what is wanted, as far as that is told without a look at the disk.
    fn may_have(&self, wanted: &Wanted) -> bool {
        let has_trace = |id| {
            self.caches
                .filters
                .get(self.first)
                .is_none_or(|filter| filter.may_have(id))
        };
        self.totals().is_none_or(|totals| totals.may_have(wanted)) && wanted.trace_id.as_ref().is_none_or(has_trace)
    }

    /// Looks into its index, which is made again when it is damaged there.
    fn look(
        self: &Arc<Self>,
        wanted: &Wanted,
        find: impl Fn(&Sidecar) -> io::Result<Option<&Frame>>,
    ) -> io::Result<Option<Lines>> {
        if !self.may_have(wanted) {
            return Ok(None);
        }
        let mut sidecar = match self.sidecar() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            sidecar => sidecar?,
        };
        if let Err(error) = find(&sidecar) {
            sidecar = self.renew(&sidecar, &error)?;
        }
        let frame = find(&sidecar)?.cloned();
        Ok(frame.map(|frame| Lines {
            sealed: self.clone(),
            sidecar,
            frame,
        }))
    }

    /// Its index, which is read, or made again, when it is not in memory.
    ///
    /// # Errors
    /// What the disk says of the segment; `NotFound` once it is deleted.
    pub(super) fn sidecar(&self) -> io::Result<Arc<Sidecar>> {
        if let Some(sidecar) = self.caches.sidecars.get(self.first) {
            return Ok(sidecar);
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sidecar) = self.caches.sidecars.get(self.first) {
            return Ok(sidecar);
        }
        let segment = self.files.open(&file_name(self.first))?;
        let index = self.files.open(&sidecar::file_name(self.first));
        let loaded = index.and_then(|index| Sidecar::load(Pages::File(index), segment.clone(), self.first));
        let sidecar = match loaded {
            Ok(sidecar) => sidecar,
            Err(error) => rebuild(&*self.files, segment, self.first, &error)?,
        };
        Ok(self.keep(sidecar))
    }

    /// The writers known at its end, as they were encoded.
    ///
    /// # Errors
    /// As for [`Sealed::sidecar`].
    pub(super) fn writers(&self) -> io::Result<Vec<u8>> {
        let sidecar = self.sidecar()?;
        sidecar
            .writers()
            .or_else(|error| self.renew(&sidecar, &error)?.writers())
    }

    /// Makes the index again that was found to be damaged, unless another thread just did.
    fn renew(&self, before: &Arc<Sidecar>, cause: &io::Error) -> io::Result<Arc<Sidecar>> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = self.caches.sidecars.get(self.first);
        if let Some(newer) = newer.filter(|newer| !Arc::ptr_eq(newer, before)) {
            return Ok(newer);
        }
        let segment = self.files.open(&file_name(self.first))?;
        Ok(self.keep(rebuild(&*self.files, segment, self.first, cause)?))
    }

    fn keep(&self, sidecar: Sidecar) -> Arc<Sidecar> {
        let sidecar = Arc::new(sidecar);
        let is_news = self.totals.set(sidecar.totals().clone()).is_ok();
        if is_news && let Ok(filter) = sidecar.filter() {
            self.caches.filters.put(self.first, filter);
        }
        let size_bytes = sidecar.size_bytes() + SIDECAR_BYTES_MIN;
        self.caches.sidecars.put(self.first, sidecar.clone(), size_bytes);
        sidecar
    }

    /// Notes that a frame is damaged.
    fn lose(&self, frame: &Frame, cause: &io::Error) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.insert(frame.offset) {
            let path = self.files.path(&file_name(self.first));
            error!(file.path = %path.display(), file.offset = frame.offset, lost.entries = frame.entries, error = %cause,
                "entries are lost: a frame of a segment is damaged");
        }
    }

    /// Deletes its files, the index last: without a segment it means nothing. So is a plain file that could not be deleted
    /// when it was sealed.
    ///
    /// # Errors
    /// What the disk says. Needs no room.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.caches.sidecars.remove(self.first);
        self.caches.filters.remove(self.first);
        let names = [
            plain::file_name(self.first),
            file_name(self.first),
            sidecar::file_name(self.first),
        ];
        let removed = names.map(|name| self.files.remove(&name));
        let is_failure = |result: &io::Result<()>| {
            result
                .as_ref()
                .is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        };
        removed.into_iter().find(is_failure).unwrap_or(Ok(()))
    }
}

/// The lines of a frame. They are read as they were found, also when the segment was deleted since.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    sealed: Arc<Sealed>,
    sidecar: Arc<Sidecar>,
    frame: Frame,
}

impl Lines {
    /// Where the walk over the lines is at their start.
    pub(super) fn before(&self) -> Position {
        self.frame.before
    }

    /// The number of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.frame.last
    }

    /// Whether each line is an entry, of the number after that of the line before.
    pub(super) fn is_whole(&self) -> bool {
        self.frame.is_whole
    }

    /// Reads them: nothing when they are damaged, which is logged once.
    pub(super) fn read(&self, reader: &mut Reader) -> Arc<Vec<u8>> {
        let (frames, key) = (&self.sealed.caches.frames, (self.sealed.first, self.frame.offset));
        if let Some(text) = frames.get(key) {
            return text;
        }
        match self.unpack(reader) {
            Ok(text) => {
                let text = Arc::new(text);
                if let Some(dropped) = frames.put(key, text.clone(), text.capacity()) {
                    reader.take_back(dropped);
                }
                text
            }
            Err(error) => {
                self.sealed.lose(&self.frame, &error);
                Arc::default()
            }
        }
    }

    fn unpack(&self, reader: &mut Reader) -> io::Result<Vec<u8>> {
        let Frame {
            offset,
            size_bytes,
            text_bytes,
            checksum,
            ..
        } = self.frame;
        let fill = |packed: &mut [u8]| {
            self.sidecar.segment().read_exact(packed, offset)?;
            match crc32fast::hash(packed) == checksum {
                true => Ok(()),
                false => Err(damaged("the checksum of a frame is wrong")),
            }
        };
        reader.unpack(size_bytes, text_bytes, fill)
    }
}

#[cfg(test)]
pub(crate) mod tests;

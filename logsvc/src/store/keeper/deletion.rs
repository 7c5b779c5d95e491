//! Deletes what has to go, and counts what is there. Needs no room itself: at zero bytes free it works as ever.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tracing::{error, info};

use crate::{
    config::StoreSettings,
    store::{
        disk::Files,
        plain,
        retention::{Disk, Kept, doomed},
        segments::{Segment, Segments},
    },
};

/// What the segments take, and what became of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// How many segments there are, the one that is written to included.
    pub segments: usize,
    /// What their files take.
    pub size_bytes: u64,
    /// How much room the disk has; 0 when it does not tell.
    pub free_bytes: u64,
    /// How many segments were deleted since the start.
    pub deleted_segments: u64,
    /// How many entries were deleted since the start.
    pub deleted_entries: u64,
    /// How many parts of segments are damaged, as far as that is known.
    pub damaged_parts: u64,
}

/// Deletes segments.
#[derive(Debug)]
pub(in crate::store) struct Deletion {
    files: Arc<dyn Files>,
    segments: Arc<Segments>,
    settings: StoreSettings,
    /// Held while segments are deleted: what two threads count together would be too much.
    deleting: Mutex<()>,
    deleted_segments: AtomicU64,
    deleted_entries: AtomicU64,
}

impl Deletion {
    pub(in crate::store) fn new(files: Arc<dyn Files>, segments: Arc<Segments>, settings: StoreSettings) -> Self {
        Self {
            files,
            segments,
            settings,
            deleting: Mutex::new(()),
            deleted_segments: AtomicU64::new(0),
            deleted_entries: AtomicU64::new(0),
        }
    }

    /// For how much there is room: what may be kept, or what the disk has free where that is less. A disk that does not
    /// tell has none.
    pub(super) fn room_bytes(&self) -> u64 {
        let free_bytes = self.files.free_bytes().unwrap_or(0);
        match self.settings.retention_size_bytes {
            0 => free_bytes,
            limit => limit.min(free_bytes),
        }
    }

    /// Deletes the segments that have to go; the oldest one at least when the disk `is_full`, unless no room is to be
    /// kept free. Returns whether there is more room than before. Blocks.
    pub(in crate::store) fn make_room(&self, is_full: bool) -> bool {
        let _deleting = self.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        let list = self.segments.list();
        // The last one is written to, or is where the log goes on.
        let Some((active, others)) = list.split_last() else {
            return false;
        };
        let kept: Vec<_> = others.iter().map(|segment| kept(segment)).collect();
        let disk = Disk {
            active_bytes: kept_bytes(active),
            free_bytes: self.files.free_bytes().unwrap_or(u64::MAX),
            is_full,
        };
        let count = doomed(&self.settings, &kept, disk, SystemTime::now());
        others[..count].iter().filter(|segment| self.delete(segment)).count() > 0
    }

    /// What there is now. Blocks.
    pub(in crate::store) fn usage(&self) -> Usage {
        let list = self.segments.list();
        let damaged = |segment: &Arc<Segment>| match &**segment {
            Segment::Plain(_) => 0,
            Segment::Sealed(sealed) => sealed.damaged(),
        };
        Usage {
            segments: list.len(),
            size_bytes: list.iter().map(|segment| kept_bytes(segment)).sum(),
            free_bytes: self.files.free_bytes().unwrap_or(0),
            deleted_segments: self.deleted_segments.load(Ordering::Relaxed),
            deleted_entries: self.deleted_entries.load(Ordering::Relaxed),
            damaged_parts: list.iter().map(damaged).sum(),
        }
    }

    /// Deletes the oldest segment: nobody finds it any more, then it is gone. Who found it before reads on.
    fn delete(&self, segment: &Arc<Segment>) -> bool {
        let first = segment.first();
        self.segments
            .change(|segments| segments.retain(|other| other.first() != first));
        let (removed, entries) = match &**segment {
            Segment::Plain(plain) => (
                self.files.remove(&plain::file_name(first)),
                (plain.last() + 1).saturating_sub(first),
            ),
            Segment::Sealed(sealed) => (sealed.remove(), sealed.entries()),
        };
        if let Err(error) = removed {
            let path = self.files.path(&plain::file_name(first));
            error!(file.path = %path.display(), %error, "cannot delete a segment of the log: it is there again after a restart");
            return false;
        }
        self.deleted_segments.fetch_add(1, Ordering::Relaxed);
        self.deleted_entries.fetch_add(entries, Ordering::Relaxed);
        info!(
            segment.first = first,
            segment.entries = entries,
            "deleted the oldest segment of the log"
        );
        true
    }
}

fn kept(segment: &Segment) -> Kept {
    let latest = match segment {
        Segment::Plain(_) => None,
        Segment::Sealed(sealed) => sealed.totals().map(|totals| totals.latest()),
    };
    Kept {
        size_bytes: kept_bytes(segment),
        latest,
    }
}

fn kept_bytes(segment: &Segment) -> u64 {
    match segment {
        Segment::Plain(plain) => plain.index().size_bytes(),
        Segment::Sealed(sealed) => sealed.size_bytes(),
    }
}

//! What is written where.
//!
//! Usually to the current segment. While the next one is made ready, changes go to both: until the next one is whole and
//! has its name, the current one alone is what a restart would find.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use homeroom::model::Revision;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{
    DiskState, Fault,
    files::Writer,
    record::{self, FRAME_BYTES, Salt},
};

/// What is carried to a segment that is being begun; with more, the disk is too slow, and it is given up.
const CARRY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// When segments are begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How large the changes of a segment get, at least, before another one is begun.
    pub(super) changes_bytes: u64,
    /// How soon a segment is tried again after a failure.
    pub(super) retry: Duration,
    /// How soon when somebody asks to register.
    pub(super) retry_asked: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            changes_bytes: 16 * 1024 * 1024,
            retry: Duration::from_secs(2),
            retry_asked: Duration::from_millis(100),
        }
    }
}

/// A segment that is written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) writer: Arc<dyn Writer>,
    pub(super) salt: Salt,
    /// How much of it is what it started with.
    pub(super) head_bytes: u64,
    /// Where the next record belongs.
    pub(super) end: u64,
    /// Up to where it is known to be synced.
    pub(super) synced: u64,
    /// The revision of its last change.
    pub(super) revision: Revision,
    /// Whether it may have its last name already: from then on a restart may find it.
    pub(super) installing: bool,
}

/// A segment that could not be cut back to its last whole record.
pub(super) struct Torn;

impl Segment {
    /// Writes records at the end. After an error the segment is as it was, unless it is torn.
    pub(super) fn append(
        &mut self,
        payloads: &[Vec<u8>],
        last: Option<Revision>,
    ) -> Result<(), (io::Error, Option<Torn>)> {
        let mut bytes = Vec::with_capacity(payloads.iter().map(|payload| payload.len() + FRAME_BYTES).sum());
        for payload in payloads {
            let offset = self.end + bytes.len() as u64;
            record::put(&mut bytes, self.salt, offset, self.synced, payload);
        }
        if let Err(error) = self.writer.write(&bytes, self.end) {
            let torn = self.writer.truncate(self.end).err().map(|_| Torn);
            return Err((error, torn));
        }
        self.end += bytes.len() as u64;
        self.revision = last.unwrap_or(self.revision);
        Ok(())
    }
}

/// An older segment, kept for the history.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) number: u64,
    /// The revision of its last change.
    pub(super) revision: Revision,
}

/// What is written where.
#[derive(Debug)]
pub(super) struct Writing {
    /// What a restart would find; `None` while the journal is behind.
    pub(super) current: Option<Segment>,
    /// The segment that is to take its place.
    pub(super) next: Option<Segment>,
    /// What has been written since the next segment was begun and is not in it yet.
    pub(super) carry: Option<Vec<(Vec<u8>, Option<Revision>)>>,
    carry_bytes: usize,
    /// The older segments, oldest first.
    pub(super) older: Vec<Older>,
    /// The segments that were given up before they had their last name, to be deleted.
    pub(super) abandoned: Vec<u64>,
    /// The highest number that was given to a segment.
    pub(super) last_number: u64,
    /// Who waits for the next sync.
    pub(super) waiters: Vec<oneshot::Sender<Result<(), Fault>>>,
    /// How many waiters the committer is to be woken for: while it is at work it finds by itself who waits.
    pub(super) committer_waits_for: Option<usize>,
    /// Whether a sync is under way that somebody waits for.
    pub(super) syncing: bool,
    /// Whether something that somebody waited for could not be synced, and is in no fresh segment yet.
    pub(super) is_unkept: bool,
    pub(super) state: DiskState,
    /// Whether what was told may have been lost.
    pub(super) epoch_due: bool,
    /// When a fresh segment is tried again, and when it was tried last.
    pub(super) retry_at: Instant,
    pub(super) tried_at: Instant,
    pub(super) closing: bool,
    pub(super) pace: Pace,
}

impl Writing {
    pub(super) fn new(current: Segment, older: Vec<Older>) -> Self {
        Self {
            last_number: current.number,
            current: Some(current),
            next: None,
            carry: None,
            carry_bytes: 0,
            older,
            abandoned: Vec::new(),
            waiters: Vec::new(),
            committer_waits_for: None,
            syncing: false,
            is_unkept: false,
            state: DiskState::Synced,
            epoch_due: false,
            retry_at: Instant::now(),
            tried_at: Instant::now(),
            closing: false,
            pace: Pace::default(),
        }
    }

    /// Writes records. When they are not durable and cannot be written, the journal is behind from here on.
    pub(super) fn write(&mut self, payloads: &[Vec<u8>], last: Option<Revision>, durable: bool) -> Result<(), Fault> {
        let written = self.try_write(payloads, last, durable);
        match written {
            Err(_) if durable => self.retry_at = self.retry_at.min(self.tried_at + self.pace.retry_asked),
            Err(_) => self.fall_behind(),
            Ok(()) => {}
        }
        written
    }

    fn try_write(&mut self, payloads: &[Vec<u8>], last: Option<Revision>, durable: bool) -> Result<(), Fault> {
        let before = self.current.as_ref().map(|current| (current.end, current.revision));
        if let Some(current) = &mut self.current {
            if let Err((error, torn)) = current.append(payloads, last) {
                let fault = self.note(&error);
                if torn.is_some() {
                    self.fall_behind();
                }
                return Err(fault);
            }
            self.note_success();
        } else if self.next.is_none() && (durable || self.carry.is_none()) {
            return Err(self.fault());
        }
        if let Some(next) = &mut self.next {
            if let Err((error, _)) = next.append(payloads, last) {
                return self.lose_next(&error, before);
            }
        } else if let Some(carry) = &mut self.carry {
            self.carry_bytes += payloads.iter().map(Vec::len).sum::<usize>();
            carry.extend(payloads.iter().map(|payload| (payload.clone(), last)));
            if self.carry_bytes > CARRY_BYTES_MAX {
                self.drop_carry();
            }
        }
        Ok(())
    }

    /// The next segment cannot be written: it is given up, which is no harm while a restart would find the current one.
    fn lose_next(&mut self, error: &io::Error, before: Option<(u64, Revision)>) -> Result<(), Fault> {
        let harmless = self.current.is_some() && self.next.as_ref().is_some_and(|next| !next.installing);
        if harmless {
            warn!(%error, "cannot begin another segment of the journal");
            self.abandon_next();
            return Ok(());
        }
        let fault = self.note(error);
        if let (Some(current), Some((end, revision))) = (&mut self.current, before) {
            // What is refused is not to be found. Where it cannot be cut off, the epoch tells that it does not count.
            let _ = current.writer.truncate(end);
            current.revision = revision;
        }
        self.fall_behind();
        Err(fault)
    }

    /// Begins to carry what is written, for a new segment whose number it returns.
    pub(super) fn begin_carry(&mut self) -> u64 {
        self.last_number += 1;
        self.carry = Some(Vec::new());
        self.carry_bytes = 0;
        self.tried_at = Instant::now();
        self.last_number
    }

    pub(super) fn take_carry(&mut self) -> Option<Vec<(Vec<u8>, Option<Revision>)>> {
        self.carry_bytes = 0;
        self.carry.as_mut().map(std::mem::take)
    }

    pub(super) fn drop_carry(&mut self) {
        self.carry = None;
        self.carry_bytes = 0;
    }

    /// Gives up the next segment: the current one has everything.
    pub(super) fn abandon_next(&mut self) {
        self.abandoned.extend(self.next.take().map(|next| next.number));
        self.retry_at = Instant::now() + self.pace.retry;
    }

    /// What was told is not, or may not be, where a restart would find it: only a fresh segment will have it.
    pub(super) fn fall_behind(&mut self) {
        // With none of them, a fresh segment has not been made since the last time: no restart finds this epoch.
        self.epoch_due |= self.current.is_some() || self.next.is_some();
        let installing = self.next.take().filter(|next| {
            self.abandoned.push(next.number);
            next.installing
        });
        for lost in self.current.take().into_iter().chain(installing) {
            self.older.push(Older {
                number: lost.number,
                revision: lost.revision,
            });
        }
        self.drop_carry();
    }

    /// Whether somebody was not told yet that what was written is synced.
    pub(super) fn is_unsynced(&self) -> bool {
        self.syncing || !self.waiters.is_empty()
    }

    /// Whether another segment is to be begun, now or when it is time to try again.
    pub(super) fn is_segment_due(&self) -> bool {
        if self.next.is_some() || self.carry.is_some() {
            return false;
        }
        self.current.as_ref().is_none_or(|current| {
            current.end - current.head_bytes > self.pace.changes_bytes.max(current.head_bytes.saturating_mul(2))
        })
    }

    /// Why nothing can be kept.
    pub(super) fn fault(&self) -> Fault {
        match self.state {
            DiskState::Full(_) => Fault::Full,
            _ => Fault::Failed,
        }
    }

    /// Notes what the disk refused, and says so when it is news.
    pub(super) fn note(&mut self, error: &io::Error) -> Fault {
        let fault = Fault::of(error);
        match (fault, &self.state) {
            (Fault::Full, DiskState::Full(_)) | (Fault::Failed, DiskState::Failed(_)) => {}
            (Fault::Full, _) => {
                warn!(%error, "the disk is full: registrations are refused");
                self.state = DiskState::Full(error.to_string());
            }
            (Fault::Failed, _) => {
                error!(%error, "the disk fails: registrations are refused");
                self.state = DiskState::Failed(error.to_string());
            }
        }
        fault
    }

    /// Notes that the disk does what it should.
    pub(super) fn note_success(&mut self) {
        if self.state != DiskState::Synced {
            info!("the disk works again: registrations are accepted");
            self.state = DiskState::Synced;
        }
    }
}

impl Fault {
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge | WriteZero => Self::Full,
            _ => Self::Failed,
        }
    }
}

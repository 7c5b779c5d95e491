//! Begins a segment, beside the current one or when that was lost.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use homeroom::model::{Instance, Revision};

use super::{
    Journal,
    record::{self, Head, Kind},
    recover,
    writing::Segment,
};
use crate::catalog::Catalog;

/// Written at once.
const CHUNK_BYTES: usize = 1024 * 1024;
/// What may be left to write when nobody else may write: some milliseconds' worth of copying at most.
const LAST_CARRY_MAX: usize = 256;
/// How often the rest is written while more comes.
const CARRY_ROUNDS: usize = 20;

/// What the keeper of a journal has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Begin a segment.
    Segment,
    /// Nothing but to forget what is not needed any more.
    Forget,
    /// End.
    Close,
}

/// All that a segment starts with, as it stood at one revision.
#[derive(Debug)]
pub struct Start {
    number: u64,
    head: Head,
    instances: Vec<Arc<Instance>>,
}

impl Journal {
    /// Waits until there is something to do, for so long at most.
    pub fn wait_for_work(&self, patience: Duration) -> Work {
        let until = Instant::now() + patience;
        let mut writing = self.lock();
        loop {
            let now = Instant::now();
            if writing.closing {
                return Work::Close;
            }
            let due = writing.is_segment_due();
            if due && now >= writing.retry_at {
                return Work::Segment;
            }
            if now >= until {
                return Work::Forget;
            }
            let wake_at = if due { writing.retry_at.min(until) } else { until };
            let waited = self.keeping.wait_timeout(writing, wake_at - now);
            writing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes in what a segment starts with. Nothing may be written between this look at the catalog and the next change,
    /// so that the caller holds the catalog's lock.
    pub fn start(&self, catalog: &Catalog) -> Start {
        let number = self.lock().begin_carry();
        Start {
            number,
            head: Head {
                epoch: catalog.epoch().0,
                revision: catalog.revision().0,
                last_incarnation: catalog.last_incarnation().0,
                instances: catalog.len() as u64,
                boot_id: self.boot_id.clone(),
            },
            instances: catalog.instances().cloned().collect(),
        }
    }

    /// Writes a segment, with all that was changed in the meantime, and hands it to the committer. When that fails, it is
    /// due again after a while.
    pub fn begin(&self, start: Start) {
        let number = start.number;
        if let Err(error) = self.try_begin(start) {
            let mut writing = self.lock();
            writing.drop_carry();
            writing.retry_at = Instant::now() + writing.pace.retry;
            if writing.current.is_none() {
                writing.note(&error);
            } else {
                tracing::warn!(%error, "cannot begin another segment of the journal");
            }
            drop(writing);
            // It is taken away when the journal is opened, too.
            let _ = self.files.remove(&recover::new_name(number));
        }
    }

    fn try_begin(&self, start: Start) -> io::Result<()> {
        let revision = Revision(start.head.revision);
        let mut segment = self.write_start(start.number, start.head, &start.instances)?;
        let lost = || io::Error::other("what was changed in the meantime was lost");
        for _ in 0..CARRY_ROUNDS {
            let carried = self.lock().take_carry().ok_or_else(lost)?;
            put_carried(&mut segment, &carried)?;
            if carried.len() <= LAST_CARRY_MAX {
                break;
            }
        }
        segment.writer.sync()?;
        let mut writing = self.lock();
        let carried = writing.take_carry().ok_or_else(lost)?;
        writing.drop_carry();
        put_carried(&mut segment, &carried)?;
        tracing::debug!(
            segment.number = segment.number,
            revision = revision.0,
            "begins a segment of the journal"
        );
        writing.next = Some(segment);
        self.committing.notify_one();
        Ok(())
    }

    fn write_start(&self, number: u64, head: Head, instances: &[Arc<Instance>]) -> io::Result<Segment> {
        let writer = self.files.create(&recover::new_name(number))?;
        let mut start = StartWriter::new(number, writer, head)?;
        for instance in instances {
            start.put(instance)?;
        }
        start.finish()
    }
}

fn put_carried(segment: &mut Segment, carried: &[(Vec<u8>, Option<Revision>)]) -> io::Result<()> {
    for (payload, revision) in carried {
        segment
            .append(std::slice::from_ref(payload), *revision)
            .map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// Writes what a segment starts with.
pub(super) struct StartWriter {
    segment: Segment,
    bytes: Vec<u8>,
}

impl StartWriter {
    pub(super) fn new(number: u64, writer: Arc<dyn super::Writer>, head: Head) -> io::Result<Self> {
        let salt = record::Salt(fastrand::u64(..));
        let segment = Segment {
            number,
            writer,
            salt,
            head_bytes: 0,
            end: 0,
            synced: 0,
            revision: Revision(head.revision),
            installing: false,
        };
        let mut start = Self {
            segment,
            bytes: super::segment::prefix(salt).to_vec(),
        };
        start.record(&Kind::Head(head).payload())?;
        Ok(start)
    }

    fn put(&mut self, instance: &Instance) -> io::Result<()> {
        self.record(&record::of_instance(instance))
    }

    fn record(&mut self, payload: &[u8]) -> io::Result<()> {
        let offset = self.segment.end + self.bytes.len() as u64;
        record::put(&mut self.bytes, self.segment.salt, offset, 0, payload);
        if self.bytes.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.segment.writer.write(&self.bytes, self.segment.end)?;
        self.segment.end += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Segment> {
        self.flush()?;
        self.segment.head_bytes = self.segment.end;
        Ok(self.segment)
    }
}

//! The thread that looks after segments that are written no more: it seals them, and deletes those that have to go.

mod deletion;
mod pace;

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tracing::{debug, error, warn};

pub(super) use self::deletion::Deletion;
pub use self::deletion::Usage;
use self::pace::{Pace, Speed};
use super::{
    disk::Files,
    frames::{Effort, FRAME_BYTES},
    plain::{self, Plain},
    sealed::{Caches, Sealed, Sealing},
    segments::{Segment, Segments},
    writers::Writers,
};

/// How often it looks whether something has to go: others fill the disk, too, and entries get old by themselves.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a segment is left alone that could not be sealed.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// How much nicer it is to others than these are to it: entries that wait are worse than segments that do.
const NICENESS: i32 = 5;
/// The part of the room for segments that those may take which wait to be sealed until a burst of entries is over: so much
/// less is kept then of what is sealed.
const BACKLOG_PART: u64 = 4;
/// How many of the segments that wait, the newest ones, stay in the kernel's cache. A burst writes gigabytes: that they are
/// read once more to be sealed costs less than ever more memory, above all in a virtual machine.
const CACHED_SEGMENTS: usize = 8;

/// What the thread is asked to do.
#[derive(Debug, Default)]
struct Asked {
    look: bool,
    stop: bool,
}

/// Asks the thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// Guards what is asked; held to ask and to look.
    asked: Mutex<Asked>,
    rung: Condvar,
    /// As in `asked`, for looks in the middle of work.
    stop: AtomicBool,
}

impl Bell {
    /// Tells that a segment can be sealed.
    pub(super) fn ring(&self) {
        self.ask(|asked| asked.look = true);
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ask(|asked| asked.stop = true);
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) {
        what(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_one();
    }

    /// Waits until somebody asks, or it is time to look. Returns whether to go on.
    fn wait(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .rung
            .wait_timeout_while(asked, LOOK_INTERVAL, |asked| !asked.look && !asked.stop);
        let (mut asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        asked.look = false;
        !asked.stop
    }
}

/// Owns the thread. Dropping it ends the thread, and waits for that.
#[derive(Debug)]
pub(super) struct Keeper {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(
        files: Arc<dyn Files>,
        segments: Arc<Segments>,
        caches: Arc<Caches>,
        deletion: Arc<Deletion>,
        bell: Arc<Bell>,
    ) -> io::Result<Self> {
        let keeping = Keeping::new(files, segments, caches, deletion, bell.clone());
        let thread = std::thread::Builder::new()
            .name("log-keeper".to_owned())
            .spawn(move || keeping.run())?;
        Ok(Self {
            bell,
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.bell.stop();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the keeper of the log panicked");
        }
    }
}

/// The thread.
struct Keeping {
    files: Arc<dyn Files>,
    segments: Arc<Segments>,
    caches: Arc<Caches>,
    deletion: Arc<Deletion>,
    bell: Arc<Bell>,
    /// The segments that could not be sealed, until it is time to try again.
    failed: BTreeSet<u64>,
    retry: Instant,
    pace: Pace,
}

impl Keeping {
    fn new(
        files: Arc<dyn Files>,
        segments: Arc<Segments>,
        caches: Arc<Caches>,
        deletion: Arc<Deletion>,
        bell: Arc<Bell>,
    ) -> Self {
        let pace = Pace::new(Instant::now(), segments.last());
        Self {
            files,
            segments,
            caches,
            deletion,
            bell,
            failed: BTreeSet::new(),
            retry: Instant::now(),
            pace,
        }
    }

    fn run(mut self) {
        // On Linux this is of the thread, not of the process. It is as well without.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        loop {
            self.deletion.make_room(false);
            self.learn();
            let is_sealed = match self.effort() {
                Some(effort) => self.seal_next(effort),
                None => {
                    self.long_waiting().for_each(|plain| plain.contents().leave_memory());
                    false
                }
            };
            if !is_sealed && !self.bell.wait() {
                return;
            }
        }
    }

    /// Makes the indexes again that are missing, before a reader has to.
    fn learn(&self) {
        for segment in self.segments.list().iter() {
            if let Segment::Sealed(sealed) = &**segment
                && sealed.totals().is_none()
                && !self.bell.stop.load(Ordering::Relaxed)
                && let Err(error) = sealed.sidecar()
            {
                debug!(%error, "cannot make the index of a segment again");
            }
        }
    }

    /// How sealing goes about it; `None` while entries come in a burst, which would take longer for it.
    fn effort(&mut self) -> Option<Effort> {
        match self.pace.look(Instant::now(), self.segments.last()) {
            Speed::Quiet => Some(Effort::Thorough),
            Speed::Busy => Some(Effort::Fast),
            Speed::Burst => {
                let has_room = self.backlog_bytes() < self.deletion.room_bytes() / BACKLOG_PART;
                (!has_room).then_some(Effort::Fast)
            }
        }
    }

    /// The segments that can be sealed, oldest first.
    fn backlog(&self) -> Vec<Arc<Plain>> {
        let list = self.segments.list();
        let unsealed = list.iter().filter_map(|segment| match &**segment {
            Segment::Plain(plain) if plain.is_closed() => Some(plain.clone()),
            _ => None,
        });
        unsealed.collect()
    }

    fn backlog_bytes(&self) -> u64 {
        self.backlog().iter().map(|plain| plain.index().size_bytes()).sum()
    }

    /// Those that wait behind the newest [`CACHED_SEGMENTS`]. All of them are synced: no segment is begun before what could
    /// not be synced of the one before is written again, from memory.
    fn long_waiting(&self) -> impl Iterator<Item = Arc<Plain>> {
        self.backlog().into_iter().rev().skip(CACHED_SEGMENTS)
    }

    /// Seals the oldest segment that can be. Returns whether it did.
    fn seal_next(&mut self, effort: Effort) -> bool {
        if self.retry.elapsed() >= RETRY_INTERVAL {
            self.failed.clear();
        }
        let mut backlog = self.backlog().into_iter();
        let Some(plain) = backlog.find(|plain| !self.failed.contains(&plain.first())) else {
            return false;
        };
        self.seal(&plain, effort).unwrap_or_else(|error| {
            let path = self.files.path(&plain::file_name(plain.first()));
            warn!(file.path = %path.display(), %error, "cannot seal a segment of the log");
            self.failed.insert(plain.first());
            self.retry = Instant::now();
            true
        })
    }

    /// Seals a segment, and deletes its plain file once readers find the sealed one. Returns whether it did.
    fn seal(&self, plain: &Arc<Plain>, effort: Effort) -> io::Result<bool> {
        let (first, size_bytes) = (plain.first(), plain.index().size_bytes());
        if size_bytes == 0 {
            self.segments
                .change(|segments| segments.retain(|segment| segment.first() != first));
            self.files.remove(&plain::file_name(first))?;
            return Ok(true);
        }
        let sealing = Sealing {
            files: &*self.files,
            plain: &**plain.contents(),
            first,
            size_bytes,
            writers: writers(plain),
            stop: &self.bell.stop,
            frame_bytes: FRAME_BYTES,
            effort,
        };
        if !sealing.run()? {
            return Ok(false);
        }
        let sealed = Sealed::open(self.files.clone(), self.caches.clone(), first, plain.last())?;
        let sealed = Arc::new(sealed);
        let mut is_kept = false;
        self.segments.change(|segments| {
            if let Some(segment) = segments.iter_mut().find(|segment| segment.first() == first) {
                *segment = Arc::new(Segment::Sealed(sealed.clone()));
                is_kept = true;
            }
        });
        if !is_kept {
            // It was deleted in the meantime.
            sealed.remove()?;
            return Ok(true);
        }
        self.files.remove(&plain::file_name(first))?;
        self.files.sync_names()?;
        Ok(true)
    }
}

/// The writers known at the end of a segment that is closed.
fn writers(plain: &Plain) -> Writers {
    let mut writers = Writers::default();
    let restored = plain.writers().and_then(|encoded| writers.restore(encoded));
    restored.expect("it is closed, and they were encoded here");
    writers
}

#[cfg(test)]
pub(in crate::store) mod tests;

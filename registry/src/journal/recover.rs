//! Opens a folder: finds its segments, makes state of them, and goes on where they end.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, OnceLock},
    time::{Instant, SystemTime},
};

use homeroom::model::Epoch;
use tracing::{info, warn};

use super::{
    Journal, OpenError,
    files::{Files, Writer},
    fresh::StartWriter,
    record::{Head, Kind, Opened},
    replay::Replay,
    segment::{self, Damage, End},
    writing::{Older, Segment, Writing},
};
use crate::{catalog::Catalog, history::History};

/// The file that tells how much is known to be synced.
const WATERMARK: &str = "synced";

/// The last name of a segment. Sorts as the numbers do.
pub(super) fn name(number: u64) -> String {
    format!("changes-{number:020}.journal")
}

/// The name of a segment that is not whole yet.
pub(super) fn new_name(number: u64) -> String {
    format!("changes-{number:020}.new")
}

fn number(file: &str) -> Option<u64> {
    let number = file.strip_prefix("changes-")?.strip_suffix(".journal")?.parse().ok()?;
    (name(number) == file).then_some(number)
}

/// Notes that a segment is synced up to `end`.
pub(super) fn put_watermark(file: &dyn Writer, number: u64, end: u64) -> io::Result<()> {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..16].copy_from_slice(&end.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    file.write(&bytes, 0)
}

/// The number of a segment and how much of it is synced; nothing where that is not known, as after a power cut.
fn get_watermark(bytes: &[u8]) -> Option<(u64, u64)> {
    let sum = u32::from_le_bytes(bytes.get(16..20)?.try_into().ok()?);
    let number = u64::from_le_bytes(bytes[..8].try_into().ok()?);
    let end = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    (crc32fast::hash(&bytes[..16]) == sum).then_some((number, end))
}

/// An epoch that no earlier one is, as long as the clock does not go back behind `earlier`.
pub(crate) fn new_epoch(now: SystemTime, earlier: Epoch) -> Epoch {
    let micros = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros();
    Epoch(
        u64::try_from(micros)
            .unwrap_or(u64::MAX)
            .max(earlier.0.saturating_add(1)),
    )
}

/// Opens the journal in a folder.
pub(super) fn open(
    files: Arc<dyn Files>,
    boot_id: &str,
    history: History,
) -> Result<(Journal, Catalog, History), OpenError> {
    let folder = |source| OpenError::Disk {
        path: files.path(""),
        source,
    };
    let names = files.list().map_err(folder)?;
    for unfinished in names
        .iter()
        .filter(|name| name.starts_with("changes-") && name.ends_with(".new"))
    {
        // Nobody was told that it is there. Where it cannot be taken away, it is only in the way of nothing.
        let _ = files.remove(unfinished);
    }
    let mut numbers: Vec<_> = names.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    let watermark = if names.iter().any(|name| name == WATERMARK) {
        get_watermark(&files.read(WATERMARK).map_err(folder)?)
    } else {
        None
    };
    let Some(newest) = numbers.last().copied() else {
        if let Some((missing, _)) = watermark {
            return Err(damaged(&*files, missing, 0, "the file is missing"));
        }
        return create(files.clone(), boot_id, history).map_err(folder);
    };
    if let Some((missing, _)) = watermark.filter(|(number, _)| *number > newest) {
        return Err(damaged(&*files, missing, 0, "the file is missing"));
    }
    let mut replay = Replay::new(history);
    let mut older = Vec::new();
    for number in &numbers[..numbers.len() - 1] {
        if replay_older(&*files, *number, &mut replay) {
            older.push(Older {
                number: *number,
                revision: replay.revision(),
            });
        }
    }
    let synced = watermark
        .filter(|(number, _)| *number == newest)
        .map_or(0, |(_, end)| end);
    let end = read(&*files, newest, synced, &mut replay)?;
    go_on(files, boot_id, replay, newest, end, older)
}

fn damaged(files: &dyn Files, number: u64, offset: u64, what: &str) -> OpenError {
    OpenError::Damaged {
        path: files.path(&name(number)),
        offset,
        what: what.to_owned(),
    }
}

fn read(files: &dyn Files, number: u64, synced: u64, replay: &mut Replay) -> Result<End, OpenError> {
    let path = || files.path(&name(number));
    let disk = |source| OpenError::Disk { path: path(), source };
    let bytes = files.read(&name(number)).map_err(disk)?;
    let end = segment::read(&bytes, synced, &mut |kind| replay.see(kind));
    end.map_err(|Damage { offset, what }| OpenError::Damaged {
        path: path(),
        offset,
        what,
    })
}

/// Takes in an older segment, which only the history needs: the newest one has everything that stands. Tells whether it
/// is of use.
fn replay_older(files: &dyn Files, number: u64, replay: &mut Replay) -> bool {
    let Err(error) = read(files, number, 0, replay) else {
        return true;
    };
    warn!(%error, "older changes are not held any more");
    replay.interrupt();
    false
}

/// Makes the first segment of a folder.
fn create(files: Arc<dyn Files>, boot_id: &str, history: History) -> io::Result<(Journal, Catalog, History)> {
    let epoch = new_epoch(SystemTime::now(), Epoch::default());
    let (segment, watermark) = create_first(&*files, boot_id, epoch)?;
    let journal = journal(files, boot_id, watermark, Writing::new(segment, Vec::new()));
    Ok((journal, Catalog::new(epoch), history))
}

fn create_first(files: &dyn Files, boot_id: &str, epoch: Epoch) -> io::Result<(Segment, Arc<dyn Writer>)> {
    let head = Head {
        epoch: epoch.0,
        boot_id: boot_id.to_owned(),
        ..Head::default()
    };
    let mut segment = StartWriter::new(1, files.create(&new_name(1))?, head)?.finish()?;
    segment.writer.sync()?;
    segment.synced = segment.end;
    // Before the segment has its name: a folder with the one and not the other is new.
    let watermark = files.open(WATERMARK)?;
    files.rename(&new_name(1), &name(1))?;
    files.sync_names()?;
    Ok((segment, watermark))
}

fn journal(files: Arc<dyn Files>, boot_id: &str, watermark: Arc<dyn Writer>, writing: Writing) -> Journal {
    Journal {
        files,
        boot_id: boot_id.to_owned(),
        writing: Mutex::new(writing),
        committing: Condvar::new(),
        keeping: Condvar::new(),
        watermark,
        on_sync: OnceLock::new(),
    }
}

/// Goes on at the end of the newest segment.
fn go_on(
    files: Arc<dyn Files>,
    boot_id: &str,
    replay: Replay,
    number: u64,
    end: End,
    older: Vec<Older>,
) -> Result<(Journal, Catalog, History), OpenError> {
    let disk = |source| OpenError::Disk {
        path: files.path(&name(number)),
        source,
    };
    let revision = replay.revision();
    let (mut catalog, history, last) = replay.finish();
    if end.torn_bytes > 0 {
        warn!(
            file.path = %files.path(&name(number)).display(),
            torn.offset = end.offset,
            torn.size_bytes = end.torn_bytes,
            "cutting off what a crash has torn, which nobody was answered for"
        );
    }
    // What was told is there when its writer says so, or was killed and left it to the system, which still runs.
    let same_boot = !boot_id.is_empty() && last.boot_id == boot_id;
    if !last.closed && (!same_boot || end.lost_records) {
        catalog.begin_epoch(new_epoch(SystemTime::now(), catalog.epoch()));
        info!(
            epoch = catalog.epoch().0,
            "the machine went down: watchers get a new view"
        );
    }
    let mut segment = Segment {
        number,
        writer: files.open(&name(number)).map_err(disk)?,
        salt: end.salt,
        head_bytes: end.head_bytes,
        end: end.offset,
        synced: 0,
        revision,
        installing: false,
    };
    let watermark = files.open(WATERMARK).map_err(disk)?;
    let opened = Kind::Opened(Opened {
        boot_id: boot_id.to_owned(),
        epoch: catalog.epoch().0,
    });
    let begun = begin(&*files, &mut segment, end.torn_bytes > 0, opened);
    let mut writing = Writing::new(segment, older);
    match begun {
        Ok(()) => {
            if let Some(current) = &mut writing.current {
                current.synced = current.end;
                let _ = put_watermark(&*watermark, current.number, current.end);
            }
        }
        // What is there can be served; what comes is refused until the disk works.
        Err(error) => {
            writing.note(&error);
            writing.fall_behind();
            writing.epoch_due = false;
            writing.retry_at = Instant::now() + writing.pace.retry;
            catalog.begin_epoch(new_epoch(SystemTime::now(), catalog.epoch()));
        }
    }
    Ok((journal(files.clone(), boot_id, watermark, writing), catalog, history))
}

/// Cuts off what is torn, and says who writes from here on.
fn begin(files: &dyn Files, segment: &mut Segment, torn: bool, opened: Kind) -> io::Result<()> {
    if torn {
        segment.writer.truncate(segment.end)?;
    }
    segment.append(&[opened.payload()], None).map_err(|(error, _)| error)?;
    segment.writer.sync()?;
    files.sync_names()
}

impl Journal {
    /// Deletes the segments that the history does not need any more, whose oldest change is `oldest`. Blocks.
    pub fn forget(&self, oldest: Option<homeroom::model::Revision>) {
        let mut writing = self.lock();
        for number in std::mem::take(&mut writing.abandoned) {
            // It may have its last name by now; otherwise the next start takes it away.
            let _ = self.files.remove(&new_name(number));
        }
        if writing.current.is_none() {
            // A restart would find the newest of them.
            return;
        }
        let is_needed = |older: &Older| oldest.is_some_and(|oldest| older.revision >= oldest);
        let (needed, unneeded) = std::mem::take(&mut writing.older).into_iter().partition(is_needed);
        writing.older = needed;
        drop(writing);
        for older in unneeded {
            if let Err(error) = self.files.remove(&name(older.number)) {
                warn!(%error, segment.number = older.number, "cannot delete an old segment of the journal");
            }
        }
    }
}

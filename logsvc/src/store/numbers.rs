//! Which numbers may have been given to entries, so that none is given twice, whatever a power cut or a disk forgets.
//!
//! Before the first number above a ceiling is given away, a higher ceiling is synced. What was written and not synced is
//! gone after a power cut, and nobody can tell how far it went: the log goes on above the ceiling then. The end of the
//! process alone loses nothing of what was written.

use std::{io, sync::Arc};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::disk::Files;

/// Where it is kept.
const FILE: &str = "numbers";
/// Where it is written first.
const TEMPORARY: &str = "numbers.tmp";

/// Where a segment ends that was given up: what is behind it was never acknowledged, and may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// The number of its first entry.
    pub(super) segment: u64,
    pub(super) size_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The boot of the system in which it was written.
    boot: String,
    /// No number above it was given to an entry.
    ceiling: u64,
    /// The next number is not below it.
    floor: u64,
    cuts: Vec<Cut>,
}

/// The numbers that may be given away.
#[derive(Debug)]
pub(super) struct Numbers {
    files: Arc<dyn Files>,
    boot: String,
    kept: Kept,
    /// How many numbers a ceiling is above the last one that is needed: how often it is written, and how far numbers jump
    /// after a power cut.
    reserve: u64,
    /// Whether the file is there and cannot be read.
    is_damaged: bool,
}

impl Numbers {
    /// Reads what is kept, in a boot of this name.
    pub(super) fn open(files: Arc<dyn Files>, boot: &str, reserve: u64) -> io::Result<Self> {
        let text = match files.open(FILE) {
            Ok(file) => {
                let size_bytes = usize::try_from(file.size_bytes()?).map_err(io::Error::other)?;
                let mut text = vec![0; size_bytes];
                file.read_exact(&mut text, 0)?;
                Some(text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let kept = text.as_deref().map(decode);
        let is_damaged = kept == Some(None);
        if is_damaged {
            warn!(file.path = %files.path(FILE).display(), "the file is damaged: numbers go on far above those that are there");
        }
        Ok(Self {
            files,
            boot: boot.to_owned(),
            kept: kept.flatten().unwrap_or_default(),
            reserve,
            is_damaged,
        })
    }

    /// Where a segment was cut.
    pub(super) fn cut(&self, segment: u64) -> Option<u64> {
        let mut cuts = self.kept.cuts.iter();
        cuts.find(|cut| cut.segment == segment).map(|cut| cut.size_bytes)
    }

    /// Whether the power may have been cut while something was not synced.
    pub(super) fn is_after_power_cut(&self) -> bool {
        self.is_damaged || self.kept.boot != self.boot
    }

    /// The number of the next entry where the files say that it is `next`; `None` when there are none.
    pub(super) fn next(&self, next: Option<u64>) -> u64 {
        let above_ceiling = self.kept.ceiling + 1;
        match next {
            None => above_ceiling,
            // More than two reserves cannot have been given away since the last sync.
            Some(next) if self.is_damaged => next + 2 * self.reserve,
            Some(next) if self.is_after_power_cut() => next.max(above_ceiling),
            Some(next) => next.max(self.kept.floor),
        }
    }

    /// Returns when all numbers from `first` to `last` may be given away.
    pub(super) fn allow(&mut self, first: u64, last: u64) -> io::Result<()> {
        if last <= self.kept.ceiling && self.kept.boot == self.boot {
            return Ok(());
        }
        self.keep(Kept {
            boot: self.boot.clone(),
            ceiling: last.max(self.kept.ceiling) + self.reserve,
            // What a power cut made it jump over stays so, should nothing be written in this boot.
            floor: self.kept.floor.max(first),
            ..self.kept.clone()
        })
    }

    /// Returns when a segment that is given up will end there for ever, and the log go on at `next` or above.
    pub(super) fn give_up(&mut self, cut: Cut, next: u64) -> io::Result<()> {
        let mut kept = self.kept.clone();
        kept.cuts.retain(|other| other.segment != cut.segment);
        kept.cuts.push(cut);
        kept.floor = kept.floor.max(next);
        self.keep(kept)
    }

    /// Notes that all segments end where they were cut.
    pub(super) fn forget_cuts(&mut self) {
        // The file tells it when it is written next: to cut again does no harm.
        self.kept.cuts.clear();
    }

    /// Notes that everything up to `last` is synced, and nothing above was given away.
    pub(super) fn finish(&mut self, last: u64) -> io::Result<()> {
        if self.kept.boot != self.boot || self.kept.ceiling == last {
            return Ok(());
        }
        self.keep(Kept {
            ceiling: last,
            ..self.kept.clone()
        })
    }

    fn keep(&mut self, kept: Kept) -> io::Result<()> {
        let written = self.files.create(TEMPORARY).and_then(|file| {
            file.write(&encode(&kept), 0)?;
            file.sync()
        });
        written
            .and_then(|()| self.files.rename(TEMPORARY, FILE))
            .and_then(|()| self.files.sync_names())?;
        self.kept = kept;
        self.is_damaged = false;
        Ok(())
    }
}

/// A line of JSON and its checksum.
fn encode(kept: &Kept) -> Vec<u8> {
    let json = serde_json::to_string(kept).expect("it has only text and numbers");
    format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes())).into_bytes()
}

fn decode(text: &[u8]) -> Option<Kept> {
    let (json, checksum) = std::str::from_utf8(text).ok()?.strip_suffix('\n')?.split_once('\n')?;
    let is_whole = checksum == format!("{:08x}", crc32fast::hash(json.as_bytes()));
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}

//! Which frames surely have no message with some text. Pure.
//!
//! As bytes: rows, each a bit for each frame, the first frame's the lowest of the first byte. A row is of all trigrams
//! with some hash, so a search reads the few rows of its text. There are as many rows as keep three quarters of the bits
//! unset, up to a limit, and always a power of two: the lower bits of a hash are the number of its row.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Part,
    pages::Pages,
    seen::{self, Hashes},
    services::Bits,
    trigrams::{HASHES, Trigrams},
};
use crate::store::damaged;

/// Frames of 256 KiB have some 1,500 trigrams, and take 512 bytes each in so many rows. Of the texts of ten letters that
/// they do not have, one in many thousands looks as if they had.
const ROWS_MAX: usize = HASHES;
const ROWS_MIN: usize = 64;
/// How many bits there are for each that is set, up to the limit.
const SPARSENESS: usize = 4;

/// Turns what was seen in each frame into rows.
pub(super) fn encode(frames: &[Hashes]) -> Vec<u8> {
    let set: usize = frames.iter().map(|hashes| seen::each(hashes).count()).sum();
    let mut rows = ROWS_MAX;
    while rows > ROWS_MIN && rows / 2 * frames.len() >= set * SPARSENESS {
        rows /= 2;
    }
    let row_bytes = row_bytes(frames.len());
    let mut out = vec![0; rows * row_bytes];
    for (n, frame) in frames.iter().enumerate() {
        for hash in seen::each(frame) {
            out[(hash & (rows - 1)) * row_bytes + n / 8] |= 1 << (n % 8);
        }
    }
    out
}

/// How long a row is, of so many frames.
fn row_bytes(frames: usize) -> usize {
    frames.div_ceil(8)
}

/// Looks into the rows.
#[derive(Debug)]
pub(super) struct Texts {
    part: Part,
    row_bytes: usize,
    /// None in an index of the second version, which tells nothing of texts.
    rows: usize,
    /// Guards what was looked for last, as a search does block after block; held for a comparison.
    last: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    wanted: Vec<Trigrams>,
    frames: Arc<Bits>,
}

impl Texts {
    /// Of so many frames.
    ///
    /// # Errors
    /// `InvalidData` when there cannot be such rows.
    pub(super) fn new(part: Part, frames: usize) -> io::Result<Self> {
        let row_bytes = row_bytes(frames);
        let rows = usize::try_from(part.size_bytes).unwrap_or(usize::MAX) / row_bytes.max(1);
        let is_sound = rows == 0 || rows.is_power_of_two() && rows <= ROWS_MAX;
        if !is_sound || (rows * row_bytes) as u64 != part.size_bytes {
            return Err(damaged("there cannot be so many rows"));
        }
        let last = Mutex::default();
        Ok(Self {
            part,
            row_bytes,
            rows,
            last,
        })
    }

    /// How much memory the frames take that were found last.
    pub(super) fn size_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The frames that may have a message with all trigrams of any of `wanted`; `None` when all may.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` and `UnexpectedEof` when the index is damaged.
    pub(super) fn frames(&self, pages: &Pages, wanted: &[Trigrams]) -> io::Result<Option<Arc<Bits>>> {
        if self.rows == 0 || wanted.is_empty() || wanted.iter().any(Trigrams::is_empty) {
            return Ok(None);
        }
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = last().as_ref().filter(|found| found.wanted == wanted) {
            return Ok(Some(found.frames.clone()));
        }
        let mut frames = Bits::default();
        for trigrams in wanted {
            frames.join(&self.with_all(pages, trigrams)?);
        }
        let (wanted, frames) = (wanted.to_vec(), Arc::new(frames));
        *last() = Some(Found {
            wanted,
            frames: frames.clone(),
        });
        Ok(Some(frames))
    }

    fn with_all(&self, pages: &Pages, trigrams: &Trigrams) -> io::Result<Bits> {
        let mut rows = trigrams.hashes().map(|hash| {
            let start = (hash & (self.rows - 1)) * self.row_bytes;
            let row = self.part.read_some(start..start + self.row_bytes, pages);
            row.map(Bits::new)
        });
        let mut frames = rows.next().unwrap_or_else(|| Ok(Bits::default()))?;
        while !frames.is_empty()
            && let Some(row) = rows.next()
        {
            frames.meet(&row?);
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_rows_as_keep_three_quarters_of_the_bits_unset() {
        let frame = |trigrams: usize| {
            let mut hashes = Hashes::new([0; _]);
            (0..trigrams).for_each(|hash| hashes[hash / 64] |= 1 << (hash % 64));
            hashes
        };
        for (trigrams, rows) in [(0, 64), (16, 64), (17, 128), (512, 2048), (513, 4096), (4096, 4096)] {
            for frames in [1, 8, 9] {
                let frames: Vec<_> = (0..frames).map(|_| frame(trigrams)).collect();
                let encoded = encode(&frames);
                assert_eq!(encoded.len(), rows * frames.len().div_ceil(8), "{trigrams}");
            }
        }
    }

    #[test]
    fn rows_that_cannot_be_are_refused() {
        let texts = |size_bytes, frames| Texts::new(Part { start: 1, size_bytes }, frames).map(|texts| texts.rows);
        assert_eq!(texts(128, 9).expect("sound"), 64);
        assert_eq!(texts(0, 9).expect("an older one"), 0);
        for (size_bytes, frames) in [(127, 9), (96, 8), (8192, 8), (64, 0), (u64::MAX, 8)] {
            texts(size_bytes, frames).expect_err("not sound");
        }
    }
}

//! The disk by itself: what nobody who writes to it can do better.

use std::{fs::File, io::Write, path::Path, time::Instant};

use anyhow::Result;
use tempfile::NamedTempFile;

const PAGE: [u8; 4096] = [b'x'; 4096];
/// What is written at once, and in all, when the throughput is measured.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNKS: usize = 256;

/// A file that is appended to, page by page, each synced.
#[derive(Debug)]
pub(crate) struct Pages(NamedTempFile);

impl Pages {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        Ok(Self(NamedTempFile::new_in(dir)?))
    }

    /// Appends so many pages; tells how long each took, in microseconds.
    pub(crate) fn append(&mut self, count: usize) -> Result<Vec<u32>> {
        let file: &mut File = self.0.as_file_mut();
        let mut micros = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            file.write_all(&PAGE)?;
            file.sync_data()?;
            micros.push(u32::try_from(started.elapsed().as_micros())?);
        }
        Ok(micros)
    }
}

/// How many megabytes a second reach the disk, when they are written at leisure and synced once.
pub(crate) fn megabytes_per_second(dir: &Path) -> Result<f64> {
    let mut file = tempfile::tempfile_in(dir)?;
    let mut random = fastrand::Rng::with_seed(1);
    let chunk: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(CHUNK_BYTES).collect();
    let started = Instant::now();
    for _ in 0..CHUNKS {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    Ok((CHUNK_BYTES * CHUNKS) as f64 / 1e6 / started.elapsed().as_secs_f64())
}

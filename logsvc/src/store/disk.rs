//! What the committer does to a disk, and how a disk fails.

use std::{
    fs::File,
    io::{self, Write},
};

/// A file to append to. A trait so that tests can fill the disk, and break it.
pub(super) trait Disk: Send {
    /// Writes all of `text` at the end; after an error some of it may be there.
    fn append(&mut self, text: &[u8]) -> io::Result<()>;

    /// Returns when a power cut would leave everything written.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file off.
    fn truncate(&mut self, size_bytes: u64) -> io::Result<()>;
}

impl Disk for File {
    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        self.write_all(text)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, size_bytes: u64) -> io::Result<()> {
        self.set_len(size_bytes)
    }
}

/// Whether there is only no room: the disk itself works.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | WriteZero)
}

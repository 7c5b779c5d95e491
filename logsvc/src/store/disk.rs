//! What the store does to a disk, the disk itself, and how a disk fails.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use crate::error::Error;

/// Only the user that runs the service reads what everybody logs.
const DIRECTORY_MODE: u32 = 0o700;
/// As for the directory.
const FILE_MODE: u32 = 0o600;

/// A directory of files. A trait so that tests can fill the disk, break it, and cut its power.
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// The names of the files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// An empty file of this name, in place of what has it.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Contents>>;
    /// The file of this name.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Contents>>;
    /// Gives a file another name, in place of what has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file. Who has it open reads on.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when a power cut would leave all names as they are.
    fn sync_names(&self) -> io::Result<()>;
    /// How much room the disk has.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Where they are, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file.
pub(super) trait Contents: fmt::Debug + Send + Sync {
    /// How long it is.
    fn size_bytes(&self) -> io::Result<u64>;
    /// When it was made.
    fn created(&self) -> io::Result<SystemTime>;
    /// Reads what is at `offset`, as much as there is room for in `bytes` or less; nothing at the end.
    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` from `offset` on; after an error some of it may be there.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when a power cut would leave everything that was written before.
    fn sync(&self) -> io::Result<()>;
    /// Cuts it off.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;
    /// Says that what is synced of it will hardly be read soon: the kernel may use its memory for something else. A hint.
    fn leave_memory(&self) {}

    /// Fills `bytes` with what is at `offset`.
    fn read_exact(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = self.read(bytes, offset)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes = &mut bytes[length..];
            offset += length as u64;
        }
        Ok(())
    }
}

/// Reads a file from its start to its end.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    contents: &'a dyn Contents,
    offset: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(contents: &'a dyn Contents) -> Self {
        Self { contents, offset: 0 }
    }
}

impl Read for Reading<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.contents.read(bytes, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

impl Contents for File {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn created(&self) -> io::Result<SystemTime> {
        self.metadata()?.created()
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.read_at(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Contents::read(self, bytes, offset),
            result => result,
        }
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.set_len(size_bytes)
    }

    #[cfg(target_os = "linux")]
    fn leave_memory(&self) {
        // It is as well without.
        let _ = rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed);
    }
}

/// A directory of the file system, of this process alone.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Locked as long as it is open: no other process has the directory.
    _lock: File,
}

impl Directory {
    /// Opens a directory, which it makes when there is none.
    ///
    /// # Errors
    /// [`Error::InUse`] or [`Error::Open`].
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        make(path).map_err(failed)?;
        let lock = options().create(true).open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Makes the directory when there is none, so that it survives a power cut.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    match fs::canonicalize(directory)?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|file| file.map(|file| file.file_name().into_string()));
        // What is not text is not ours.
        names.filter_map(|name| name.map(Result::ok).transpose()).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        Ok(Arc::new(options().create(true).truncate(true).open(self.path(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Contents>> {
        Ok(Arc::new(options().open(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Whether there is only no room: the disk itself works.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | WriteZero)
}

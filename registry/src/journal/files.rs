//! What the journal asks of a disk, and the disk itself.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::OpenError;

/// Only the user that runs the registry reads what it keeps.
const DIRECTORY_MODE: u32 = 0o700;
/// As for the directory.
const FILE_MODE: u32 = 0o600;

/// A folder of files. A trait so that tests can fill the disk, break it, and cut its power.
pub(super) trait Files: fmt::Debug + Send + Sync {
    /// The names of the files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// All of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// An empty file of this name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Writer>>;
    /// A file of this name as it is, to be written.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Writer>>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when a power cut would leave all names as they are.
    fn sync_names(&self) -> io::Result<()>;
    /// Where they are, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// A file that is written.
pub(super) trait Writer: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` from `offset` on; after an error some of it may be there.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when a power cut would leave everything that was written before.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file off.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;
}

impl Writer for File {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        self.set_len(size_bytes)
    }
}

/// A folder of the file system, of this process alone.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    /// Locked as long as it is open: no other process has the folder.
    _lock: File,
}

impl Disk {
    /// Opens a folder, which it makes when there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Disk {
            path: directory.to_owned(),
            source,
        };
        make(directory).map_err(failed)?;
        let lock = options().open(directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                directory: directory.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Makes the folder when there is none, so that it survives a power cut.
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
    options.write(true).create(true).truncate(false).mode(FILE_MODE);
    options
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.directory)?.map(|file| file.map(|file| file.file_name().into_string()));
        // What is not text is not ours.
        names.filter_map(|name| name.map(Result::ok).transpose()).collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Writer>> {
        Ok(Arc::new(options().truncate(true).open(self.path(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Writer>> {
        Ok(Arc::new(options().open(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

//! The file that says how far a backend has come: one small file in the data directory, replaced as a whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use homeroom::model::Address;
use serde::{Deserialize, Serialize};

/// The name of the file.
const FILE_NAME: &str = "forward.json";
/// The name of the next one until it is whole.
const FILE_NAME_NEW: &str = "forward.json.new";
/// As for the log files.
const FILE_MODE: u32 = 0o600;

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    endpoint: String,
    sequence: u64,
}

/// The file, and which backend it speaks of.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    directory: PathBuf,
    endpoint: Address,
}

impl Cursor {
    pub(super) fn new(directory: &Path, endpoint: Address) -> Self {
        Self {
            directory: directory.to_owned(),
            endpoint,
        }
    }

    /// The number of the last entry that the backend has; 0 when there is no file, or it speaks of another one: that
    /// one lacks everything. Blocks.
    ///
    /// # Errors
    /// What the disk says; [`io::ErrorKind::InvalidData`] when the file is damaged.
    pub(super) fn read(&self) -> io::Result<u64> {
        let text = match fs::read(self.directory.join(FILE_NAME)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let position: Position = serde_json::from_slice(&text)?;
        let is_ours = position.endpoint == self.endpoint.as_str();
        Ok(if is_ours { position.sequence } else { 0 })
    }

    /// Replaces the file, so that a power cut leaves this position or the one before. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn write(&self, sequence: u64) -> io::Result<()> {
        let position = Position {
            endpoint: self.endpoint.to_string(),
            sequence,
        };
        let new = self.directory.join(FILE_NAME_NEW);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(FILE_MODE)
            .open(&new)?;
        file.write_all(serde_json::to_string(&position)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, self.directory.join(FILE_NAME))?;
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(directory: &Path, endpoint: &str) -> Cursor {
        Cursor::new(directory, endpoint.parse().expect("an address"))
    }

    #[test]
    fn a_position_is_that_of_its_backend_and_no_other() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (one, other) = (cursor(directory.path(), "a:1"), cursor(directory.path(), "b:1"));
        assert_eq!(one.read().expect("no file is no error"), 0);
        one.write(7).expect("written");
        one.write(9).expect("written again");
        assert_eq!((one.read().ok(), other.read().ok()), (Some(9), Some(0)));
        let names = fs::read_dir(directory.path()).expect("a directory");
        let names: Vec<_> = names.map(|file| file.expect("a file").file_name()).collect();
        assert_eq!(names, [FILE_NAME], "nothing else is left");
    }

    #[test]
    fn a_file_that_was_not_finished_changes_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cursor = cursor(directory.path(), "a:1");
        cursor.write(7).expect("written");
        fs::write(directory.path().join(FILE_NAME_NEW), "{\"endp").expect("a torn file");
        assert_eq!(cursor.read().expect("the one before"), 7);
        cursor.write(8).expect("written over it");
        assert_eq!(cursor.read().expect("the new one"), 8);
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join(FILE_NAME), "{\"endpoint\":\"a:1\"").expect("a damaged file");
        let error = cursor(directory.path(), "a:1").read().expect_err("it is damaged");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

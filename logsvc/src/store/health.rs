//! Whether the store takes entries, and why it does not.

use std::{error, fmt, io};

use super::disk::is_full;
use crate::error::Error;

/// Whether the store takes entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Health {
    /// It does.
    #[default]
    Working,
    /// The disk, or the part of it that the store may use, is full. It takes entries as soon as there is room.
    Full(String),
    /// The disk failed. It takes entries as soon as the disk does.
    Failed(String),
}

/// Why a group was not written, or may not be.
#[derive(Debug)]
pub(super) struct Failure {
    doing: &'static str,
    cause: io::Error,
    is_full: bool,
}

impl Failure {
    /// What the disk said. Nothing of the group is kept when it is full.
    pub(super) fn of(doing: &'static str, cause: io::Error) -> Self {
        Self {
            doing,
            is_full: is_full(&cause),
            cause,
        }
    }

    /// The group may be kept or not.
    pub(super) fn unsure(doing: &'static str, cause: io::Error) -> Self {
        Self {
            doing,
            is_full: false,
            cause,
        }
    }

    /// There is room, but not for us.
    pub(super) fn reserved() -> Self {
        let cause = "what is left of the disk is not for the log";
        Self::of("look for room", io::Error::new(io::ErrorKind::StorageFull, cause))
    }

    /// Whether there was only no room.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// The health of a store that fails like this.
    pub(super) fn health(&self) -> Health {
        match self.is_full {
            true => Health::Full(self.to_string()),
            false => Health::Failed(self.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.cause)
    }
}

impl error::Error for Failure {}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        match failure.is_full {
            true => Self::DiskFull,
            false => Self::StoreFailed,
        }
    }
}

//! Finds the sealed segments of a directory, and cleans up what the end of the process in the middle of sealing or
//! deleting leaves.

use std::{collections::BTreeSet, io};

use super::{file_name, seal::TEMPORARY};
use crate::store::{disk::Files, sidecar};

/// The number of the first entry of each sealed segment, in order, given those of the plain ones.
///
/// Temporary files are deleted; so is a sealed segment whose plain file is still there, which will be sealed again, and an
/// index without a segment.
///
/// # Errors
/// What the disk says.
pub(in crate::store) fn find(files: &dyn Files, plain: &BTreeSet<u64>) -> io::Result<BTreeSet<u64>> {
    let mut sealed = BTreeSet::new();
    let names = files.list()?;
    for name in &names {
        let first = number(name, ".jsonl.zst", file_name);
        match first {
            Some(first) if plain.contains(&first) => files.remove(name)?,
            Some(first) => drop(sealed.insert(first)),
            None if name.starts_with("log-") && name.ends_with(TEMPORARY) => files.remove(name)?,
            None => {}
        }
    }
    for name in &names {
        let first = number(name, ".idx", sidecar::file_name);
        if first.is_some_and(|first| !sealed.contains(&first)) {
            files.remove(name)?;
        }
    }
    Ok(sealed)
}

/// The number in a name; `None` when it is not such a name.
fn number(name: &str, extension: &str, file_name: impl Fn(u64) -> String) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(extension)?;
    digits.parse().ok().filter(|first| file_name(*first) == name)
}

//! Finds the sealed segments of a directory, and cleans up what the end of the process in the middle of sealing or
//! deleting leaves.

use std::{collections::BTreeSet, io};

use super::{parse_name, seal::TEMPORARY};
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
        match parse_name(name) {
            Some(first) if plain.contains(&first) => files.remove(name)?,
            Some(first) => drop(sealed.insert(first)),
            None if name.starts_with("log-") && name.ends_with(TEMPORARY) => files.remove(name)?,
            None => {}
        }
    }
    for name in &names {
        if sidecar::parse_name(name).is_some_and(|first| !sealed.contains(&first)) {
            files.remove(name)?;
        }
    }
    Ok(sealed)
}

//! Makes the index of a segment again, of nothing but the segment.

use std::{io, sync::Arc, time::SystemTime};

use tracing::warn;

use super::{file_name, seal::write};
use crate::store::{
    disk::{Contents, Files},
    frames::{Found, Walk},
    sidecar::{self, Builder, Pages, Sidecar},
    writers::Writers,
};

/// Makes the index again that could not be read because of `cause`. When it cannot be written it is only held in memory.
///
/// What is damaged of the segment is left out. Writers that wrote in earlier segments only are known from the index of the one
/// before.
///
/// # Errors
/// What the disk says of the segment.
pub(super) fn rebuild(
    files: &dyn Files,
    segment: Arc<dyn Contents>,
    first: u64,
    cause: &io::Error,
) -> io::Result<Sidecar> {
    let path = files.path(&file_name(first));
    warn!(file.path = %path.display(), error = %cause, "making the index of a segment again");
    let (image, damaged_bytes) = index(files, &*segment, first)?;
    if damaged_bytes > 0 {
        warn!(file.path = %path.display(), damaged.size_bytes = damaged_bytes, "leaving out damaged parts of a segment");
    }
    if let Err(error) = write(files, &sidecar::file_name(first), &image) {
        warn!(file.path = %path.display(), %error, "cannot write the index of a segment");
    }
    Sidecar::load(Pages::Memory(image), segment, first)
}

/// The index of a segment, and how many bytes of this are damaged.
fn index(files: &dyn Files, segment: &dyn Contents, first: u64) -> io::Result<(Vec<u8>, u64)> {
    let (mut builder, mut damaged_bytes) = (Builder::new(first, writers_before(files, first)?), 0);
    let (mut walk, mut is_cut_off) = (Walk::new(segment)?, false);
    while let Some(found) = walk.next()? {
        is_cut_off = matches!(found, Found::Damaged(_));
        match found {
            Found::Frame { offset, packed, text } if builder.has_room() => builder.push(offset, &packed, &text),
            // We make no file of so many frames.
            Found::Frame { packed, .. } => {
                builder.skip();
                damaged_bytes += packed.len() as u64;
            }
            Found::Damaged(size_bytes) => {
                builder.skip();
                damaged_bytes += size_bytes;
            }
        }
    }
    let missing_bytes = size_before(files, first).saturating_sub(segment.size_bytes()?);
    if missing_bytes > 0 {
        damaged_bytes += missing_bytes;
        if !is_cut_off {
            builder.skip();
        }
    }
    // The file was made when it was sealed.
    let sealed = segment.created().unwrap_or_else(|_| SystemTime::now());
    Ok((builder.finish(segment.size_bytes()?, sealed.into()), damaged_bytes))
}

/// The writers known at the end of the segment before, as far as its index tells.
fn writers_before(files: &dyn Files, first: u64) -> io::Result<Writers> {
    let names = files.list()?;
    let indexes = names.iter().filter_map(|name| sidecar::parse_name(name));
    let before = indexes.filter(|other| *other < first).max();
    let index = before.and_then(|before| files.open(&sidecar::file_name(before)).ok());
    let mut writers = Writers::default();
    let restored = index.and_then(|index| writers.restore(&Sidecar::writers_of(index).ok()?));
    Ok(restored.map_or_else(Writers::default, |()| writers))
}

/// How large the segment was, as far as the index from before tells: what is cut off between frames is not seen otherwise.
fn size_before(files: &dyn Files, first: u64) -> u64 {
    let index = files.open(&sidecar::file_name(first));
    index.and_then(Sidecar::file_bytes_of).unwrap_or(0)
}

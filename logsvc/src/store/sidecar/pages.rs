//! Bytes in pages with a checksum each, so that any part is read by itself and known to be sound.
//!
//! A page is [`PAGE_BYTES`]: the contents, filled up with zeros, and the CRC-32 of its number (8 bytes) and its contents.
//! A part of the file starts with a page of its own. All numbers are little-endian.

use std::{io, ops::Range, sync::Arc};

use crate::store::{damaged, disk::Contents};

/// The size of a page: what a disk reads at once.
pub(super) const PAGE_BYTES: usize = 4096;
const CHECKSUM_BYTES: usize = 4;
/// What is in a page besides its checksum.
pub(super) const CONTENTS_BYTES: usize = PAGE_BYTES - CHECKSUM_BYTES;

/// Appends `contents` to `image`, as pages. Returns the numbers of these.
pub(super) fn append(contents: &[u8], image: &mut Vec<u8>) -> Range<u64> {
    let start = (image.len() / PAGE_BYTES) as u64;
    for contents in contents.chunks(CONTENTS_BYTES) {
        let number = (image.len() / PAGE_BYTES) as u64;
        let page_start = image.len();
        image.extend_from_slice(contents);
        image.resize(page_start + CONTENTS_BYTES, 0);
        let checksum = checksum(number, &image[page_start..]);
        image.extend_from_slice(&checksum.to_le_bytes());
    }
    start..(image.len() / PAGE_BYTES) as u64
}

fn checksum(number: u64, contents: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(contents);
    hasher.finalize()
}

/// Where the pages are.
#[derive(Debug)]
pub(in crate::store) enum Pages {
    /// In a file.
    File(Arc<dyn Contents>),
    /// In memory, as when the disk has no room for them.
    Memory(Vec<u8>),
}

impl Pages {
    /// How much memory they take.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::File(_) => 0,
            Self::Memory(image) => image.len(),
        }
    }

    /// Reads the contents of some pages.
    ///
    /// # Errors
    /// `InvalidData` when they are damaged, `UnexpectedEof` when they are not there.
    pub(super) fn read(&self, pages: Range<u64>) -> io::Result<Vec<u8>> {
        let size_bytes = pages.end.saturating_sub(pages.start).checked_mul(PAGE_BYTES as u64);
        let size_bytes = size_bytes.and_then(|size_bytes| usize::try_from(size_bytes).ok());
        let offset = pages.start.checked_mul(PAGE_BYTES as u64);
        let (size_bytes, offset) = size_bytes
            .zip(offset)
            .ok_or_else(|| damaged("there are no such pages"))?;
        let bytes = self.bytes(offset, size_bytes)?;
        let mut contents = Vec::with_capacity(size_bytes);
        for (number, page) in pages.zip(bytes.chunks_exact(PAGE_BYTES)) {
            let (page, stored) = page.split_at(CONTENTS_BYTES);
            if checksum(number, page).to_le_bytes() != stored {
                return Err(damaged("the checksum of a page is wrong"));
            }
            contents.extend_from_slice(page);
        }
        Ok(contents)
    }

    fn bytes(&self, offset: u64, size_bytes: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::File(file) => {
                let is_there = offset
                    .checked_add(size_bytes as u64)
                    .is_some_and(|end| file.size_bytes().is_ok_and(|size_bytes| end <= size_bytes));
                if !is_there {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut bytes = vec![0; size_bytes];
                file.read_exact(&mut bytes, offset)?;
                Ok(bytes)
            }
            Self::Memory(image) => {
                let start = usize::try_from(offset).ok();
                let range = start.and_then(|start| image.get(start..start.checked_add(size_bytes)?));
                Ok(range.ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
            }
        }
    }
}

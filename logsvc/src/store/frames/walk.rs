//! Goes through the frames of a file as their headers tell (RFC 8878, section 3.1.1), and over what is damaged.

use std::io;

use super::{FRAME_BYTES_MAX, Unpacker};
use crate::store::disk::Contents;

/// What each frame starts with.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The magic, the descriptor, and at most a window, a dictionary and a content size.
const HEADER_BYTES_MAX: usize = 18;
const BLOCK_HEADER_BYTES: usize = 3;
/// A block of this type is one byte, said once.
const RLE: u32 = 1;
const RESERVED: u32 = 3;
/// No block is larger, compressed or not.
const BLOCK_BYTES_MAX: u32 = 128 * 1024;
const CHECKSUM_BYTES: u64 = 4;
/// Read at once when a frame is looked for.
const SEARCH_BYTES: usize = 64 * 1024;

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Found {
    /// A whole frame: where it starts, itself and its text.
    Frame {
        /// Where it starts in the file.
        offset: u64,
        /// As it is in the file.
        packed: Vec<u8>,
        /// What is in it.
        text: Vec<u8>,
    },
    /// So many bytes in which no frame is whole.
    Damaged(u64),
}

/// Goes through the frames of a file.
#[derive(Debug)]
pub(in crate::store) struct Walk<'a> {
    contents: &'a dyn Contents,
    offset: u64,
    end: u64,
    unpacker: Unpacker,
}

impl<'a> Walk<'a> {
    pub(in crate::store) fn new(contents: &'a dyn Contents) -> io::Result<Self> {
        Ok(Self {
            contents,
            offset: 0,
            end: contents.size_bytes()?,
            unpacker: Unpacker::new()?,
        })
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// What the disk says.
    pub(in crate::store) fn next(&mut self) -> io::Result<Option<Found>> {
        let start = self.offset;
        if start == self.end {
            return Ok(None);
        }
        if let Some((packed, text)) = self.frame(start)? {
            self.offset += packed.len() as u64;
            let offset = start;
            return Ok(Some(Found::Frame { offset, packed, text }));
        }
        self.offset = self.search(start + 1)?;
        Ok(Some(Found::Damaged(self.offset - start)))
    }

    /// Where the next whole frame starts, from `offset` on; the end when there is none.
    fn search(&mut self, mut offset: u64) -> io::Result<u64> {
        let mut window = vec![0; SEARCH_BYTES];
        while self.end.saturating_sub(offset) >= MAGIC.len() as u64 {
            let length = self.read(&mut window, offset)?;
            let starts = window[..length].windows(MAGIC.len()).enumerate();
            for (at, _) in starts.filter(|(_, bytes)| *bytes == MAGIC) {
                if self.frame(offset + at as u64)?.is_some() {
                    return Ok(offset + at as u64);
                }
            }
            // A magic may begin with the last bytes of the window.
            offset += (length.max(MAGIC.len()) - (MAGIC.len() - 1)) as u64;
        }
        Ok(self.end)
    }

    /// The frame at `offset` and its text; `None` when none is there, or it is damaged.
    fn frame(&mut self, offset: u64) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let Some((size_bytes, text_bytes)) = self.extent(offset)? else {
            return Ok(None);
        };
        let mut packed = vec![0; size_bytes];
        if self.read(&mut packed, offset)? < size_bytes {
            return Ok(None);
        }
        let mut text = Vec::new();
        let unpacked = self.unpacker.unpack(&packed, text_bytes, &mut text);
        Ok(unpacked.ok().map(|()| (packed, text)))
    }

    /// How long the frame at `offset` is, and its text, as its headers say; `None` when they are damaged.
    fn extent(&self, offset: u64) -> io::Result<Option<(usize, usize)>> {
        let mut header = [0; HEADER_BYTES_MAX];
        let length = self.read(&mut header, offset)?;
        let Some((header_bytes, text_bytes)) = header_of(&header[..length]) else {
            return Ok(None);
        };
        let mut at = offset + header_bytes;
        loop {
            let mut block = [0; 4];
            if self.read(&mut block[..BLOCK_HEADER_BYTES], at)? < BLOCK_HEADER_BYTES {
                return Ok(None);
            }
            let block = u32::from_le_bytes(block);
            let (is_last, kind, size_bytes) = (block & 1 == 1, block >> 1 & 3, block >> 3);
            if kind == RESERVED || size_bytes > BLOCK_BYTES_MAX {
                return Ok(None);
            }
            let stored_bytes = if kind == RLE { 1 } else { size_bytes };
            at += BLOCK_HEADER_BYTES as u64 + u64::from(stored_bytes);
            if at + CHECKSUM_BYTES > self.end {
                return Ok(None);
            }
            if is_last {
                break;
            }
        }
        let size_bytes = usize::try_from(at + CHECKSUM_BYTES - offset).ok();
        // What is compressed to more than itself is no frame of ours: all of it is read at once.
        let fits = |size_bytes: &usize| *size_bytes <= FRAME_BYTES_MAX;
        Ok(size_bytes.filter(fits).map(|size_bytes| (size_bytes, text_bytes)))
    }

    /// Reads as much as there is.
    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = bytes.len().min(left);
        match self.contents.read_exact(&mut bytes[..length], offset) {
            Ok(()) => Ok(length),
            // It was cut off since.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// How long the header of a frame is, and its text; `None` when it is none that tells, or that has no checksum.
fn header_of(bytes: &[u8]) -> Option<(u64, usize)> {
    let (descriptor, rest) = bytes.strip_prefix(&MAGIC)?.split_first()?;
    let is_single = descriptor >> 5 & 1 == 1;
    let (is_reserved, has_checksum) = (descriptor >> 3 & 1 == 1, descriptor >> 2 & 1 == 1);
    let window_bytes = usize::from(!is_single);
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = match descriptor >> 6 {
        0 => usize::from(is_single),
        flag => 1 << flag,
    };
    if is_reserved || !has_checksum || size_bytes == 0 {
        return None;
    }
    let start = window_bytes + dictionary_bytes;
    let field = rest.get(start..start + size_bytes)?;
    let mut number = [0; 8];
    number[..size_bytes].copy_from_slice(field);
    let base = if size_bytes == 2 { 256 } else { 0 };
    let text_bytes = usize::try_from(u64::from_le_bytes(number)).ok()?.checked_add(base)?;
    let header_bytes = MAGIC.len() + 1 + start + size_bytes;
    (text_bytes <= FRAME_BYTES_MAX).then_some((header_bytes as u64, text_bytes))
}

//! Text as an ordinary zstd file of many frames, each of whole lines, so that any of them is read by itself.
//!
//! Its parts: `walk` finds the frames of a file without being told where they are.

mod walk;

use std::{fmt, io};

use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{CParameter, DParameter, Strategy, compress_bound},
};

pub(super) use self::walk::{Found, Walk};
use super::damaged;

/// A frame ends with the line that reaches this many bytes of text: what is read for one entry, and enough that what
/// lines have in common is there once.
pub(super) const FRAME_BYTES: usize = 256 * 1024;
/// More text in a frame is damage: the longest line is far shorter, and what is read at once has to fit into memory.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The level that all else starts from.
const LEVEL: i32 = 1;

/// How hard it is looked for repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Some microsecond an entry: while many come.
    Fast,
    /// Six times as long, for an eighth fewer bytes: when there is time.
    Thorough,
}

impl Effort {
    /// What differs from the level.
    fn parameters(self) -> &'static [CParameter] {
        match self {
            Self::Fast => &[],
            // Entries have ids at random that nothing makes shorter, between texts that are the same each time. What is
            // taken for a repetition has at least six letters, so that it is none that two ids have by chance; no level
            // has that, and with it this search takes fewer bytes than level 9, in less time.
            Self::Thorough => &[
                CParameter::Strategy(Strategy::ZSTD_lazy2),
                CParameter::MinMatch(6),
                CParameter::SearchLog(6),
                CParameter::HashLog(17),
                CParameter::ChainLog(18),
                CParameter::TargetLength(32),
            ],
        }
    }
}

/// Makes frames.
pub(super) struct Packer(Compressor<'static>);

impl Packer {
    pub(super) fn new(effort: Effort) -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        let always = [CParameter::ContentSizeFlag(true), CParameter::ChecksumFlag(true)];
        for parameter in always.iter().chain(effort.parameters()) {
            compressor.set_parameter(*parameter)?;
        }
        Ok(Self(compressor))
    }

    /// Puts a frame of this text into `frame`, in place of what is there.
    pub(super) fn pack(&mut self, text: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
        frame.clear();
        frame.reserve(compress_bound(text.len()));
        self.0.compress_to_buffer(text, frame)?;
        Ok(())
    }
}

/// Reads frames, one after the other.
pub(super) struct Unpacker(Decompressor<'static>);

impl Unpacker {
    /// Looks at the checksum of each text.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Decompressor::new()?))
    }

    /// For frames of which somebody knows that they are sound: the checksum takes a tenth of the time.
    pub(super) fn trusting() -> io::Result<Self> {
        let mut unpacker = Decompressor::new()?;
        unpacker.set_parameter(DParameter::ForceIgnoreChecksum(true))?;
        Ok(Self(unpacker))
    }

    /// Puts the text of a frame into `text`, in place of what is there.
    ///
    /// # Errors
    /// `InvalidData` when it is not a whole frame of so much text.
    pub(super) fn unpack(&mut self, frame: &[u8], text_bytes: usize, text: &mut Vec<u8>) -> io::Result<()> {
        if text_bytes > FRAME_BYTES_MAX {
            return Err(damaged("a frame is too large"));
        }
        text.clear();
        text.reserve_exact(text_bytes);
        match self.0.decompress_to_buffer(frame, text) {
            Ok(size_bytes) if size_bytes == text_bytes => Ok(()),
            _ => Err(damaged("a frame cannot be decompressed")),
        }
    }
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

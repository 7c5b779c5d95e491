//! Which frames each trace is in, so that few pages tell it. Pure.
//!
//! A pair is a hash (4 bytes) and the number of a frame (2 bytes). Pages are full of them, so none goes over the end of
//! its page: the first hash of each page tells which ones to read.

use std::{io, ops::Range};

use super::{fields::Fields, pages::CONTENTS_BYTES};
use crate::entry::TraceId;

const PAIR_BYTES: usize = 6;
const PAIRS: usize = CONTENTS_BYTES / PAIR_BYTES;
const _: () = assert!(CONTENTS_BYTES.is_multiple_of(PAIR_BYTES), "a page is full of pairs");

/// A hash of the digits. Ids that are random get hashes that are: of two traces in a segment of a million entries it is
/// the same for one in four thousand, for which a frame is read in vain.
pub(super) fn hash(id: &TraceId) -> u32 {
    crc32fast::hash(id.as_str().as_bytes())
}

/// Turns pairs into bytes: the fan and the traces.
pub(super) fn encode(mut pairs: Vec<(u32, u16)>) -> (Vec<u8>, Vec<u8>) {
    pairs.sort_unstable();
    pairs.dedup();
    let (mut fan, mut traces) = (Vec::new(), Vec::with_capacity(pairs.len() * PAIR_BYTES));
    for page in pairs.chunks(PAIRS) {
        fan.extend_from_slice(&page[0].0.to_le_bytes());
        for (hash, frame) in page {
            traces.extend_from_slice(&hash.to_le_bytes());
            traces.extend_from_slice(&frame.to_le_bytes());
        }
    }
    (fan, traces)
}

/// Reads the fan.
pub(super) fn fan(bytes: &[u8]) -> Vec<u32> {
    let (hashes, _) = bytes.as_chunks();
    hashes.iter().map(|hash| u32::from_le_bytes(*hash)).collect()
}

/// The pages, of those in `fan`, that may have pairs with a hash.
pub(super) fn pages(fan: &[u32], hash: u32) -> Range<usize> {
    // The page before the first that starts with it may end with it.
    let start = fan.partition_point(|first| *first < hash).saturating_sub(1);
    let end = fan.partition_point(|first| *first <= hash);
    start..end.max(start)
}

/// Appends the frames of a hash that are among the pairs of `bytes`.
pub(super) fn find(bytes: &[u8], hash: u32, frames: &mut Vec<u16>) -> io::Result<()> {
    for pair in bytes.chunks_exact(PAIR_BYTES) {
        let mut pair = Fields(pair);
        if pair.u32()? == hash {
            frames.push(pair.u16()?);
        }
    }
    Ok(())
}

//! Which frames each trace is in, so that few pages tell it. Pure.
//!
//! A run is the upper 24 bits of a hash (3 bytes), the number of a frame that has a trace of that hash (2 bytes), and how
//! many frames right after it have it, too (1 byte). Pages are full of them, so none goes over the end of its page: the
//! first hash of each page tells which ones to read.

use std::{io, ops::Range};

use super::{fields::Fields, pages::CONTENTS_BYTES};
use crate::entry::TraceId;

const RUN_BYTES: usize = 6;
const RUNS: usize = CONTENTS_BYTES / RUN_BYTES;
const _: () = assert!(CONTENTS_BYTES.is_multiple_of(RUN_BYTES), "a page is full of runs");

/// A hash of the digits. Ids that are random get hashes that are.
pub(super) fn hash(id: &TraceId) -> u32 {
    crc32fast::hash(id.as_str().as_bytes())
}

/// What is kept of a hash. It is the same for one of a thousand traces that are looked for in vain in a segment of twenty
/// thousand: a frame is read for it then, or a few.
fn key(hash: u32) -> u32 {
    hash >> 8
}

/// Some frames in a row that have a trace.
#[derive(Debug)]
struct Run {
    key: u32,
    first: u16,
    more: u8,
}

impl Run {
    /// Takes another frame of a hash, if it is the next one. Returns whether it did.
    fn take(&mut self, key: u32, frame: u16) -> bool {
        let is_next = self.key == key && u32::from(frame) == u32::from(self.first) + u32::from(self.more) + 1;
        let more = self.more.checked_add(1).filter(|_| is_next);
        self.more = more.unwrap_or(self.more);
        more.is_some()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.to_le_bytes()[..3]);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.push(self.more);
    }
}

/// Turns pairs of a hash and a frame, in order, into bytes: the fan and the traces.
pub(super) fn encode(pairs: &[(u32, u16)]) -> (Vec<u8>, Vec<u8>) {
    let mut runs = Vec::<Run>::new();
    for (hash, frame) in pairs {
        let (key, first) = (key(*hash), *frame);
        if !runs.last_mut().is_some_and(|run| run.take(key, first)) {
            runs.push(Run { key, first, more: 0 });
        }
    }
    let (mut fan, mut traces) = (Vec::new(), Vec::with_capacity(runs.len() * RUN_BYTES));
    for page in runs.chunks(RUNS) {
        fan.extend_from_slice(&page[0].key.to_le_bytes());
        for run in page {
            run.encode(&mut traces);
        }
    }
    (fan, traces)
}

/// Reads the fan.
pub(super) fn fan(bytes: &[u8]) -> Vec<u32> {
    let (keys, _) = bytes.as_chunks();
    keys.iter().map(|key| u32::from_le_bytes(*key)).collect()
}

/// The pages, of those in `fan`, that may have runs of a hash.
pub(super) fn pages(fan: &[u32], hash: u32) -> Range<usize> {
    let key = key(hash);
    // The page before the first that starts with it may end with it.
    let start = fan.partition_point(|first| *first < key).saturating_sub(1);
    let end = fan.partition_point(|first| *first <= key);
    start..end.max(start)
}

/// Appends the frames of a hash that are in the runs of `bytes`.
pub(super) fn find(bytes: &[u8], hash: u32, frames: &mut Vec<u16>) -> io::Result<()> {
    let key = key(hash).to_le_bytes();
    for run in bytes.chunks_exact(RUN_BYTES).filter(|run| run[..3] == key[..3]) {
        let mut run = Fields(&run[3..]);
        let (first, more) = (run.u16()?, run.u8()?);
        frames.extend(first..=first.saturating_add(u16::from(more)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn the_frames_of_a_hash_are_found_and_none_of_another_key(
            pairs in btree_set((prop_oneof![0..2_000_u32, any::<u32>()], 0..600_u16), 0..3_000),
        ) {
            let pairs: Vec<_> = pairs.into_iter().collect();
            let (fan, traces) = encode(&pairs);
            let fan = super::fan(&fan);
            for (hash, _) in pairs.iter().step_by(97) {
                let pages = pages(&fan, *hash);
                let end = traces.len().min(pages.end * CONTENTS_BYTES);
                let mut found = Vec::new();
                find(&traces[pages.start * CONTENTS_BYTES..end], *hash, &mut found)?;
                let expected = pairs.iter().filter(|(other, _)| key(*other) == key(*hash));
                let mut expected: Vec<_> = expected.map(|(_, frame)| *frame).collect();
                expected.sort_unstable();
                found.sort_unstable();
                found.dedup();
                expected.dedup();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn frames_in_a_row_take_one_run_of_six_bytes() {
        let pairs: Vec<_> = (7..=262).map(|frame| (0xABCD_EF01, frame)).collect();
        let (_, traces) = encode(&pairs);
        assert_eq!(traces, [0xEF, 0xCD, 0xAB, 7, 0, 255]);
    }
}

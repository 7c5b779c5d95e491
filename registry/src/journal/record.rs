//! One record of a segment: its frame, and what it says. Pure.
//!
//! A frame is a marker, the length of the payload, the offset that was known to be synced when it was written, and a
//! checksum, all little-endian, and then the payload, a protobuf message. The checksum covers the segment's salt and the
//! record's place besides: nothing that was written elsewhere, or that a registrant put into its metadata, passes for a
//! record here.

use homeroom::{
    model::{Change, Epoch, Incarnation, Instance, InstanceKey, Revision},
    proto::registry::v1 as proto,
};
use prost::{Message, Oneof};

/// What a record begins with: bytes that no text has.
const MARKER: [u8; 4] = [0xf7, 0xa5, 0xfe, 0x52];
/// The size of a frame without its payload.
pub(super) const FRAME_BYTES: usize = 20;

/// What a segment is marked with, and what its checksums begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) u64);

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'b> {
    pub(super) payload: &'b [u8],
    /// The offset up to which the segment was known to be synced when this was written.
    pub(super) synced: u64,
    /// Where the next record begins.
    pub(super) end: usize,
}

/// Puts a record at the end of `bytes`; it is to be at `offset` in its segment.
pub(super) fn put(bytes: &mut Vec<u8>, salt: Salt, offset: u64, synced: u64, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a payload is smaller than a message of the API may be");
    bytes.extend_from_slice(&MARKER);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&synced.to_le_bytes());
    bytes.extend_from_slice(&checksum(salt, offset, synced, payload).to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// The record at `offset` of a segment; `None` when there is no whole and valid one.
pub(super) fn get(segment: &[u8], salt: Salt, offset: usize) -> Option<Frame<'_>> {
    let start = offset.checked_add(FRAME_BYTES)?;
    let frame = segment.get(offset..start)?;
    let (marker, numbers) = frame.split_at(MARKER.len());
    let length = u32::from_le_bytes(numbers[..4].try_into().ok()?);
    let synced = u64::from_le_bytes(numbers[4..12].try_into().ok()?);
    let sum = u32::from_le_bytes(numbers[12..].try_into().ok()?);
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    if marker != MARKER {
        return None;
    }
    let payload = segment.get(start..end)?;
    (checksum(salt, offset as u64, synced, payload) == sum).then_some(Frame { payload, synced, end })
}

/// The first valid records after `offset`, wherever they begin.
pub(super) fn scan(segment: &[u8], salt: Salt, offset: usize) -> impl Iterator<Item = Frame<'_>> {
    let mut next = offset;
    std::iter::from_fn(move || {
        loop {
            let rest = segment.get(next..)?;
            next += rest.windows(MARKER.len()).position(|window| window == MARKER)?;
            match get(segment, salt, next) {
                Some(frame) => {
                    next = frame.end;
                    return Some(frame);
                }
                None => next += 1,
            }
        }
    })
}

fn checksum(salt: Salt, offset: u64, synced: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.0.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&(payload.len() as u64).to_le_bytes());
    hasher.update(&synced.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The payload of a record.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    /// `None` for an entry of a later version.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) kind: Option<Kind>,
}

/// What a record says.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    /// The first record of a segment.
    #[prost(message, tag = "1")]
    Head(Head),
    /// An instance as it stood when the segment was begun.
    #[prost(message, tag = "2")]
    Instance(proto::Instance),
    /// A change.
    #[prost(message, tag = "3")]
    Change(proto::Change),
    /// The content of an instance was registered again.
    #[prost(message, tag = "4")]
    Reaffirmed(Reaffirmed),
    /// A registry begins to write here.
    #[prost(message, tag = "5")]
    Opened(Opened),
    /// A registry has ended in good order.
    #[prost(message, tag = "6")]
    Closed(Closed),
}

/// An [`Entry`] as it is written of the model, which has the bytes of its messages.
#[derive(Clone, PartialEq, Message)]
struct ReadyEntry {
    #[prost(bytes = "vec", tag = "2")]
    instance: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    change: Vec<u8>,
}

/// What a segment starts from. That many records of instances follow it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(uint64, tag = "1")]
    pub(super) epoch: u64,
    #[prost(uint64, tag = "2")]
    pub(super) revision: u64,
    #[prost(uint64, tag = "3")]
    pub(super) last_incarnation: u64,
    #[prost(uint64, tag = "4")]
    pub(super) instances: u64,
    #[prost(string, tag = "5")]
    pub(super) boot_id: String,
}

/// An incarnation without a change.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Reaffirmed {
    #[prost(string, tag = "1")]
    pub(super) service: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(uint64, tag = "3")]
    pub(super) incarnation: u64,
}

/// Who writes from here on.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Opened {
    /// What names the time between two starts of the machine.
    #[prost(string, tag = "1")]
    pub(super) boot_id: String,
    /// The epoch from here on.
    #[prost(uint64, tag = "2")]
    pub(super) epoch: u64,
}

/// Nothing follows but another [`Opened`].
#[derive(Clone, PartialEq, Message)]
pub(super) struct Closed {}

impl Head {
    pub(super) fn position(&self) -> (Epoch, Revision, Incarnation) {
        (
            Epoch(self.epoch),
            Revision(self.revision),
            Incarnation(self.last_incarnation),
        )
    }
}

impl Reaffirmed {
    pub(super) fn new(key: &InstanceKey, incarnation: Incarnation) -> Self {
        Self {
            service: key.service.to_string(),
            id: key.id.to_string(),
            incarnation: incarnation.0,
        }
    }
}

impl Kind {
    /// The payload of a record that says this.
    pub(super) fn payload(self) -> Vec<u8> {
        Entry { kind: Some(self) }.encode_to_vec()
    }
}

/// The payload of a record of an instance.
pub(super) fn of_instance(instance: &Instance) -> Vec<u8> {
    let entry = ReadyEntry {
        instance: instance.encode_to_vec(),
        ..Default::default()
    };
    entry.encode_to_vec()
}

/// The payload of a record of a change.
pub(super) fn of_change(change: &Change) -> Vec<u8> {
    let entry = ReadyEntry {
        change: change.encode_to_vec(),
        ..Default::default()
    };
    entry.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: Salt = Salt(7);

    fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            let offset = bytes.len() as u64;
            put(&mut bytes, SALT, offset, offset, payload);
        }
        bytes
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)
    }

    proptest! {
        #[test]
        fn what_was_put_is_got(payloads in payloads()) {
            let bytes = segment(&payloads);
            let mut offset = 0;
            for payload in &payloads {
                let frame = get(&bytes, SALT, offset).expect("a record");
                prop_assert_eq!(frame.payload, &payload[..]);
                prop_assert_eq!(frame.synced, offset as u64);
                offset = frame.end;
            }
            prop_assert_eq!(offset, bytes.len());
            prop_assert_eq!(scan(&bytes, SALT, 0).count(), payloads.len());
        }

        #[test]
        fn a_record_with_any_bit_flipped_is_none(payloads in payloads(), bit in any::<prop::sample::Index>()) {
            let mut bytes = segment(&payloads[..1]);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(get(&bytes, SALT, 0), None);
        }

        #[test]
        fn a_record_that_is_cut_is_none(payloads in payloads(), cut in any::<prop::sample::Index>()) {
            let bytes = segment(&payloads[..1]);
            prop_assert_eq!(get(&bytes[..cut.index(bytes.len())], SALT, 0), None);
        }
    }

    #[test]
    fn a_record_holds_at_its_place_and_in_its_segment_alone() {
        let bytes = segment(&[b"payload".to_vec()]);
        assert_eq!(get(&bytes, Salt(8), 0), None);
        let mut moved = vec![0; 4];
        moved.extend_from_slice(&bytes);
        assert_eq!(get(&moved, SALT, 4), None);
    }

    #[test]
    fn records_after_garbage_are_found() {
        let mut bytes = segment(&[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        let second = get(&bytes, SALT, 0).expect("a record").end;
        bytes[second + FRAME_BYTES] ^= 1;
        assert_eq!(get(&bytes, SALT, second), None);
        let found: Vec<_> = scan(&bytes, SALT, second).map(|frame| frame.payload).collect();
        assert_eq!(found, [b"three"]);
    }
}

//! What is known of a frame, or of all frames of a segment. Pure.

use std::io;

use super::fields::{Fields, put_time};
use crate::{
    entry::{Head, Severity, Time},
    store::{
        Kind, Wanted, damaged,
        index::{Position, SEQUENCE_MAX},
    },
};

const LOG: u8 = 1;
const SPAN: u8 = 2;

/// What some entries are, as far as it is the same for all services and traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest {
    earliest: Time,
    latest: Time,
    /// A bit for each severity, the least one's the lowest.
    severities: u8,
    /// A bit for log records, and one for spans.
    kinds: u8,
}

impl Digest {
    /// Of no entry.
    pub(super) const EMPTY: Self = Self {
        earliest: Time::MAX,
        latest: Time::MIN,
        severities: 0,
        kinds: 0,
    };

    pub(super) fn add(&mut self, entry: &Head<'_>) {
        self.join(&Self {
            earliest: entry.time,
            latest: entry.time,
            severities: bit(entry.severity),
            kinds: if entry.is_span { SPAN } else { LOG },
        });
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.earliest = self.earliest.min(other.earliest);
        self.latest = self.latest.max(other.latest);
        self.severities |= other.severities;
        self.kinds |= other.kinds;
    }

    /// Whether one of the entries may be wanted.
    pub(super) fn may_have(&self, wanted: &Wanted) -> bool {
        let kinds = match wanted.kind {
            Kind::Log => LOG,
            Kind::Span => SPAN,
            Kind::Any => LOG | SPAN,
        };
        self.kinds & kinds != 0
            && wanted.start.is_none_or(|start| self.latest >= start)
            && wanted.end.is_none_or(|end| self.earliest < end)
            && wanted.min_severity.is_none_or(|least| self.severities >= bit(least))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_time(self.earliest, out);
        put_time(self.latest, out);
        out.extend_from_slice(&[self.severities, self.kinds]);
    }

    fn decode(fields: &mut Fields<'_>) -> io::Result<Self> {
        Ok(Self {
            earliest: fields.time()?,
            latest: fields.time()?,
            severities: fields.u8()?,
            kinds: fields.u8()?,
        })
    }
}

fn bit(severity: Severity) -> u8 {
    1 << severity as u8
}

/// A frame of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Frame {
    /// Where it starts in the file.
    pub(in crate::store) offset: u64,
    /// How long it is in the file.
    pub(in crate::store) size_bytes: usize,
    /// Where its text starts in the text of the segment, as far as that is known.
    pub(in crate::store) text_offset: u64,
    /// How long its text is.
    pub(in crate::store) text_bytes: usize,
    /// The CRC-32 of the bytes in the file.
    pub(in crate::store) checksum: u32,
    /// Where the walk over the lines is at its start: the number of the last entry, and the damaged lines since.
    pub(in crate::store) before: Position,
    /// The number of the last entry in it.
    pub(in crate::store) last: u64,
    /// How many entries it has.
    pub(in crate::store) entries: u32,
    /// Whether each line is an entry, of the number after that of the line before.
    pub(in crate::store) is_whole: bool,
    pub(super) digest: Digest,
}

impl Frame {
    /// The least number that an entry in it may have.
    pub(in crate::store) fn first(&self) -> u64 {
        self.before.last + 1
    }

    /// Appends it: 8, 4, 8, 4, 4, 8, 8, 4 and 1 bytes, then 26 of times, severities and kinds.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let size = |size_bytes: usize| u32::try_from(size_bytes).expect("a frame is far smaller than 4 GiB");
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&size(self.size_bytes).to_le_bytes());
        out.extend_from_slice(&self.text_offset.to_le_bytes());
        out.extend_from_slice(&size(self.text_bytes).to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
        out.extend_from_slice(&self.before.last.to_le_bytes());
        out.extend_from_slice(&self.before.damaged.to_le_bytes());
        out.extend_from_slice(&self.last.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.push(self.is_whole.into());
        self.digest.encode(out);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> io::Result<Self> {
        let frame = Self {
            offset: fields.u64()?,
            size_bytes: fields.u32()? as usize,
            text_offset: fields.u64()?,
            text_bytes: fields.u32()? as usize,
            checksum: fields.u32()?,
            before: Position {
                last: fields.u64()?,
                damaged: fields.u64()?,
            },
            last: fields.u64()?,
            entries: fields.u32()?,
            is_whole: fields.u8()? == 1,
            digest: Digest::decode(fields)?,
        };
        if frame.before.last > frame.last || frame.last > SEQUENCE_MAX {
            return Err(damaged("a number is out of bounds"));
        }
        Ok(frame)
    }
}

/// What is known of a segment as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Totals {
    /// The size of the file.
    pub(in crate::store) file_bytes: u64,
    /// The size of its text.
    pub(in crate::store) text_bytes: u64,
    /// The number in its name.
    pub(in crate::store) first: u64,
    /// The number of its last entry; one below `first` when it has none.
    pub(in crate::store) last: u64,
    /// The number that may come next: none that a damaged line may have had.
    pub(in crate::store) next: u64,
    /// How many entries it has.
    pub(in crate::store) entries: u64,
    /// How many stretches of the file are damaged.
    pub(in crate::store) damaged: u64,
    /// When it was sealed: no entry was written later, whatever its time says.
    pub(in crate::store) sealed: Time,
    pub(super) digest: Digest,
}

impl Totals {
    /// The greatest time of an entry, but none that was still to come when it was sealed.
    pub(in crate::store) fn latest(&self) -> Time {
        self.digest.latest.min(self.sealed)
    }

    /// Whether one of the entries may be wanted, as far as that is told without a look at services and traces.
    pub(in crate::store) fn may_have(&self, wanted: &Wanted) -> bool {
        self.digest.may_have(wanted)
    }

    /// Appends it: seven numbers of 8 bytes, a time, then times, severities and kinds.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let numbers = [
            self.file_bytes,
            self.text_bytes,
            self.first,
            self.last,
            self.next,
            self.entries,
            self.damaged,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_time(self.sealed, out);
        self.digest.encode(out);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> io::Result<Self> {
        Ok(Self {
            file_bytes: fields.u64()?,
            text_bytes: fields.u64()?,
            first: fields.u64()?,
            last: fields.u64()?,
            next: fields.u64()?,
            entries: fields.u64()?,
            damaged: fields.u64()?,
            sealed: fields.time()?,
            digest: Digest::decode(fields)?,
        })
    }
}

//! Which frames each service is in. Pure.
//!
//! As bytes: how many names (2 bytes), for each its length (1 byte), itself, and its frames, then the frames with
//! services that are not named. Frames are a bit each, the first frame's the lowest of the first byte.

use std::{collections::BTreeMap, io};

use super::fields::{Fields, put_text};
use crate::entry::NAME_BYTES_MAX;

/// How many services are named: what many more would take is more than they are worth. The others are told from these,
/// but not from one another.
const SERVICES_MAX: usize = 1024;

/// A bit for each frame; those behind its end are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u8>);

impl Bits {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    fn set(&mut self, frame: usize) {
        if self.0.len() <= frame / 8 {
            self.0.resize(frame / 8 + 1, 0);
        }
        self.0[frame / 8] |= 1 << (frame % 8);
    }

    pub(super) fn has(&self, frame: usize) -> bool {
        self.0.get(frame / 8).is_some_and(|byte| byte >> (frame % 8) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Leaves those that both have.
    pub(super) fn meet(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (byte, other) in self.0.iter_mut().zip(&other.0) {
            *byte &= other;
        }
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (byte, other) in self.0.iter_mut().zip(&other.0) {
            *byte |= other;
        }
    }

    fn encode(&self, frames: usize, out: &mut Vec<u8>) {
        let end = out.len() + frames.div_ceil(8);
        out.extend_from_slice(&self.0);
        out.resize(end, 0);
    }

    fn decode(fields: &mut Fields<'_>, frames: usize) -> io::Result<Self> {
        Ok(Self(fields.bytes(frames.div_ceil(8))?.to_vec()))
    }
}

/// The services of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Services {
    named: BTreeMap<Box<str>, Bits>,
    others: Bits,
}

impl Services {
    /// Notes that an entry of a frame is of a service.
    pub(super) fn add(&mut self, service: &str, frame: usize) {
        if let Some(bits) = self.named.get_mut(service) {
            bits.set(frame);
        } else if self.named.len() < SERVICES_MAX && service.len() <= NAME_BYTES_MAX {
            self.named.entry(service.into()).or_default().set(frame);
        } else {
            self.others.set(frame);
        }
    }

    /// The frames that may have an entry of one of some services.
    pub(super) fn frames<'a>(&self, services: impl Iterator<Item = &'a str>) -> Bits {
        let mut frames = Bits::default();
        for service in services {
            frames.join(self.named.get(service).unwrap_or(&self.others));
        }
        frames
    }

    /// About how much memory they take.
    pub(super) fn size_bytes(&self) -> usize {
        let each = self.named.iter();
        each.map(|(name, bits)| 64 + name.len() + bits.0.len()).sum()
    }

    pub(super) fn encode(&self, frames: usize) -> Vec<u8> {
        let count = u16::try_from(self.named.len()).expect("they are at most so many");
        let mut out = count.to_le_bytes().to_vec();
        for (name, bits) in &self.named {
            put_text(name, &mut out);
            bits.encode(frames, &mut out);
        }
        self.others.encode(frames, &mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8], frames: usize) -> io::Result<Self> {
        let mut fields = Fields(bytes);
        let mut named = BTreeMap::new();
        for _ in 0..fields.u16()? {
            let name = fields.text()?;
            named.insert(name.into(), Bits::decode(&mut fields, frames)?);
        }
        let others = Bits::decode(&mut fields, frames)?;
        Ok(Self { named, others })
    }
}

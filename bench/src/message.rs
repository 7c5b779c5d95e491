//! What the load reads of answers: whole gRPC messages, and how many changes one tells. Pure.

/// Cuts one stream into messages.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// The beginning of a message whose rest has not come yet.
    partial: Vec<u8>,
}

/// Compression flag and size.
const PREFIX_BYTES: usize = 5;

impl Messages {
    /// Tells the messages that are complete with these bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(&[u8])) {
        if self.partial.is_empty() {
            let rest = cut(bytes, &mut tell);
            self.partial.extend_from_slice(rest);
            return;
        }
        self.partial.extend_from_slice(bytes);
        let rest = cut(&self.partial, &mut tell).len();
        self.partial.drain(..self.partial.len() - rest);
        if rest == 0 {
            // A snapshot is long, and what follows it short.
            self.partial = Vec::new();
        }
    }
}

fn cut<'b>(mut bytes: &'b [u8], tell: &mut impl FnMut(&[u8])) -> &'b [u8] {
    while let [_, a, b, c, d, rest @ ..] = bytes {
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        if rest.len() < size {
            break;
        }
        tell(&rest[..size]);
        bytes = &bytes[PREFIX_BYTES + size..];
    }
    bytes
}

/// What a message of a watch tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Changes: instances that are updated or removed, or etcd's events.
    pub(crate) changes: u64,
    /// Whether it is a snapshot; its instances are no changes.
    pub(crate) reset: bool,
    /// Whether the next message continues it.
    pub(crate) more: bool,
}

impl Told {
    /// Reads the outermost fields of a `WatchServicesResponse` of the registry (3 `reset`, 4 `updated`, 5 `removed`,
    /// 9 `more`), or of a `WatchResponse` of etcd (3 `created`, 11 `events`): their numbers do not collide.
    pub(crate) fn read(mut message: &[u8]) -> Option<Self> {
        let mut told = Self::default();
        while !message.is_empty() {
            let tag = varint(&mut message)?;
            let size = match tag & 7 {
                0 => {
                    let value = varint(&mut message)?;
                    match tag >> 3 {
                        3 => told.reset = value != 0,
                        9 => told.more = value != 0,
                        _ => {}
                    }
                    0
                }
                1 => 8,
                2 => {
                    told.changes += u64::from(matches!(tag >> 3, 4 | 5 | 11));
                    usize::try_from(varint(&mut message)?).ok()?
                }
                5 => 4,
                _ => return None,
            };
            message = message.get(size..)?;
        }
        Some(told)
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use homeroom::proto::registry::v1::{Instance, InstanceKey, WatchServicesResponse};
    use prost::Message;

    use super::*;
    use crate::proto::etcd;

    #[test]
    fn messages_are_cut_wherever_the_frames_end() {
        let stream = b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c";
        for size in 1..=stream.len() {
            let (mut messages, mut cut) = (Messages::default(), Vec::new());
            for bytes in stream.chunks(size) {
                messages.push(bytes, |message| cut.push(message.to_vec()));
            }
            assert_eq!(cut, [b"ab".to_vec(), Vec::new(), b"c".to_vec()], "{size} bytes a frame");
        }
    }

    #[test]
    fn updates_and_removals_are_changes() {
        let message = WatchServicesResponse {
            revision: 1 << 40,
            epoch: 7,
            updated: vec![Instance::default(), Instance::default()],
            removed: vec![InstanceKey::default()],
            view_hash: u64::MAX,
            watch_id: "1-2".to_owned(),
            more: true,
            ..Default::default()
        };
        let told = Told {
            changes: 3,
            reset: false,
            more: true,
        };
        assert_eq!(Told::read(&message.encode_to_vec()), Some(told));
    }

    #[test]
    fn a_snapshot_is_told_apart() {
        let message = WatchServicesResponse {
            reset: true,
            ..Default::default()
        };
        assert!(Told::read(&message.encode_to_vec()).is_some_and(|told| told.reset));
    }

    #[test]
    fn events_of_etcd_are_changes() {
        let message = etcd::WatchResponse {
            created: false,
            events: vec![etcd::Event::default(); 5],
        };
        assert_eq!(Told::read(&message.encode_to_vec()).map(|told| told.changes), Some(5));
    }

    #[test]
    fn what_is_no_message_is_not_counted() {
        assert_eq!(Told::read(b"\x22\x05ab"), None);
    }
}

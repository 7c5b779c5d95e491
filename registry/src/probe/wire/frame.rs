//! The frames of HTTP/2 (RFC 9113, section 4.1).

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;

pub(super) const HEAD_BYTES: usize = 9;
/// The largest payload that a peer may send, as long as it is told nothing else.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16_384;

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// How long the payload of a frame is that begins so; `None` while its head is not there.
    pub(super) fn payload_length(bytes: &[u8]) -> Option<usize> {
        let head = bytes.get(..HEAD_BYTES)?;
        Some(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize)
    }

    /// Takes the first frame; `None` while it is not all there.
    pub(super) fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (frame, rest) = bytes.split_at_checked(HEAD_BYTES + Self::payload_length(bytes)?)?;
        let (head, payload) = frame.split_at(HEAD_BYTES);
        *bytes = rest;
        Some(Self {
            kind: head[3],
            flags: head[4],
            // The first bit is reserved.
            stream: number(&head[5..]).unwrap_or_default() & !(1 << 31),
            payload,
        })
    }

    pub(super) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority; `None` when there is not even that.
    pub(super) fn content(&self) -> Option<&'a [u8]> {
        let mut content = self.payload;
        if self.is(PADDED) {
            let (padding, rest) = content.split_first()?;
            content = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
        }
        if self.kind == HEADERS && self.is(PRIORITY) {
            content = content.get(PRIORITY_BYTES..)?;
        }
        Some(content)
    }
}

/// The number in the first four bytes.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

/// Writes a frame.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    out.extend([length[1], length[2], length[3], kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What an error code of RST_STREAM or GOAWAY is called (RFC 9113, section 7).
pub(super) fn reason(code: u32) -> &'static str {
    const REASONS: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    REASONS.get(code as usize).copied().unwrap_or("an unknown error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_once_it_is_all_there() {
        let mut bytes = Vec::new();
        put(&mut bytes, DATA, END_STREAM, 3, b"abc");
        for length in 0..bytes.len() {
            assert_eq!(Frame::take(&mut &bytes[..length]), None);
        }
        bytes.push(9);
        let mut rest = &bytes[..];
        let frame = Frame::take(&mut rest).expect("a frame");
        assert_eq!(
            (frame.kind, frame.stream, frame.payload, rest),
            (DATA, 3, &b"abc"[..], &[9][..])
        );
        assert!(frame.is(END_STREAM) && !frame.is(END_HEADERS));
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let frame = |kind, flags, payload| Frame {
            kind,
            flags,
            stream: 1,
            payload,
        };
        assert_eq!(frame(DATA, PADDED, b"\x02abc\0\0").content(), Some(&b"abc"[..]));
        assert_eq!(
            frame(HEADERS, PADDED | PRIORITY, b"\x01\0\0\0\0\0abc\0").content(),
            Some(&b"abc"[..])
        );
        for broken in [
            frame(DATA, PADDED, b""),
            frame(DATA, PADDED, b"\x02a"),
            frame(HEADERS, PRIORITY, b"abc"),
        ] {
            assert_eq!(broken.content(), None);
        }
    }
}

//! The Huffman code of header fields (RFC 7541, appendix B).

/// The bytes whose codes have so many bits. Among codes of one length the order is that of the bytes, and longer codes
/// follow on shorter ones: that is all it takes to tell them apart.
const BYTES: [(u32, &[u8]); 21] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, &[92, 195, 208]),
    (20, &[128, 130, 131, 162, 184, 194, 224, 226]),
    (21, &[153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230]),
    (
        22,
        &[
            129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
            196, 198, 228, 232, 233,
        ],
    ),
    (
        23,
        &[
            1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180,
            182, 183, 188, 191, 197, 231, 239,
        ],
    ),
    (24, &[9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237]),
    (25, &[199, 207, 234, 235]),
    (
        26,
        &[
            192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255,
        ],
    ),
    (
        27,
        &[
            203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
        ],
    ),
    (
        28,
        &[
            2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220,
            249,
        ],
    ),
    (30, &[10, 13, 22]),
];
/// What is left at the end is less than a byte, and the beginning of the longest code: all ones.
const PADDING_BITS_MAX: u32 = 7;

/// Decodes a string; `None` when it is none.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(coded.len() * 2);
    let mut bits = Bits { coded, at: 0 };
    while bits.left() > 0 {
        match bits.next_byte() {
            Some(byte) => decoded.push(byte),
            None => return bits.is_padding().then_some(decoded),
        }
    }
    Some(decoded)
}

struct Bits<'a> {
    coded: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn left(&self) -> usize {
        self.coded.len() * 8 - self.at
    }

    fn bit(&self, at: usize) -> u32 {
        u32::from(self.coded[at / 8] >> (7 - at % 8) & 1)
    }

    /// Takes the next code; `None`, and nothing is taken, when there is no whole one.
    fn next_byte(&mut self) -> Option<u8> {
        let (mut code, mut length, mut first) = (0, 0, 0);
        for (bits, bytes) in BYTES {
            if self.left() < bits as usize {
                return None;
            }
            first <<= bits - length;
            while length < bits {
                code = code << 1 | self.bit(self.at + length as usize);
                length += 1;
            }
            if let Some(byte) = bytes.get((code - first) as usize) {
                self.at += bits as usize;
                return Some(*byte);
            }
            first += u32::try_from(bytes.len()).expect("there are 256 bytes");
        }
        None
    }

    fn is_padding(&self) -> bool {
        self.left() <= PADDING_BITS_MAX as usize && (self.at..self.coded.len() * 8).all(|at| self.bit(at) == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        // RFC 7541, appendices C.4 and C.6.
        for (coded, text) in [
            (
                &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
                "www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x64\x02", "302"),
            (
                b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (b"", ""),
        ] {
            assert_eq!(decode(coded).as_deref(), Some(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn every_byte_has_a_code_of_its_own_and_nothing_is_left_over() {
        let mut bytes: Vec<_> = BYTES.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        // The one code that is missing is that of the end, which is never sent.
        let used: u64 = BYTES
            .iter()
            .map(|(bits, bytes)| (bytes.len() as u64) << (30 - bits))
            .sum();
        assert_eq!(used + 1, 1 << 30);
    }

    #[test]
    fn what_ends_in_anything_but_padding_is_no_string() {
        for broken in [&b"\xff\xff"[..], b"\x00", b"\x07\xff"] {
            assert_eq!(decode(broken), None, "{broken:x?}");
        }
    }
}

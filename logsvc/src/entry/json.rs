//! JSON that no text can break, forge or make a terminal obey, written without a detour.

use super::{HexId, Time};

/// A JSON object that is being appended to a text.
pub(crate) struct Object<'o> {
    out: &'o mut Vec<u8>,
    /// What stands before the next key.
    separator: u8,
}

impl<'o> Object<'o> {
    /// Begins an object.
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    /// Some keys that are to follow others, in an object that is written elsewhere.
    pub(crate) fn part(out: &'o mut Vec<u8>) -> Self {
        Self { out, separator: b',' }
    }

    pub(crate) fn end(self) {
        let end: &[u8] = if self.separator == b'{' { b"{}" } else { b"}" };
        self.out.extend_from_slice(end);
    }

    /// Appends keys that were written as a part.
    #[inline]
    pub(crate) fn append(&mut self, part: &[u8]) {
        self.out.extend_from_slice(part);
    }

    // Keys are known where they are written: nothing is left to be asked of them there.
    #[inline(always)]
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(&[self.separator, b'"']);
        self.separator = b',';
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A value that needs no escapes.
    #[inline(always)]
    pub(crate) fn word(&mut self, key: &str, word: &str) {
        self.quoted(key, word.as_bytes());
    }

    #[inline(always)]
    fn quoted(&mut self, key: &str, text: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    #[inline(always)]
    pub(crate) fn text(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.key(key);
        text(value.as_ref(), self.out);
    }

    /// A text that is left out when it is empty.
    pub(crate) fn optional(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    #[inline(always)]
    pub(crate) fn time(&mut self, key: &str, time: Time) {
        self.key(key);
        self.out.push(b'"');
        time.write(self.out);
        self.out.push(b'"');
    }

    /// An id that is left out when there is none.
    #[inline(always)]
    pub(crate) fn id<const DIGITS: usize>(&mut self, key: &str, id: Option<&HexId<DIGITS>>) {
        if let Some(id) = id {
            self.quoted(key, id.as_bytes());
        }
    }

    /// An object of texts, that is left out when it is empty.
    pub(crate) fn pairs<K: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, key: &str, pairs: impl IntoIterator<Item = (K, V)>) {
        let mut pairs = pairs.into_iter();
        let Some(first) = pairs.next() else { return };
        self.key(key);
        let mut separator = b'{';
        for (key, value) in std::iter::once(first).chain(pairs) {
            self.out.push(separator);
            text(key.as_ref(), self.out);
            self.out.push(b':');
            text(value.as_ref(), self.out);
            separator = b',';
        }
        self.out.push(b'}');
    }

    pub(crate) fn object(&mut self, key: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        object(self.out, write);
    }

    /// A list of objects, that is left out when it is empty.
    pub(crate) fn objects<T>(&mut self, key: &str, items: &[T], write: impl Fn(&T, &mut Object<'_>)) {
        if items.is_empty() {
            return;
        }
        self.key(key);
        let mut separator = b'[';
        for item in items {
            self.out.push(separator);
            object(self.out, |object| write(item, object));
            separator = b',';
        }
        self.out.push(b']');
    }
}

fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::new(out);
    write(&mut object);
    object.end();
}

/// Appends a text in quotes. Escaped is, besides what JSON must, everything that moves a cursor, breaks a line somewhere,
/// or reorders text. What is not UTF-8 stays as it is: the whole line is none then.
pub(crate) fn text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let (plain, rest) = text.split_at(plain_bytes(text));
    out.extend_from_slice(plain);
    if !rest.is_empty() {
        escape(rest, out);
    }
    out.push(b'"');
}

/// Appends a text that begins with a character which may have to be escaped.
#[inline(never)]
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        let mut chars = chunk.valid().chars();
        while let Some(char) = chars.next() {
            escape_char(char, out);
            let (plain, suspect) = chars.as_str().split_at(plain_bytes(chars.as_str().as_bytes()));
            out.extend_from_slice(plain.as_bytes());
            chars = suspect.chars();
        }
        out.extend_from_slice(chunk.invalid());
    }
}

/// How many bytes at the start of a text need no closer look, up to a boundary of characters.
fn plain_bytes(text: &[u8]) -> usize {
    // Many bytes at once: this is where the time of a line goes.
    let first_suspect = |bytes: &[u8]| bytes.iter().position(|byte| SUSPECTS[usize::from(*byte)]);
    let mut plain = 0;
    while let Some(chunk) = text[plain..].first_chunk::<16>() {
        if !is_plain(chunk)
            && let Some(suspect) = first_suspect(chunk)
        {
            return plain + suspect;
        }
        plain += chunk.len();
    }
    // The rest, with some that were looked at already.
    let rest_is_plain = match (text.last_chunk::<16>(), text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(last), ..) => is_plain(last),
        (None, Some(first), Some(last)) => is_plain(first) & is_plain(last),
        _ => false,
    };
    if rest_is_plain {
        return text.len();
    }
    first_suspect(&text[plain..]).map_or(text.len(), |suspect| plain + suspect)
}

/// Whether no byte is below a space, a quote, a backslash, or above a tilde.
fn is_plain<const N: usize>(bytes: &[u8; N]) -> bool {
    // Without a branch, so that one instruction looks at all of them.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    bytes.iter().fold(true, |all, byte| all & is_plain(*byte))
}

/// The bytes that a character which must be escaped can begin with: no other one begins inside of a character.
static SUSPECTS: [bool; 256] = {
    let mut suspects = [false; 256];
    let mut control = 0;
    while control < b' ' {
        suspects[control as usize] = true;
        control += 1;
    }
    let others = [b'"', b'\\', 0x7f, 0xc2, 0xd8, 0xe2, 0xef];
    let mut other = 0;
    while other < others.len() {
        suspects[others[other] as usize] = true;
        other += 1;
    }
    suspects
};

fn escape_char(char: char, out: &mut Vec<u8>) {
    let short = match char {
        '"' | '\\' => char,
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        _ if char < ' ' || is_harmful(char) => return escape_by_number(u32::from(char), out),
        _ => return out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    };
    out.extend_from_slice(&[b'\\', short as u8]);
}

fn escape_by_number(number: u32, out: &mut Vec<u8>) {
    let digit = |shift: u32| b"0123456789abcdef"[(number >> shift) as usize & 15];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// What JSON lets stand, but a terminal, an editor or a reader's eye takes as an instruction. All are of two or three
/// bytes, and begin with one of the [`SUSPECTS`].
fn is_harmful(char: char) -> bool {
    matches!(char,
        '\u{7f}'..='\u{9f}' // DEL and C1: CSI is one character there.
        | '\u{2028}' | '\u{2029}' // Line breaks to editors and JavaScript.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // Bidi controls.
        | '\u{feff}') // The byte order mark.
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As serde_json escapes, and what is harmful besides.
    fn expected(char: char) -> String {
        if is_harmful(char) {
            return format!("\"\\u{:04x}\"", u32::from(char));
        }
        serde_json::to_string(&char).expect("JSON")
    }

    /// Compares the text of a character behind some that need no escapes.
    fn check(char: char, before: usize) {
        let (before, mut out) = ("x".repeat(before), Vec::new());
        text(format!("{before}{char}y").as_bytes(), &mut out);
        let expected = expected(char);
        let expected = format!("\"{before}{}y\"", &expected[1..expected.len() - 1]);
        assert!(out == expected.as_bytes(), "{char:?} behind {} bytes", before.len());
    }

    #[test]
    fn every_character_of_the_first_plane_is_escaped_when_it_must_be() {
        ('\0'..='\u{ffff}')
            .chain(['🎓', char::MAX])
            .for_each(|char| check(char, 0));
    }

    #[test]
    fn a_character_is_escaped_wherever_it_stands() {
        for char in '\0'..='\u{ff}' {
            (1..35).for_each(|before| check(char, before));
        }
    }

    fn check_plain<const N: usize>(byte: u8, other: u8) {
        for at in 0..N {
            let mut bytes = [other; N];
            bytes[at] = byte;
            let is_plain_byte = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            assert_eq!(
                is_plain(&bytes),
                is_plain_byte,
                "{byte:#x} at {at} among {N} of {other:#x}"
            );
        }
    }

    #[test]
    fn bytes_are_plain_when_each_of_them_is() {
        for byte in 0..=u8::MAX {
            for other in [b' ', b'!', b'#', b'[', b']', b'~', b'x'] {
                check_plain::<8>(byte, other);
                check_plain::<16>(byte, other);
            }
        }
    }
}

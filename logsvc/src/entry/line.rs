//! An entry as one line of JSON, which no message can break, forge or make a terminal obey.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

use super::{BatchMark, Entry};

/// What each line starts with: the number comes first, so that it can be put there last.
pub(super) const HEAD: &[u8] = b"{\"seq\":";
/// What the mark of a batch starts with.
pub(super) const BATCH: &[u8] = b",\"batch\":{\"writer\":\"";

/// Appends the line of an entry to `out`, its line break included, still without a number.
///
/// # Panics
/// Never: an entry holds only what JSON can, and `out` takes everything.
pub fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Harmless);
    entry
        .serialize(&mut serializer)
        .expect("an entry can be written as JSON");
    out.push(b'\n');
}

/// A text as it stands in a line, without its quotes: each character for itself, and always in the same way.
///
/// # Panics
/// Never: any text can be written as JSON.
pub fn escaped(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    let mut serializer = serde_json::Serializer::with_formatter(&mut quoted, Harmless);
    text.serialize(&mut serializer)
        .expect("any text can be written as JSON");
    quoted[1..quoted.len() - 1].to_vec()
}

/// Appends a line of [`encode`] to `out`, numbered, and marked when it is the first of a batch of a writer.
pub fn number(sequence: u64, batch: Option<&BatchMark<'_>>, line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    decimal(sequence, out);
    if let Some(batch) = batch {
        out.extend_from_slice(BATCH);
        out.extend_from_slice(batch.writer.as_bytes());
        out.extend_from_slice(b"\",\"number\":");
        decimal(batch.number, out);
        out.extend_from_slice(b",\"entries\":");
        decimal(batch.entries as u64, out);
        out.push(b'}');
    }
    out.push(b',');
    out.extend_from_slice(line.strip_prefix(b"{").unwrap_or(line));
}

fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            break out.extend_from_slice(&digits[start..]);
        }
    }
}

/// Reads a line, with its line break.
///
/// # Errors
/// When it is not whole, or not the line of an entry. Keys of a later version are ignored.
pub fn parse(line: &[u8]) -> io::Result<Entry> {
    let whole = line.strip_suffix(b"\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(serde_json::from_slice(whole)?)
}

/// Reads only the number of a line, which is much cheaper; `None` when it is not at its usual place.
pub fn sequence(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(HEAD)?;
    let digits = &rest[..rest.iter().position(|b| *b == b',')?];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Escapes, besides what JSON must, everything that moves a cursor, breaks a line somewhere, or reorders text.
struct Harmless;

/// What JSON lets stand, but a terminal, an editor or a reader's eye takes as an instruction.
fn is_harmful(char: char) -> bool {
    matches!(char,
        '\u{7f}'..='\u{9f}' // DEL and C1: CSI is one character there.
        | '\u{2028}' | '\u{2029}' // Line breaks to editors and JavaScript.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // Bidi controls.
        | '\u{feff}') // The byte order mark.
}

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_harmful) {
            let mut tail = rest[at..].chars();
            writer.write_all(&rest.as_bytes()[..at])?;
            if let Some(char) = tail.next() {
                write!(writer, "\\u{:04x}", u32::from(char))?;
            }
            rest = tail.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

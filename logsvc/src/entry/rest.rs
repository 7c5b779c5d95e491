//! A line of our own, read from its front: each key where [`line::number`] and [`line::encode`](line::encode) put it.
//!
//! Whatever else a line may be, here it is none: who reads it then asks serde.

use std::borrow::Cow;

use memchr::memchr2;

use super::{BatchMark, Head, HexId, Severity, Time, line};

/// What is left of a line. A method that returns `None` has found something else than it reads, and leaves it anywhere.
pub(super) struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self(line)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Skips a text; stays where it is when there is another one.
    // Keys are known where they are read: a few comparisons are left of them there.
    #[inline(always)]
    pub(super) fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// As for [`Rest::skip`], of two texts in a row.
    pub(super) fn skip_both(&mut self, first: &[u8], second: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(first)?.strip_prefix(second)?;
        Some(())
    }

    /// All up to the span id, as of a log record.
    pub(super) fn head(&mut self) -> Option<Head<'a>> {
        self.skip(line::HEAD)?;
        let sequence = self.number()?;
        let batch = match self.skip(line::BATCH) {
            Some(()) => Some(self.batch_mark()?),
            None => None,
        };
        self.skip(b",\"time\":\"")?;
        let time = self.time()?;
        self.skip(b",\"severity\":\"")?;
        let severity = Severity::read(self.plain()?)?;
        Some(Head {
            sequence,
            batch,
            time,
            severity,
            service: self.optional(b",\"service\":\"")?,
            instance: self.optional(b",\"instance\":\"")?,
            trace_id: match self.skip(b",\"trace_id\":\"") {
                Some(()) => Some(self.id()?),
                None => None,
            },
            is_span: false,
        })
    }

    pub(super) fn time(&mut self) -> Option<Time> {
        Time::read(self.plain()?)
    }

    pub(super) fn id<const DIGITS: usize>(&mut self) -> Option<HexId<DIGITS>> {
        let (digits, rest) = self.0.split_at_checked(DIGITS)?;
        self.0 = rest.strip_prefix(b"\"")?;
        HexId::read(digits)
    }

    /// A number as JSON has it: without zeros in front.
    fn number(&mut self) -> Option<u64> {
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        let is_padded = digits.len() > 1 && digits.starts_with(b"0");
        std::str::from_utf8(digits).ok().filter(|_| !is_padded)?.parse().ok()
    }

    /// A text without escapes, up to its closing quote, which is skipped.
    pub(super) fn plain(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// Appends any text, up to its closing quote, which is skipped. Whether it is UTF-8 and has no control characters is
    /// not asked.
    pub(super) fn text(&mut self, out: &mut Vec<u8>) -> Option<()> {
        loop {
            let (plain, rest) = self.0.split_at(memchr2(b'"', b'\\', self.0)?);
            out.extend_from_slice(plain);
            self.0 = &rest[1..];
            if rest[0] == b'"' {
                return Some(());
            }
            self.escaped(out)?;
        }
    }

    /// Appends what is behind a backslash.
    fn escaped(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let (escape, rest) = self.0.split_first()?;
        self.0 = rest;
        out.push(match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.escaped_by_number(out),
            _ => return None,
        });
        Some(())
    }

    /// Halves of a character are left to serde: we never write any.
    fn escaped_by_number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let (digits, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        let append = |number, digit: &u8| Some(number << 4 | char::from(*digit).to_digit(16)?);
        let char = char::from_u32(digits.iter().try_fold(0, append)?)?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }

    /// The text behind `key`; empty when there is another key.
    fn optional(&mut self, key: &[u8]) -> Option<Cow<'a, str>> {
        match self.skip(key) {
            Some(()) => std::str::from_utf8(self.plain()?).ok().map(Cow::Borrowed),
            None => Some(Cow::default()),
        }
    }

    fn batch_mark(&mut self) -> Option<BatchMark<'a>> {
        let writer = std::str::from_utf8(self.plain()?).ok()?;
        self.skip(b",\"number\":")?;
        let number = self.number()?;
        self.skip(b",\"entries\":")?;
        let entries = usize::try_from(self.number()?).ok()?;
        self.skip(b"}")?;
        Some(BatchMark {
            writer: Cow::Borrowed(writer),
            number,
            entries,
        })
    }

    /// Whether the line ends with a trace id or a span id: with no other key at its end it can look so.
    pub(super) fn ends_with_an_id(&self) -> bool {
        let ends = |key: &[u8], digits: usize| {
            let id = self.0.len().checked_sub(digits + 1);
            id.is_some_and(|id| self.0[..id].ends_with(key) && self.0.ends_with(b"\""))
        };
        ends(b",\"trace_id\":\"", 32) || ends(b",\"span_id\":\"", 16)
    }
}

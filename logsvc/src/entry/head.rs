//! The front of a line: what indexes and filters ask of every line, without the cost of reading all of it.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

use super::{Severity, Time, TraceId, line};

/// What the front of a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The position in the log.
    pub sequence: u64,
    /// Set in the first line of a batch of a writer.
    pub batch: Option<BatchMark<'a>>,
    /// When it happened.
    pub time: Time,
    /// How severe it is.
    pub severity: Severity,
    /// The service that wrote it; empty when not known.
    pub service: Cow<'a, str>,
    /// The id of the instance that wrote it; empty when not known.
    pub instance: Cow<'a, str>,
    /// The trace that it belongs to.
    pub trace_id: Option<TraceId>,
    /// Whether it is a span, not a log record.
    pub is_span: bool,
}

/// What the first line of a batch says of it, so that the files tell which batches of a writer they hold, and whether
/// the last one is whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BatchMark<'a> {
    /// The writer: of the characters `A-Z a-z 0-9 . _ : -`.
    #[serde(borrow)]
    pub writer: Cow<'a, str>,
    /// The number that the writer gave it.
    pub number: u64,
    /// How many entries it has: this line and those after it.
    pub entries: usize,
}

/// The same, wherever the keys are.
#[derive(Deserialize)]
struct Front<'a> {
    seq: u64,
    #[serde(borrow)]
    batch: Option<BatchMark<'a>>,
    time: Time,
    severity: Severity,
    #[serde(default, borrow)]
    service: Cow<'a, str>,
    #[serde(default, borrow)]
    instance: Cow<'a, str>,
    trace_id: Option<TraceId>,
    span: Option<IgnoredAny>,
}

/// Reads the front of a line, with its line break. `None` when it is not whole, or not the line of an entry.
///
/// The rest of the line is hardly looked at: it may be damaged where [`parse`](super::parse) would tell.
pub fn head(line: &[u8]) -> Option<Head<'_>> {
    let whole = line.strip_suffix(b"\n")?;
    let quick = whole.strip_suffix(b"}").and_then(quick);
    quick.or_else(|| serde_json::from_slice::<Front<'_>>(whole).ok().map(Head::from))
}

/// Reads a line without its end where each key is where [`line::number`] and [`line::encode`] put it, and nothing that
/// is asked for is escaped; `None` for all others.
fn quick(line: &[u8]) -> Option<Head<'_>> {
    let mut rest = Rest(line);
    rest.skip(line::HEAD)?;
    let sequence = rest.number()?;
    let batch = match rest.skip(line::BATCH) {
        Some(()) => Some(rest.batch_mark()?),
        None => None,
    };
    rest.skip(b",\"time\":\"")?;
    let time = Time::read(rest.plain()?)?;
    rest.skip(b",\"severity\":\"")?;
    let severity = Severity::read(rest.plain()?)?;
    let service = rest.optional(b",\"service\":\"")?;
    let instance = rest.optional(b",\"instance\":\"")?;
    let trace_id = match rest.skip(b",\"trace_id\":\"") {
        Some(()) => Some(TraceId::read(rest.plain()?)?),
        None => None,
    };
    if rest.skip(b",\"span_id\":\"").is_some() {
        rest.plain()?;
    }
    let is_span = rest.skip(b",\"span\":{").is_some();
    // Lines of the first version have their ids behind the message.
    let is_plain = is_span || (rest.skip(b",\"message\":\"").is_some() && !rest.ends_with_an_id());
    is_plain.then_some(Head {
        sequence,
        batch,
        time,
        severity,
        service,
        instance,
        trace_id,
        is_span,
    })
}

impl<'a> From<Front<'a>> for Head<'a> {
    fn from(front: Front<'a>) -> Self {
        Self {
            sequence: front.seq,
            batch: front.batch,
            time: front.time,
            severity: front.severity,
            service: front.service,
            instance: front.instance,
            trace_id: front.trace_id,
            is_span: front.span.is_some(),
        }
    }
}

/// What is left of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// A text without escapes, up to its closing quote, which is skipped.
    fn plain(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\"")?;
        Some(text)
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
    fn ends_with_an_id(&self) -> bool {
        let ends = |key: &[u8], digits: usize| {
            let id = self.0.len().checked_sub(digits + 1);
            id.is_some_and(|id| self.0[..id].ends_with(key) && self.0.ends_with(b"\""))
        };
        ends(b",\"trace_id\":\"", 32) || ends(b",\"span_id\":\"", 16)
    }
}

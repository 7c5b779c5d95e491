//! The front of a line: what indexes and filters ask of every line, without the cost of reading all of it.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

use super::{Severity, Time, TraceId, rest::Rest};

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
    let mut rest = Rest::of(line);
    let head = rest.head()?;
    if rest.skip(b",\"span_id\":\"").is_some() {
        rest.plain()?;
    }
    let is_span = rest.skip(b",\"span\":{").is_some();
    // Lines of the first version have their ids behind the message.
    let is_plain = is_span || (rest.skip(b",\"message\":\"").is_some() && !rest.ends_with_an_id());
    is_plain.then_some(Head { is_span, ..head })
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

//! An entry of the log: what it may hold, as a message and as one line of text.
//!
//! Pure, and checked once at the edge: an [`Entry`] is valid. Must never import anything of this crate but its own
//! parts.

pub(crate) mod decimal;
mod encoded;
mod head;
mod id;
pub(crate) mod json;
pub(crate) mod line;
mod rest;
mod span;
mod text;
mod time;

use std::collections::BTreeMap;

use homeroom::{model::InvalidField, proto::log::v1 as proto};
use serde::Deserialize;

pub(crate) use self::span::{EVENTS_MAX, SCOPE_BYTES_MAX};
pub use self::{
    encoded::Encoded,
    head::{BatchMark, Head, head},
    id::{HexId, SpanId, TraceId},
    line::{encode, escaped, number, parse, sequence},
    span::{Scope, Span, SpanEvent, SpanKind, SpanLink, SpanStatus},
    time::Time,
};

/// How many entries a batch has at most: what a client can lose at once, and what others wait for.
pub const ENTRIES_MAX: usize = 10_000;
/// The length of a DNS name, which names of services and instances are at most.
pub const NAME_BYTES_MAX: usize = 253;
/// A stack trace of any sensible depth fits; a dump does not.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The limit of OpenTelemetry's attributes.
pub const ATTRIBUTES_MAX: usize = 128;
/// Keys are words, not texts.
pub const KEY_BYTES_MAX: usize = 256;
/// A value may be a request or a query, but not a document.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// All keys and values of an entry, of a resource, of a scope.
pub const ATTRIBUTES_BYTES_MAX: usize = 1024 * 1024;
/// A whole entry as a message: an answer that has it stays below the 4 MiB that stock clients accept.
pub const ENTRY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How severe an entry is, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// A step of an algorithm.
    Trace,
    /// Of use when looking for a fault.
    Debug,
    /// Something expected happened.
    Info,
    /// Something unexpected happened, and was dealt with.
    Warn,
    /// Something failed.
    Error,
    /// The process could not go on.
    Fatal,
}

impl Severity {
    /// Reads a severity; `None` when it is not given.
    ///
    /// # Errors
    /// A number that has no name in this version.
    pub fn parse(field: &str, number: i32) -> Result<Option<Self>, InvalidField> {
        let refused = |_| InvalidField::new(field, "must be one of the values of `Severity`");
        Ok(match proto::Severity::try_from(number).map_err(refused)? {
            proto::Severity::Unspecified => None,
            proto::Severity::Trace => Some(Self::Trace),
            proto::Severity::Debug => Some(Self::Debug),
            proto::Severity::Info => Some(Self::Info),
            proto::Severity::Warn => Some(Self::Warn),
            proto::Severity::Error => Some(Self::Error),
            proto::Severity::Fatal => Some(Self::Fatal),
        })
    }
}

impl Severity {
    /// Its name in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }

    /// Reads its name in a line.
    pub(crate) fn read(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"TRACE" => Self::Trace,
            b"DEBUG" => Self::Debug,
            b"INFO" => Self::Info,
            b"WARN" => Self::Warn,
            b"ERROR" => Self::Error,
            b"FATAL" => Self::Fatal,
            _ => return None,
        })
    }
}

impl From<Severity> for proto::Severity {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Trace => Self::Trace,
            Severity::Debug => Self::Debug,
            Severity::Info => Self::Info,
            Severity::Warn => Self::Warn,
            Severity::Error => Self::Error,
            Severity::Fatal => Self::Fatal,
        }
    }
}

/// What is known of something by name.
pub type Attributes = BTreeMap<String, String>;

/// One log record, or one span. The order of the fields is the order of the keys in its line: first what is short, of
/// known form and looked for most, so that it is found without reading on; what is empty is left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Its position in the log; 0 until it is written.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// When it happened.
    pub time: Time,
    /// How severe it is.
    pub severity: Severity,
    /// The service that wrote it; empty when not known. At most [`NAME_BYTES_MAX`].
    #[serde(default)]
    pub service: String,
    /// The id of the instance that wrote it; empty when not known. At most [`NAME_BYTES_MAX`].
    #[serde(default)]
    pub instance: String,
    /// The trace that it belongs to.
    #[serde(default)]
    pub trace_id: Option<TraceId>,
    /// The span that it belongs to, or is.
    #[serde(default)]
    pub span_id: Option<SpanId>,
    /// What makes it a span; it has both ids then.
    #[serde(default)]
    pub span: Option<Box<Span>>,
    /// What happened, of a span its name: 1 to [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// What else is known: at most [`ATTRIBUTES_MAX`] pairs.
    #[serde(default)]
    pub attributes: Attributes,
    /// What is known of the process that wrote it: as for `attributes`.
    #[serde(default)]
    pub resource: Attributes,
    /// The part of the program that wrote it.
    #[serde(default)]
    pub scope: Option<Box<Scope>>,
}

/// How severe an entry is that does not say so.
pub(crate) fn severity_of(span: Option<&Span>) -> Severity {
    match span {
        Some(span) if span.status == SpanStatus::Error => Severity::Error,
        _ => Severity::Info,
    }
}

/// Reads a text of `min` to `max` bytes.
///
/// # Errors
/// Another length.
pub fn text<T: AsRef<[u8]>>(field: &str, text: T, min: usize, max: usize) -> Result<T, InvalidField> {
    if !(min..=max).contains(&text.as_ref().len()) {
        return Err(InvalidField::new(field, format!("must be {min} to {max} bytes")));
    }
    Ok(text)
}

fn attributes(field: &str, pairs: Attributes) -> Result<Attributes, InvalidField> {
    if pairs.len() > ATTRIBUTES_MAX {
        let allowed = format!("must have at most {ATTRIBUTES_MAX} pairs");
        return Err(InvalidField::new(field, allowed));
    }
    check_attributes(
        field,
        pairs.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())),
    )?;
    Ok(pairs)
}

/// Checks the sizes of attributes.
pub(crate) fn check_attributes<'a>(
    field: &str,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), InvalidField> {
    let refused = |allowed: String| Err(InvalidField::new(field, allowed));
    let mut size_bytes = 0;
    for (key, value) in pairs {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return refused(format!("must have keys of 1 to {KEY_BYTES_MAX} bytes"));
        }
        if value.len() > VALUE_BYTES_MAX {
            return refused(format!("must have values of at most {VALUE_BYTES_MAX} bytes"));
        }
        size_bytes += key.len() + value.len();
    }
    if size_bytes > ATTRIBUTES_BYTES_MAX {
        return refused(format!("must have at most {ATTRIBUTES_BYTES_MAX} bytes in all"));
    }
    Ok(())
}

impl From<Entry> for proto::Entry {
    fn from(entry: Entry) -> Self {
        Self {
            time: Some(entry.time.into()),
            severity: proto::Severity::from(entry.severity).into(),
            service: entry.service,
            instance: entry.instance,
            message: entry.message,
            attributes: entry.attributes,
            trace_id: entry.trace_id.map(String::from).unwrap_or_default(),
            span_id: entry.span_id.map(String::from).unwrap_or_default(),
            sequence: entry.sequence,
            span: entry.span.map(|span| (*span).into()),
            resource: entry.resource,
            scope: entry.scope.map(|scope| (*scope).into()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

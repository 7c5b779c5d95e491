//! An entry as one line of JSON, which no message can break, forge or make a terminal obey.

use std::io;

use homeroom::{model::InvalidField, proto::log::v1 as proto};
use prost::Message;

use super::{
    BatchMark, ENTRY_BYTES_MAX, Entry, Head, Scope, Severity, Span, SpanId, Time, TraceId,
    decimal::Decimal,
    json::{self, Object},
};

/// What each line starts with: the number comes first, so that it can be put there last.
pub(super) const HEAD: &[u8] = b"{\"seq\":";
/// What the mark of a batch starts with.
pub(super) const BATCH: &[u8] = b",\"batch\":{\"writer\":\"";

/// Appends the line of an entry to `out`, its line break included, still without a number.
pub fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let parts = Parts {
        time: entry.time,
        severity: entry.severity,
        trace_id: entry.trace_id.as_ref(),
        span_id: entry.span_id.as_ref(),
        span: entry.span.as_deref(),
        message: entry.message.as_bytes(),
    };
    let names = |line: &mut Object<'_>| names(line, &entry.service, &entry.instance);
    let rest = |line: &mut Object<'_>| surroundings(line, &entry.resource, entry.scope.as_deref());
    write(&parts, names, &entry.attributes, rest, out);
}

/// What an entry has of its own: not that of all entries of a process.
pub(crate) struct Parts<'a> {
    pub(crate) time: Time,
    pub(crate) severity: Severity,
    pub(crate) trace_id: Option<&'a TraceId>,
    pub(crate) span_id: Option<&'a SpanId>,
    pub(crate) span: Option<&'a Span>,
    pub(crate) message: &'a [u8],
}

impl Parts<'_> {
    /// The front of the line of a service and an instance, still without a number.
    pub(crate) fn head<'a>(&self, service: &'a str, instance: &'a str) -> Head<'a> {
        Head {
            sequence: 0,
            batch: None,
            time: self.time,
            severity: self.severity,
            service: service.into(),
            instance: instance.into(),
            trace_id: self.trace_id.cloned(),
            is_span: self.span.is_some(),
        }
    }
}

/// Appends a line whose [`names`] and [`surroundings`] somebody else writes, or has written.
pub(crate) fn write<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    parts: &Parts<'_>,
    names: impl FnOnce(&mut Object<'_>),
    attributes: impl IntoIterator<Item = (K, V)>,
    surroundings: impl FnOnce(&mut Object<'_>),
    out: &mut Vec<u8>,
) {
    let mut line = Object::new(out);
    line.time("time", parts.time);
    line.word("severity", parts.severity.as_str());
    names(&mut line);
    line.id("trace_id", parts.trace_id);
    line.id("span_id", parts.span_id);
    if let Some(span) = parts.span {
        line.object("span", |object| span.write(object));
    }
    line.text("message", parts.message);
    line.pairs("attributes", attributes);
    surroundings(&mut line);
    line.end();
    out.push(b'\n');
}

/// A text as it stands in a line, without its quotes: each character for itself, and always in the same way.
pub fn escaped(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    json::text(text.as_bytes(), &mut quoted);
    quoted[1..quoted.len() - 1].to_vec()
}

/// Whose line it is.
pub(crate) fn names(line: &mut Object<'_>, service: &str, instance: &str) {
    line.optional("service", service);
    line.optional("instance", instance);
}

/// What is known of the process, and of the part of the program.
pub(crate) fn surroundings<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    line: &mut Object<'_>,
    resource: impl IntoIterator<Item = (K, V)>,
    scope: Option<&Scope>,
) {
    line.pairs("resource", resource);
    if let Some(scope) = scope {
        line.object("scope", |object| scope.write(object));
    }
}

/// Checks that an entry is not too large as a message, by its line. A line is hardly smaller than its message, and few
/// are large enough for a look at that.
///
/// # Errors
/// When it is; the whole entry is the field.
pub(crate) fn check_size(line: &[u8]) -> Result<(), InvalidField> {
    if line.len() <= ENTRY_BYTES_MAX / 2 {
        return Ok(());
    }
    let mut numbered = Vec::with_capacity(line.len());
    number(0, None, line, &mut numbered);
    let size_bytes = parse(&numbered).map(|entry| proto::Entry::from(entry).encoded_len());
    match size_bytes.expect("it is the line of an entry") {
        ..=ENTRY_BYTES_MAX => Ok(()),
        _ => Err(too_large()),
    }
}

/// The refusal of an entry above [`ENTRY_BYTES_MAX`].
pub(crate) fn too_large() -> InvalidField {
    InvalidField::new("", format!("must be at most {ENTRY_BYTES_MAX} bytes in all"))
}

/// Appends a line of [`encode`] to `out`, numbered, and marked when it is the first of a batch of a writer.
pub fn number(sequence: u64, batch: Option<&BatchMark<'_>>, line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD);
    out.extend_from_slice(Decimal::from(sequence).as_ref());
    if let Some(batch) = batch {
        out.extend_from_slice(BATCH);
        out.extend_from_slice(batch.writer.as_bytes());
        out.extend_from_slice(b"\",\"number\":");
        out.extend_from_slice(Decimal::from(batch.number).as_ref());
        out.extend_from_slice(b",\"entries\":");
        out.extend_from_slice(Decimal::from(batch.entries as u64).as_ref());
        out.push(b'}');
    }
    out.push(b',');
    out.extend_from_slice(line.strip_prefix(b"{").unwrap_or(line));
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
    let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = rest.split_at(length);
    let append = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let number = digits.iter().try_fold(0, append);
    number.filter(|_| length > 0 && rest.starts_with(b","))
}

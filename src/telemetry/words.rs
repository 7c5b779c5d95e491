//! Entries in words, for people. Nothing here is escaped: whoever shows it does that.

use crate::proto::log::v1::Entry;

/// The severity's name, such as `INFO`.
pub fn severity(entry: &Entry) -> &'static str {
    entry.severity().as_str_name().trim_start_matches("SEVERITY_")
}

/// Who said what: the service, the message, the attributes by name, the trace.
pub fn content(entry: &Entry) -> String {
    let attributes = entry.attributes.iter().filter(|(key, _)| *key != "target");
    let attributes = attributes.map(|(key, value)| format!(" {key}={value}"));
    let trace = Some(&entry.trace_id).filter(|id| !id.is_empty());
    let trace = trace.map(|id| format!(" trace={id}"));
    let details: String = attributes.chain(trace).collect();
    format!("{}  {}{details}", entry.service, entry.message)
}

/// When it was, how severe, and the content; with nothing in it that a terminal would obey.
pub(super) fn line(entry: &Entry) -> String {
    let time = entry.time.map(|time| time.to_string()).unwrap_or_default();
    let line = format!("{time}  {:5}  {}", severity(entry), content(entry));
    crate::text::printable(&line)
}

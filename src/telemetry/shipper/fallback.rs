//! What people must see, and what Log cannot take: on stderr, and in words.

use std::time::SystemTime;

use tokio::io::AsyncWriteExt;

use super::super::words;
use crate::proto::log::v1::{Entry, Severity};

/// Entries that Log does not have, or may not have.
#[derive(Debug, Default)]
pub(super) struct Unshipped {
    /// Log records, which were printed.
    pub(super) entries: u64,
    /// Spans, which are not: a line of one helps nobody.
    pub(super) spans: u64,
}

impl Unshipped {
    pub(super) fn add(&mut self, entries: &[Entry]) {
        let spans = entries.iter().filter(|entry| entry.span.is_some()).count();
        self.spans += spans as u64;
        self.entries += (entries.len() - spans) as u64;
    }

    /// Says so once, if there is something to say.
    pub(super) fn report(&mut self) -> Option<Entry> {
        let Self { entries, spans } = std::mem::take(self);
        let counts = [("entries", entries), ("spans", spans)]
            .into_iter()
            .filter(|(_, count)| *count > 0);
        let counts: Vec<_> = counts.map(|(key, count)| (key, count.to_string())).collect();
        (!counts.is_empty()).then(|| report("entries may be missing in Log, which did not take them", counts))
    }
}

/// Says how many entries the queue had no room for.
pub(super) fn drop_report(dropped: u64) -> Option<Entry> {
    let dropped = Some(dropped).filter(|dropped| *dropped > 0)?;
    Some(report(
        "log entries were dropped: the queue was full",
        vec![("dropped", dropped.to_string())],
    ))
}

/// What telemetry has to say itself, as an entry.
pub(super) fn report(message: &str, attributes: Vec<(&str, String)>) -> Entry {
    let attributes = attributes.into_iter();
    Entry {
        time: Some(SystemTime::now().into()),
        severity: Severity::Warn.into(),
        message: message.to_owned(),
        attributes: attributes.map(|(key, value)| (key.to_owned(), value)).collect(),
        ..Entry::default()
    }
}

/// Whether an entry is printed in any case.
pub(super) fn is_for_people(entry: &Entry) -> bool {
    entry.span.is_none() && entry.severity >= Severity::Warn as i32
}

/// Whether an entry is printed when Log does not take it.
pub(super) fn is_for_log(entry: &Entry) -> bool {
    entry.span.is_none() && !is_for_people(entry)
}

/// Prints entries on stderr. Nothing is left to try when that fails.
pub(super) async fn print<'e>(entries: impl Iterator<Item = &'e Entry>) {
    let text: String = entries.map(|entry| words::line(entry) + "\n").collect();
    if text.is_empty() {
        return;
    }
    let mut stderr = tokio::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).await;
    let _ = stderr.flush().await;
}

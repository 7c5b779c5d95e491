//! A trace, put together from its entries: who caused whom, and what is missing. Pure: must never import `store`, `query`
//! or `grpc`.
//!
//! Whatever the entries are, each is in the trace exactly once: spans that are their own ancestors and spans of the same
//! id too.

mod tree;

use std::{collections::BTreeSet, time::Duration};

use homeroom::proto::log::v1 as proto;

use crate::entry::{Entry, SpanId, SpanStatus, Time, TraceId};

/// The entries of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The spans: each after its parent, those of one parent in order of time, and each with all that it caused before
    /// the next.
    pub spans: Vec<TraceSpan>,
    /// The log records, in order of time.
    pub records: Vec<Entry>,
    /// The spans that others name as their parent, or log records as theirs, and that are not there.
    pub missing: BTreeSet<SpanId>,
}

/// A span in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSpan {
    /// The span.
    pub entry: Entry,
    /// How many of its ancestors are there. In a circle of spans the first one counts as having none.
    pub depth: u32,
    /// Whether it names a parent that is not there.
    pub is_orphan: bool,
}

impl Trace {
    /// Puts the entries of one trace together, in whatever order they come.
    pub fn assemble(mut entries: Vec<Entry>) -> Self {
        // Those of one time are as they were written.
        entries.sort_by_key(|entry| (entry.time, entry.sequence));
        let (spans, records): (Vec<_>, _) = entries.into_iter().partition(|entry| entry.span.is_some());
        let there: BTreeSet<_> = spans.iter().filter_map(|span| span.span_id.clone()).collect();
        let named = spans.iter().filter_map(parent);
        let named = named.chain(records.iter().filter_map(|record| record.span_id.as_ref()));
        let missing = named.filter(|id| !there.contains(*id)).cloned().collect();
        Self {
            spans: tree::in_order(spans),
            records,
            missing,
        }
    }
}

fn parent(entry: &Entry) -> Option<&SpanId> {
    entry.span.as_ref()?.parent_span_id.as_ref()
}

/// What there is to say of a trace in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub trace_id: TraceId,
    /// The service of its first span.
    pub service: String,
    /// The name of its first span: the one without a parent, or the earliest.
    pub name: String,
    /// When its earliest span started.
    pub start: Time,
    /// From then until its last span ended.
    pub duration: Duration,
    /// How many spans it has.
    pub spans: u32,
    /// How many of them ended in an error.
    pub errors: u32,
    /// The services that its spans come from, as far as they are known.
    pub services: BTreeSet<String>,
}

impl Summary {
    /// Sums up the entries of one trace, in whatever order they come; `None` when none of them is a span.
    pub fn new(trace_id: TraceId, entries: &[Entry]) -> Option<Self> {
        let spans = || entries.iter().filter_map(|entry| Some((entry, entry.span.as_ref()?)));
        let (first, _) =
            spans().min_by_key(|(entry, span)| (span.parent_span_id.is_some(), entry.time, entry.sequence))?;
        let start = spans().map(|(entry, _)| entry.time).min()?;
        let end = spans().map(|(_, span)| span.end_time).max()?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let named = spans().map(|(entry, _)| &entry.service).filter(|name| !name.is_empty());
        Some(Self {
            trace_id,
            service: first.service.clone(),
            name: first.message.clone(),
            start,
            duration: end.since(start),
            spans: count(spans().count()),
            errors: count(spans().filter(|(_, span)| span.status == SpanStatus::Error).count()),
            services: named.cloned().collect(),
        })
    }

    /// About how many bytes a message of it has.
    pub fn size_bytes(&self) -> usize {
        // A tag and a length each, and two numbers and two times.
        let services = self.services.iter().map(|name| name.len() + 4);
        96 + self.service.len() + self.name.len() + services.sum::<usize>()
    }
}

impl From<TraceSpan> for proto::TraceSpan {
    fn from(span: TraceSpan) -> Self {
        Self {
            entry: Some(span.entry.into()),
            depth: span.depth,
            is_orphan: span.is_orphan,
        }
    }
}

impl From<Summary> for proto::Trace {
    fn from(summary: Summary) -> Self {
        Self {
            trace_id: summary.trace_id.into(),
            service: summary.service,
            name: summary.name,
            start_time: Some(summary.start.into()),
            duration: summary.duration.try_into().ok(),
            spans: summary.spans,
            errors: summary.errors,
            services: summary.services.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests;

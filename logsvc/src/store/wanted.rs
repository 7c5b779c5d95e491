//! What a reader wants, as far as it tells which parts of the store need not be read. Pure.

use std::collections::BTreeSet;

use super::{sidecar::Trigrams, summary::Summary};
use crate::entry::{Entry, Head, Severity, Time, TraceId};

/// Which entries a reader wants: those that match every part that is given. What it says decides with each entry, but for
/// `trigrams`, and lets the store leave out blocks that can hold none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Entries at this time or later.
    pub start: Option<Time>,
    /// Entries before this time.
    pub end: Option<Time>,
    /// Entries of any of these services; of all when it is empty.
    pub services: BTreeSet<String>,
    /// Entries of this severity or worse.
    pub min_severity: Option<Severity>,
    /// Log records, spans or both.
    pub kind: Kind,
    /// Entries of this trace.
    pub trace_id: Option<TraceId>,
    /// What the messages of the entries have, any of these; nothing that is known when it is empty.
    pub trigrams: Vec<Trigrams>,
}

/// Which entries are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Log records.
    #[default]
    Log,
    /// Spans.
    Span,
    /// Both.
    Any,
}

impl Wanted {
    /// Whether an entry is wanted.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.matches_parts(entry.time, entry.severity, &entry.service, entry.span.is_some())
            && self.is_of_trace(entry.trace_id.as_ref())
    }

    /// Whether the entry of a line is wanted.
    pub fn matches_head(&self, head: &Head<'_>) -> bool {
        self.matches_parts(head.time, head.severity, &head.service, head.is_span)
            && self.is_of_trace(head.trace_id.as_ref())
    }

    fn matches_parts(&self, time: Time, severity: Severity, service: &str, is_span: bool) -> bool {
        self.start.is_none_or(|start| time >= start)
            && self.end.is_none_or(|end| time < end)
            && (self.services.is_empty() || self.services.contains(service))
            && self.min_severity.is_none_or(|least| severity >= least)
            && self.kind.matches(is_span)
    }

    fn is_of_trace(&self, id: Option<&TraceId>) -> bool {
        self.trace_id.is_none() || id == self.trace_id.as_ref()
    }

    /// Whether any of some lines may be wanted.
    pub(super) fn may_be_within(&self, lines: &Summary) -> bool {
        self.start.is_none_or(|start| lines.latest >= start)
            && self.end.is_none_or(|end| lines.earliest < end)
            && (self.services.is_empty() || self.services.iter().any(|service| lines.has_service(service)))
            && self.min_severity.is_none_or(|least| lines.has_severity(least))
            && (self.kind.matches(false) && lines.has_logs() || self.kind.matches(true) && lines.has_spans())
            && self.trace_id.as_ref().is_none_or(|id| lines.may_have_trace(id))
    }
}

impl Kind {
    fn matches(self, is_span: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Log => !is_span,
            Self::Span => is_span,
        }
    }
}

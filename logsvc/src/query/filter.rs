//! What is looked for. Pure.

use std::collections::BTreeSet;

use homeroom::{model::InvalidField, proto::log::v1 as proto};

use crate::{
    entry::{Entry, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Severity, Time, TraceId, text},
    segment::Block,
};

/// Each entry is looked up among them, and a request stays small; a mesh with more services is looked at as a whole.
pub(super) const SERVICES_MAX: usize = 100;

/// What to look for: entries that match every part that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    start: Option<Time>,
    end: Option<Time>,
    /// Any of these; all when it is empty. In order, so that a filter has one form however it was written.
    services: BTreeSet<String>,
    instance: String,
    min_severity: Option<Severity>,
    text: String,
    trace_id: Option<TraceId>,
}

impl TryFrom<proto::Filter> for Filter {
    type Error = InvalidField;

    fn try_from(message: proto::Filter) -> Result<Self, InvalidField> {
        let time = |field, time: Option<_>| time.map(|time| Time::parse(field, time)).transpose();
        let start = time("start_time", message.start_time)?;
        let end = time("end_time", message.end_time)?;
        if start.zip(end).is_some_and(|(start, end)| end < start) {
            return Err(InvalidField::new("end_time", "must not be before `start_time`"));
        }
        Ok(Self {
            start,
            end,
            services: services(message.services)?,
            instance: text("instance", message.instance, 0, NAME_BYTES_MAX)?,
            min_severity: Severity::parse("min_severity", message.min_severity)?,
            text: text("text", message.text, 0, MESSAGE_BYTES_MAX)?,
            trace_id: TraceId::parse_optional("trace_id", &message.trace_id)?,
        })
    }
}

impl Filter {
    /// Looks for the entries of a trace.
    pub fn trace(id: TraceId) -> Self {
        Self {
            trace_id: Some(id),
            ..Self::default()
        }
    }

    /// Whether an entry is what is looked for.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.start.is_none_or(|start| entry.time >= start)
            && self.end.is_none_or(|end| entry.time < end)
            && (self.services.is_empty() || self.services.contains(&entry.service))
            && (self.instance.is_empty() || entry.instance == self.instance)
            && self.min_severity.is_none_or(|least| entry.severity >= least)
            && (self.trace_id.is_none() || entry.trace_id == self.trace_id)
            && entry.message.contains(&self.text)
    }

    /// Whether a block may hold what is looked for, by its times.
    pub(super) fn may_be_within(&self, block: &Block) -> bool {
        self.start.is_none_or(|start| block.latest >= start) && self.end.is_none_or(|end| block.earliest < end)
    }

    /// Whether the text of a block may hold it. A trace is in few blocks, and its id is never escaped.
    pub(super) fn may_be_in(&self, text: &[u8]) -> bool {
        match (&self.trace_id, std::str::from_utf8(text)) {
            (Some(id), Ok(text)) => text.contains(id.as_str()),
            _ => true,
        }
    }
}

fn services(names: Vec<String>) -> Result<BTreeSet<String>, InvalidField> {
    if names.len() > SERVICES_MAX {
        let allowed = format!("must be at most {SERVICES_MAX} names");
        return Err(InvalidField::new("services", allowed));
    }
    let numbered = names.into_iter().enumerate();
    numbered
        .map(|(n, name)| text(&format!("services[{n}]"), name, 0, NAME_BYTES_MAX))
        .collect()
}

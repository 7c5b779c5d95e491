//! What is looked for. Pure.

use std::collections::BTreeSet;

use homeroom::{model::InvalidField, proto::log::v1 as proto};

use crate::{
    entry::{Entry, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Severity, Time, TraceId, text},
    store::{Kind, Wanted},
};

/// Each entry is looked up among them, and a request stays small; a mesh with more services is looked at as a whole.
pub(super) const SERVICES_MAX: usize = 100;

/// What to look for: entries that match every part that is given. A filter has one form, however it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// What the store can look for by itself.
    pub(super) wanted: Wanted,
    instance: String,
    text: String,
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
        let wanted = Wanted {
            start,
            end,
            services: services(message.services)?,
            min_severity: Severity::parse("min_severity", message.min_severity)?,
            kind: kind("kind", message.kind)?,
            trace_id: TraceId::parse_optional("trace_id", &message.trace_id)?,
        };
        Ok(Self {
            wanted,
            instance: text("instance", message.instance, 0, NAME_BYTES_MAX)?,
            text: text("text", message.text, 0, MESSAGE_BYTES_MAX)?,
        })
    }
}

impl Filter {
    /// Looks for the entries of a trace, spans and log records.
    pub fn trace(id: TraceId) -> Self {
        let wanted = Wanted {
            kind: Kind::Any,
            trace_id: Some(id),
            ..Wanted::default()
        };
        Self {
            wanted,
            ..Self::default()
        }
    }

    /// Whether an entry is what is looked for.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.wanted.matches(entry)
            && (self.instance.is_empty() || entry.instance == self.instance)
            && entry.message.contains(&self.text)
    }

    /// Whether the text of a block may hold it. A trace is in few blocks, and its id is never escaped.
    pub(super) fn may_be_in(&self, text: &[u8]) -> bool {
        match (&self.wanted.trace_id, std::str::from_utf8(text)) {
            (Some(id), Ok(text)) => text.contains(id.as_str()),
            _ => true,
        }
    }
}

fn kind(field: &str, number: i32) -> Result<Kind, InvalidField> {
    let refused = |_| InvalidField::new(field, "must be one of the values of `EntryKind`");
    Ok(match proto::EntryKind::try_from(number).map_err(refused)? {
        proto::EntryKind::Unspecified | proto::EntryKind::Log => Kind::Log,
        proto::EntryKind::Span => Kind::Span,
        proto::EntryKind::Any => Kind::Any,
    })
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

//! What spans are looked for, to list their traces. Pure.

use std::time::Duration;

use homeroom::{
    model::{InvalidField, duration},
    proto::log::v1 as proto,
};

use super::{Filter, filter, needle::Needle};
use crate::{
    entry::{Entry, MESSAGE_BYTES_MAX, Span, SpanStatus, text},
    store::{Kind, Wanted},
};

/// What `google.protobuf.Duration` can say, and longer than any span.
const DURATION_MAX: Duration = Duration::from_secs(315_576_000_000);

/// What a span has to be besides an entry; everything when nothing is given, log records too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SpanFilter {
    name: String,
    min_duration: Duration,
    errors_only: bool,
}

impl SpanFilter {
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let is_long = |span: &Span| span.end_time.since(entry.time) >= self.min_duration;
        let has_failed = |span: &Span| span.status == SpanStatus::Error;
        (self.name.is_empty() || entry.message == self.name)
            && (self.min_duration.is_zero() || entry.span.as_deref().is_some_and(is_long))
            && (!self.errors_only || entry.span.as_deref().is_some_and(has_failed))
    }

    /// The name; empty when it is not given.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn needles(&self) -> impl Iterator<Item = Needle> {
        let name = (!self.name.is_empty()).then(|| Needle::pair("message", &self.name));
        let error = self.errors_only.then(|| Needle::pair("status", "ERROR"));
        name.into_iter().chain(error)
    }
}

impl TryFrom<proto::ListTracesRequest> for Filter {
    type Error = InvalidField;

    /// Reads what spans the traces have that are asked for.
    fn try_from(message: proto::ListTracesRequest) -> Result<Self, InvalidField> {
        let bounds = Duration::ZERO..=DURATION_MAX;
        let (start, end) = filter::times(message.start_time, message.end_time)?;
        let filter = Self {
            wanted: Wanted {
                start,
                end,
                services: filter::services(message.services)?,
                kind: Kind::Span,
                ..Wanted::default()
            },
            span: SpanFilter {
                name: text("name", message.name, 0, MESSAGE_BYTES_MAX)?,
                min_duration: duration("min_duration", message.min_duration, bounds, Duration::ZERO)?,
                errors_only: message.errors_only,
            },
            ..Self::default()
        };
        Ok(filter.with_needles())
    }
}

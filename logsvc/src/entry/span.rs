//! What a span is besides an entry, and which part of a program writes entries (OpenTelemetry's span and scope).

use homeroom::{model::InvalidField, proto::log::v1 as proto};
use serde::Deserialize;

use super::{Attributes, SpanId, Time, TraceId, VALUE_BYTES_MAX, attributes, json::Object, text};

/// How many events, and how many links, a span has at most: the limit of OpenTelemetry.
pub(crate) const EVENTS_MAX: usize = 128;
/// A name and a version are words.
pub(crate) const SCOPE_BYTES_MAX: usize = 256;
/// What W3C Trace Context asks everybody to pass on.
const TRACE_STATE_BYTES_MAX: usize = 512;

/// What makes an entry a span.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Span {
    /// The span that caused it; none is the root of its trace.
    #[serde(default)]
    pub parent_span_id: Option<SpanId>,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// When it ended: not before the entry's time.
    pub end_time: Time,
    /// How it ended.
    #[serde(default)]
    pub status: SpanStatus,
    /// What went wrong: at most [`VALUE_BYTES_MAX`].
    #[serde(default)]
    pub status_message: String,
    /// What happened during it: at most 128.
    #[serde(default)]
    pub events: Vec<SpanEvent>,
    /// Spans of other traces that it has to do with: at most 128.
    #[serde(default)]
    pub links: Vec<SpanLink>,
    /// The W3C trace state: at most 512 bytes.
    #[serde(default)]
    pub trace_state: String,
}

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SpanKind {
    /// Work within a process.
    Internal,
    /// A call, as its server sees it.
    Server,
    /// A call, as its client sees it.
    Client,
    /// A message that is sent, to be handled later.
    Producer,
    /// A message that is handled.
    Consumer,
}

impl SpanKind {
    /// Its name in a line.
    fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "INTERNAL",
            Self::Server => "SERVER",
            Self::Client => "CLIENT",
            Self::Producer => "PRODUCER",
            Self::Consumer => "CONSUMER",
        }
    }

    /// Reads its name in a line.
    pub(super) fn read(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"INTERNAL" => Self::Internal,
            b"SERVER" => Self::Server,
            b"CLIENT" => Self::Client,
            b"PRODUCER" => Self::Producer,
            b"CONSUMER" => Self::Consumer,
            _ => return None,
        })
    }
}

/// How a span ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SpanStatus {
    /// Not told.
    #[default]
    Unset,
    /// As it should, says its author.
    Ok,
    /// In an error.
    Error,
}

impl SpanStatus {
    /// Its name in a line; `None` when it is left out there.
    fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Unset => None,
            Self::Ok => Some("OK"),
            Self::Error => Some("ERROR"),
        }
    }

    /// Reads its name in a line.
    pub(super) fn read(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"OK" => Self::Ok,
            b"ERROR" => Self::Error,
            _ => return None,
        })
    }
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SpanEvent {
    /// When.
    pub time: Time,
    /// What: at most [`VALUE_BYTES_MAX`].
    pub name: String,
    /// What else is known.
    #[serde(default)]
    pub attributes: Attributes,
}

/// A span that another one has to do with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SpanLink {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// What else is known.
    #[serde(default)]
    pub attributes: Attributes,
}

/// A part of a program that writes entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Scope {
    /// Its name: at most 256 bytes.
    #[serde(default)]
    pub name: String,
    /// Its version: at most 256 bytes.
    #[serde(default)]
    pub version: String,
    /// What else is known of it.
    #[serde(default)]
    pub attributes: Attributes,
}

impl Span {
    /// Reads what makes an entry a span that started at `start`.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub(crate) fn parse(message: proto::Span, start: Time) -> Result<Self, InvalidField> {
        let end_time = message.end_time.map_or(Ok(start), |end| Time::parse("end_time", end))?;
        if end_time < start {
            return Err(InvalidField::new("end_time", "must not be before `time`"));
        }
        let events = limited("events", message.events, |event| SpanEvent::parse(event, start))?;
        Ok(Self {
            parent_span_id: SpanId::parse_optional("parent_span_id", &message.parent_span_id)?,
            kind: kind("kind", message.kind)?,
            end_time,
            status: status("status", message.status)?,
            status_message: text("status_message", message.status_message, 0, VALUE_BYTES_MAX)?,
            events,
            links: limited("links", message.links, SpanLink::parse)?,
            trace_state: text("trace_state", message.trace_state, 0, TRACE_STATE_BYTES_MAX)?,
        })
    }
}

impl Span {
    /// Writes it into a line.
    pub(super) fn write(&self, object: &mut Object<'_>) {
        object.id("parent_span_id", self.parent_span_id.as_ref());
        object.word("kind", self.kind.as_str());
        object.time("end_time", self.end_time);
        if let Some(status) = self.status.as_str() {
            object.word("status", status);
        }
        object.optional("status_message", &self.status_message);
        object.objects("events", &self.events, |event, object| {
            object.time("time", event.time);
            object.text("name", &event.name);
            object.pairs("attributes", &event.attributes);
        });
        object.objects("links", &self.links, |link, object| {
            object.id("trace_id", Some(&link.trace_id));
            object.id("span_id", Some(&link.span_id));
            object.pairs("attributes", &link.attributes);
        });
        object.optional("trace_state", &self.trace_state);
    }
}

/// Reads a list of at most 128.
fn limited<M, T>(
    field: &str,
    messages: Vec<M>,
    parse: impl Fn(M) -> Result<T, InvalidField>,
) -> Result<Vec<T>, InvalidField> {
    if messages.len() > EVENTS_MAX {
        return Err(InvalidField::new(field, format!("must be at most {EVENTS_MAX}")));
    }
    let numbered = messages.into_iter().enumerate();
    numbered
        .map(|(n, message)| parse(message).map_err(|error| error.within(&format!("{field}[{n}]"))))
        .collect()
}

fn kind(field: &str, number: i32) -> Result<SpanKind, InvalidField> {
    let refused = |_| InvalidField::new(field, "must be one of the values of `SpanKind`");
    Ok(match proto::SpanKind::try_from(number).map_err(refused)? {
        proto::SpanKind::Unspecified | proto::SpanKind::Internal => SpanKind::Internal,
        proto::SpanKind::Server => SpanKind::Server,
        proto::SpanKind::Client => SpanKind::Client,
        proto::SpanKind::Producer => SpanKind::Producer,
        proto::SpanKind::Consumer => SpanKind::Consumer,
    })
}

fn status(field: &str, number: i32) -> Result<SpanStatus, InvalidField> {
    let refused = |_| InvalidField::new(field, "must be one of the values of `SpanStatus`");
    Ok(match proto::SpanStatus::try_from(number).map_err(refused)? {
        proto::SpanStatus::Unspecified => SpanStatus::Unset,
        proto::SpanStatus::Ok => SpanStatus::Ok,
        proto::SpanStatus::Error => SpanStatus::Error,
    })
}

impl SpanEvent {
    fn parse(message: proto::SpanEvent, start: Time) -> Result<Self, InvalidField> {
        Ok(Self {
            time: message.time.map_or(Ok(start), |time| Time::parse("time", time))?,
            name: text("name", message.name, 0, VALUE_BYTES_MAX)?,
            attributes: attributes("attributes", message.attributes)?,
        })
    }
}

impl SpanLink {
    fn parse(message: proto::SpanLink) -> Result<Self, InvalidField> {
        Ok(Self {
            trace_id: TraceId::parse("trace_id", &message.trace_id)?,
            span_id: SpanId::parse("span_id", &message.span_id)?,
            attributes: attributes("attributes", message.attributes)?,
        })
    }
}

impl Scope {
    /// Writes it into a line.
    pub(super) fn write(&self, object: &mut Object<'_>) {
        object.optional("name", &self.name);
        object.optional("version", &self.version);
        object.pairs("attributes", &self.attributes);
    }

    pub(crate) fn parse(message: proto::Scope) -> Result<Self, InvalidField> {
        Ok(Self {
            name: text("name", message.name, 0, SCOPE_BYTES_MAX)?,
            version: text("version", message.version, 0, SCOPE_BYTES_MAX)?,
            attributes: attributes("attributes", message.attributes)?,
        })
    }
}

impl From<Span> for proto::Span {
    fn from(span: Span) -> Self {
        Self {
            parent_span_id: span.parent_span_id.map(String::from).unwrap_or_default(),
            kind: proto::SpanKind::from(span.kind).into(),
            end_time: Some(span.end_time.into()),
            status: proto::SpanStatus::from(span.status).into(),
            status_message: span.status_message,
            events: span.events.into_iter().map(Into::into).collect(),
            links: span.links.into_iter().map(Into::into).collect(),
            trace_state: span.trace_state,
        }
    }
}

impl From<SpanKind> for proto::SpanKind {
    fn from(kind: SpanKind) -> Self {
        match kind {
            SpanKind::Internal => Self::Internal,
            SpanKind::Server => Self::Server,
            SpanKind::Client => Self::Client,
            SpanKind::Producer => Self::Producer,
            SpanKind::Consumer => Self::Consumer,
        }
    }
}

impl From<SpanStatus> for proto::SpanStatus {
    fn from(status: SpanStatus) -> Self {
        match status {
            SpanStatus::Unset => Self::Unspecified,
            SpanStatus::Ok => Self::Ok,
            SpanStatus::Error => Self::Error,
        }
    }
}

impl From<SpanEvent> for proto::SpanEvent {
    fn from(event: SpanEvent) -> Self {
        Self {
            time: Some(event.time.into()),
            name: event.name,
            attributes: event.attributes,
        }
    }
}

impl From<SpanLink> for proto::SpanLink {
    fn from(link: SpanLink) -> Self {
        Self {
            trace_id: link.trace_id.into(),
            span_id: link.span_id.into(),
            attributes: link.attributes,
        }
    }
}

impl From<Scope> for proto::Scope {
    fn from(scope: Scope) -> Self {
        Self {
            name: scope.name,
            version: scope.version,
            attributes: scope.attributes,
        }
    }
}

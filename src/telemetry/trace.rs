//! W3C Trace Context, level 1: where in which trace a call is, and what other tracing systems say of the trace.

use std::{fmt, str::FromStr};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The metadata key that carries the trace context.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The metadata key that carries what other tracing systems say of the trace.
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A longer `tracestate` is not passed on: the standard asks for as much, and Log keeps no more.
const STATE_BYTES_MAX: usize = 512;
/// So is one of more members.
const STATE_MEMBERS_MAX: usize = 32;

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// The flag that says that the trace is recorded.
    const SAMPLED: u8 = 1;
    /// The flags that are known, and passed on: that, and that the trace id is random (level 2).
    const KNOWN: u8 = Self::SAMPLED | 2;

    /// Starts a trace, which is recorded.
    pub fn start() -> Self {
        Self {
            trace_id: fastrand::u128(1..),
            span_id: fastrand::u64(1..),
            flags: Self::SAMPLED,
        }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span_id: fastrand::u64(1..),
            ..self
        }
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// The same position in a trace that is recorded or not.
    #[must_use]
    pub(super) fn sampled(self, sampled: bool) -> Self {
        Self {
            flags: self.flags & !Self::SAMPLED | u8::from(sampled),
            ..self
        }
    }

    /// The half of the trace id that samplers of all OpenTelemetry SDKs decide by.
    pub(super) fn low_half(self) -> u64 {
        let bytes = self.trace_id.to_be_bytes();
        u64::from_be_bytes(bytes[8..].try_into().expect("half of sixteen bytes are eight"))
    }

    /// The context that a caller sent; `None` where there is none, more than one, or one that is not valid.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut sent = headers.get_all(TRACEPARENT).iter();
        let only = sent.next().filter(|_| sent.next().is_none())?;
        only.to_str().ok()?.parse().ok()
    }

    /// The trace id: 32 lower-case hex digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The span id: 16 lower-case hex digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// The value of the header.
    ///
    /// # Panics
    /// Never: it is hex digits and hyphens.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).expect("hex digits and hyphens are a header value")
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// The text is no valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTraceparent;

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    /// Reads a `traceparent` of version 00, or what a later version keeps of it.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            parts
                .next()
                .filter(|part| part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .ok_or(InvalidTraceparent)
        };
        let version = hex(2)?;
        let parse = |part: &str| u128::from_str_radix(part, 16).map_err(|_| InvalidTraceparent);
        let (trace_id, span_id, flags) = (parse(hex(32)?)?, parse(hex(16)?)?, parse(hex(2)?)?);
        let longer = parts.next().is_some();
        if version == "ff" || (version == "00" && longer) || trace_id == 0 || span_id == 0 {
            return Err(InvalidTraceparent);
        }
        let narrow = "the digits were counted";
        Ok(Self {
            trace_id,
            span_id: u64::try_from(span_id).expect(narrow),
            flags: u8::try_from(flags).expect(narrow) & Self::KNOWN,
        })
    }
}

/// The `tracestate` that a caller sent, its headers joined; `None` where there is none, or one that is not valid.
///
/// Its members are other systems' own: of them only so much is checked that they do no harm.
pub(super) fn trace_state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACESTATE).iter();
    let first = values.next()?;
    let state = match values.next() {
        None => first.clone(),
        Some(_) => {
            let all: Vec<_> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&all.join(&b',')).ok()?
        }
    };
    let text = state.to_str().ok()?;
    let is_member = |member: &str| member.is_empty() || member.contains('=');
    let valid = text.len() <= STATE_BYTES_MAX
        && text.contains('=')
        && text.split(',').count() <= STATE_MEMBERS_MAX
        && text.split(',').all(|member| is_member(member.trim()));
    valid.then_some(state)
}

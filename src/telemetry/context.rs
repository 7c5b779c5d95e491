//! What a task carries along: which instance it works for, and which trace it works in. W3C Trace Context, level 1.
//!
//! A task-local, not a tracing span: it holds whatever the subscriber and its levels are.

use std::{fmt, future::Future, str::FromStr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The metadata key that carries the trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

tokio::task_local! {
    static CONTEXT: Context;
}

/// What a task carries along.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The instance that the task works for.
    pub origin: Option<Arc<Origin>>,
    /// The call that the task answers.
    pub trace: Option<TraceContext>,
}

/// The instance that entries come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its service.
    pub service: String,
    /// Its id.
    pub instance: String,
}

impl Context {
    /// The context of the running task; empty where none was set.
    pub fn current() -> Self {
        CONTEXT.try_with(Clone::clone).unwrap_or_default()
    }

    /// The same context with a trace.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Runs a future in this context.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CONTEXT.scope(self, future)
    }
}

/// Gives a future that is about to be spawned the context of the running task.
pub fn inherit<F: Future>(future: F) -> impl Future<Output = F::Output> {
    Context::current().scope(future)
}

/// Spawns hyper's futures with the context of the connection that they belong to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InheritingExecutor;

impl<F> hyper::rt::Executor<F> for InheritingExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Detached: hyper ends these futures with their connection.
    fn execute(&self, future: F) {
        tokio::spawn(inherit(future));
    }
}

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

    /// Starts a trace.
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

    /// The context that a caller sent; `None` where there is none, or one that is not valid.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        headers.get(TRACEPARENT)?.to_str().ok()?.parse().ok()
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
            flags: u8::try_from(flags).expect(narrow),
        })
    }
}

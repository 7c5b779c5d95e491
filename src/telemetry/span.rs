//! The span of a call, from its beginning to its end, on both of its sides.

mod traced;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue, Request};
use tonic::{Code, Status};

use super::{
    context::{Context, Origin},
    conventions::{self, GRPC, OTHER},
    queue::Queue,
    recorder::Recorder,
    trace::{TRACEPARENT, TRACESTATE, TraceContext, trace_state},
};
use crate::{
    model::Address,
    proto::log::v1::{self as proto, Entry, SpanEvent, SpanKind, SpanStatus},
};

/// So much of a path that is no method's is kept.
const PATH_CHARS_MAX: usize = 256;
/// A call has two more tries and four addresses to fail at in vain: what is beyond is not worth its room.
const EVENTS_MAX: usize = 16;

/// The span of a call, which ends once: as cancelled when it is dropped before. Of a call that is not recorded there is
/// nothing, and all of this costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    queue: Queue,
    kind: SpanKind,
    trace: TraceContext,
    parent: Option<TraceContext>,
    trace_state: Option<HeaderValue>,
    origin: Option<Arc<Origin>>,
    /// `package.Service/Method`.
    method: String,
    started: (SystemTime, Instant),
    attributes: BTreeMap<String, String>,
    events: Vec<SpanEvent>,
}

impl Span {
    /// Begins the span of a call from `peer`, and tells what its handler carries along: a position of its own in the
    /// caller's trace, or in a new one.
    pub(crate) fn server<B>(request: &Request<B>, peer: SocketAddr) -> (Context, Self) {
        let (headers, path) = (request.headers(), request.uri().path());
        let parent = TraceContext::from_headers(headers);
        let trace = parent.map_or_else(TraceContext::start, TraceContext::child);
        let context = Context {
            trace: Some(trace),
            trace_state: parent.and_then(|_| trace_state(headers)),
            ..Context::current()
        };
        let (context, mut span) = Self::begin(SpanKind::Server, parent, context, path);
        if let (Some(open), Some(authority)) = (&mut span.0, request.uri().authority()) {
            open.set(conventions::SERVER_ADDRESS, authority.host());
            open.set_port(conventions::SERVER_PORT, authority.port_u16());
        }
        if let Some(open) = &mut span.0 {
            open.set(conventions::CLIENT_ADDRESS, peer.ip());
            open.set_port(conventions::CLIENT_PORT, Some(peer.port()));
        }
        (context, span)
    }

    /// Begins the span of a call that the running task makes, and lets it carry its position. A call that brings one along
    /// is its caller's to trace, and is left as it is.
    pub(crate) fn client<B>(request: &mut Request<B>) -> Self {
        if request.headers().contains_key(TRACEPARENT) {
            return Self::default();
        }
        let mut context = Context::current();
        let parent = context.trace;
        let path = request.uri().path();
        context.trace = match parent {
            Some(parent) => Some(parent.child()),
            None if conventions::begins_trace(path) && Recorder::current(Recorder::decides) == Some(true) => {
                Some(TraceContext::start())
            }
            None => return Self::default(),
        };
        let (context, span) = Self::begin(SpanKind::Client, parent, context, path);
        // What is not recorded here must not be named as the parent of what others record.
        let named = if span.0.is_some() {
            context.trace
        } else {
            parent.or(context.trace)
        };
        if let Some(trace) = named {
            send(request.headers_mut(), trace, context.trace_state);
        }
        span
    }

    /// Decides about the call at the position of `context`, which is told whether it is recorded.
    fn begin(kind: SpanKind, parent: Option<TraceContext>, mut context: Context, path: &str) -> (Context, Self) {
        let Some(trace) = context.trace else {
            return (context, Self::default());
        };
        let decided = Recorder::current(|recorder| {
            let sampled = recorder.decide(parent, trace, path)?;
            Some(sampled.then(|| recorder.queue().clone()))
        });
        let Some(queue) = decided.flatten() else {
            return (context, Self::default());
        };
        context.trace = Some(trace.sampled(queue.is_some()));
        let span = queue.zip(context.trace).map(|(queue, trace)| Open {
            queue,
            kind,
            trace,
            parent,
            trace_state: context.trace_state.clone(),
            origin: context.origin.clone(),
            method: path.trim_start_matches('/').to_owned(),
            started: (SystemTime::now(), Instant::now()),
            attributes: BTreeMap::new(),
            events: Vec::new(),
        });
        (context, Self(span.map(Box::new)))
    }

    /// Names whom the call goes to: `host:port`, or the name of a service whose instances are called.
    pub(crate) fn set_server(&mut self, server: &str) {
        let Some(open) = &mut self.0 else {
            return;
        };
        match host_and_port(server) {
            Some((host, port)) => {
                open.set(conventions::SERVER_ADDRESS, host);
                open.set(conventions::SERVER_PORT, port);
            }
            None => open.set(conventions::SERVER_ADDRESS, server),
        }
    }

    /// Names the endpoint that the call is sent to, now.
    pub(crate) fn set_peer(&mut self, address: &Address) {
        if let Some(open) = &mut self.0
            && let Some((host, port)) = host_and_port(address.as_str())
        {
            open.set(conventions::PEER_ADDRESS, host);
            open.set(conventions::PEER_PORT, port);
        }
    }

    /// Notes that a try of the call has failed, and another one follows.
    pub(crate) fn failed_try(&mut self, name: &str, address: &Address, cause: &dyn std::fmt::Display) {
        let Some(open) = self.0.as_mut().filter(|open| open.events.len() < EVENTS_MAX) else {
            return;
        };
        let (host, port) = host_and_port(address.as_str()).unzip();
        let attributes = [
            (conventions::PEER_ADDRESS, host.unwrap_or_default().to_owned()),
            (conventions::PEER_PORT, port.unwrap_or_default().to_owned()),
            ("cause", cause.to_string()),
        ];
        open.events.push(SpanEvent {
            time: Some(open.now().into()),
            name: name.to_owned(),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value)).into(),
        });
    }

    /// Notes that the server does not have the method.
    pub(crate) fn note_unknown_method(&mut self) {
        if let Some(open) = &mut self.0 {
            let original: String = open.method.chars().take(PATH_CHARS_MAX).collect();
            open.set(conventions::METHOD_ORIGINAL, original);
            OTHER.clone_into(&mut open.method);
        }
    }

    /// Notes how the call ends, as the head of its answer or its trailers say. A head that does not say so has a body.
    pub(crate) fn note(&mut self, headers: &HeaderMap) {
        if self.0.is_some()
            && let Some(status) = Status::from_header_map(headers)
        {
            self.end(status.code(), status.message());
        }
    }

    /// Ends the span.
    pub(crate) fn end(&mut self, code: Code, message: &str) {
        if let Some(open) = self.0.take() {
            open.end(code, message);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.end(Code::Cancelled, "");
    }
}

impl Open {
    fn set(&mut self, key: &str, value: impl ToString) {
        self.attributes.insert(key.to_owned(), value.to_string());
    }

    fn set_port(&mut self, key: &str, port: Option<u16>) {
        if let Some(port) = port {
            self.set(key, port);
        }
    }

    /// By the clock that never goes back, so that a span does not end before it starts.
    fn now(&self) -> SystemTime {
        let (time, clock) = self.started;
        time + clock.elapsed()
    }

    fn end(mut self: Box<Self>, code: Code, message: &str) {
        let (end_time, code_name) = (self.now(), conventions::name(code));
        let is_error = conventions::is_error(self.kind, code);
        let status = if is_error {
            SpanStatus::Error
        } else {
            SpanStatus::Unspecified
        };
        self.set(conventions::SYSTEM, GRPC);
        self.set(conventions::STATUS_CODE, code_name);
        if is_error {
            self.set(conventions::ERROR_TYPE, code_name);
        }
        let name = match self.method.as_str() {
            "" | OTHER => GRPC,
            method => method,
        }
        .to_owned();
        self.attributes.insert(conventions::METHOD.to_owned(), self.method);
        let state = self.trace_state.as_ref().and_then(|state| state.to_str().ok());
        let origin = self.origin.as_deref();
        self.queue.push(Entry {
            time: Some(self.started.0.into()),
            service: origin.map(|origin| origin.service.clone()).unwrap_or_default(),
            instance: origin.map(|origin| origin.instance.clone()).unwrap_or_default(),
            message: name,
            attributes: self.attributes,
            trace_id: self.trace.trace_id(),
            span_id: self.trace.span_id(),
            span: Some(proto::Span {
                parent_span_id: self.parent.as_ref().map(TraceContext::span_id).unwrap_or_default(),
                kind: self.kind.into(),
                end_time: Some(end_time.into()),
                status: status.into(),
                status_message: if is_error { cut(message) } else { String::new() },
                events: self.events,
                trace_state: state.unwrap_or_default().to_owned(),
                ..proto::Span::default()
            }),
            ..Entry::default()
        });
    }
}

fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(super::layer::TEXT_BYTES_MAX)].to_owned()
}

fn send(headers: &mut HeaderMap, trace: TraceContext, state: Option<HeaderValue>) {
    headers.insert(TRACEPARENT, trace.header());
    if let Some(state) = state {
        headers.entry(TRACESTATE).or_insert(state);
    }
}

/// The parts of `host:port`; an IPv6 address is in brackets there, and not here.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']), port))
}

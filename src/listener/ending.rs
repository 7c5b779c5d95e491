//! What is to be told how a call ends.

use http::HeaderMap;

use crate::{metrics::Call, telemetry::span::Span};

/// Who is told how a call ends: as cancelled, when this is dropped before.
#[derive(Debug, Default)]
pub(super) struct Ending {
    pub(super) call: Option<Call>,
    pub(super) span: Span,
}

impl Ending {
    /// Notes how the call ends, as the head of its answer or its trailers say. A head that does not say so has a body.
    pub(super) fn note(&mut self, headers: &HeaderMap) {
        if let Some(call) = &mut self.call {
            call.note(headers);
        }
        self.span.note(headers);
    }

    /// Notes that the answer has been given in full: one that did not say how it ends is none of gRPC's.
    pub(super) fn note_end(&mut self) {
        if let Some(call) = &mut self.call {
            call.note_end();
        }
        self.span.end(tonic::Code::Unknown, "the answer has no status");
    }
}

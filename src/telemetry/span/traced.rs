//! The answer of a call whose span ends with it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::Span;

impl Span {
    /// Ends the span as the call does: with its error, its head or the end of its body.
    ///
    /// # Errors
    /// That of the call.
    pub(crate) fn over(mut self, answer: Result<Response<Body>, Status>) -> Result<Response<Body>, Status> {
        match answer {
            Ok(response) => {
                self.note(response.headers());
                if self.0.is_none() {
                    return Ok(response);
                }
                Ok(response.map(|body| Body::new(Traced { body, span: self })))
            }
            Err(status) => {
                self.end(status.code(), status.message());
                Err(status)
            }
        }
    }
}

/// A body that ends the span of its call.
struct Traced {
    body: Body,
    span: Span,
}

impl http_body::Body for Traced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.span.note(trailers);
                }
            }
            Some(Err(status)) => self.span.end(status.code(), status.message()),
            None => self.span.end(Code::Unknown, "the answer has no status"),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Refuses a message that is too large by the length it announces, before any of it is held.
//!
//! tonic has such a limit too, but answers OUT_OF_RANGE and without details.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};

use crate::status::Refusal;

/// A gRPC message on the wire: one byte of flags, four of length in network order, the message.
const PREFIX_BYTES: usize = 5;

/// A request body whose messages are of a bounded size.
pub(super) struct MessageSize<B> {
    body: B,
    max: usize,
    messages: Messages,
}

impl<B> MessageSize<B> {
    pub(super) fn new(body: B, max: usize) -> Self {
        Self {
            body,
            max,
            messages: Messages::default(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for MessageSize<B>
where
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(frame) = polled.transpose().map_err(|error| Status::from_error(error.into()))? else {
            return Poll::Ready(None);
        };
        if let Some(data) = frame.data_ref() {
            let largest = self.messages.largest_announced(data);
            if largest > self.max {
                return Poll::Ready(Some(Err(too_large(largest, self.max))));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_large(size_bytes: usize, max: usize) -> Status {
    let message = format!("the message has {size_bytes} bytes, more than the limit of {max}");
    Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message)
        .with("size_bytes", size_bytes)
        .quota("message_size_bytes", max)
        .into()
}

/// Finds the prefixes of messages in a body, however it is cut into pieces.
#[derive(Default)]
struct Messages {
    prefix: Vec<u8>,
    rest_of_message: usize,
}

impl Messages {
    /// The largest length that a prefix completed by this piece announces; 0 when it completes none.
    fn largest_announced(&mut self, mut piece: &[u8]) -> usize {
        let mut largest = 0;
        loop {
            let skipped = self.rest_of_message.min(piece.len());
            self.rest_of_message -= skipped;
            piece = &piece[skipped..];
            if piece.is_empty() {
                return largest;
            }
            let taken = (PREFIX_BYTES - self.prefix.len()).min(piece.len());
            self.prefix.extend_from_slice(&piece[..taken]);
            piece = &piece[taken..];
            if let [_, a, b, c, d] = self.prefix[..] {
                let length = u32::from_be_bytes([a, b, c, d]);
                self.rest_of_message = usize::try_from(length).unwrap_or(usize::MAX);
                self.prefix.clear();
                largest = largest.max(self.rest_of_message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Messages;

    #[test]
    fn lengths_are_found_however_the_body_is_cut() {
        let body = [&[0, 0, 0, 0, 3, 9, 9, 9][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0]].concat();
        for size in 1..=body.len() {
            let mut messages = Messages::default();
            let largest: Vec<_> = body
                .chunks(size)
                .map(|piece| messages.largest_announced(piece))
                .filter(|length| *length > 0)
                .collect();
            assert_eq!(largest.last(), Some(&256), "in pieces of {size}");
        }
    }
}

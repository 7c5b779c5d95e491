//! Bounds what the messages of a request make the server hold: by the length that each announces, before any of it is
//! held, and by the time that the rest of it may take.
//!
//! tonic limits the length too, but answers OUT_OF_RANGE and without details; and it makes room for a message as soon as
//! it is announced, and keeps it for as long as the peer likes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status};

use super::budget::{Budget, Taken};
use crate::status::Refusal;

/// A gRPC message on the wire: one byte of flags, four of length in network order, the message.
const PREFIX_BYTES: usize = 5;

/// The limits on the messages of a connection.
#[derive(Debug, Clone)]
pub(super) struct MessageLimits {
    /// The largest message.
    pub(super) size_bytes: usize,
    /// How long the rest of a message may take.
    pub(super) timeout: Duration,
    /// What the messages of the connection that came in pieces may announce.
    pub(super) pending: Budget,
    /// What those of all connections may.
    pub(super) pending_total: Budget,
}

/// A request body whose messages keep to the limits. It fails with a [`Status`] where one does not.
pub(super) struct MessageSize<B> {
    body: B,
    limits: MessageLimits,
    messages: Messages,
    /// What the last message that came in pieces has announced. Kept when it is complete, since tonic keeps its buffer,
    /// until the next one comes in pieces or the body ends.
    pending: Option<(Taken, Taken)>,
    /// Armed when the peer is first waited for within a message, and gone when that message is complete. A message
    /// that comes whole costs no timer, and a handler that does not read costs its caller no time.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> MessageSize<B> {
    pub(super) fn new(body: B, limits: MessageLimits) -> Self {
        Self {
            body,
            limits,
            messages: Messages::default(),
            pending: None,
            timer: None,
        }
    }

    fn count(&mut self, data: &[u8]) -> Result<(), Status> {
        let read = self.messages.read(data);
        if read.largest as usize > self.limits.size_bytes {
            return Err(too_large(read.largest, self.limits.size_bytes));
        }
        if read.completed {
            self.timer = None;
        }
        if let Some(length) = self.messages.announced()
            && (read.completed || self.pending.is_none())
        {
            self.pending = None;
            let connection = self.limits.pending.take(length)?;
            self.pending = Some((connection, self.limits.pending_total.take(length)?));
        }
        Ok(())
    }

    /// Fails once the peer has been waited for too long within a message.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if !self.messages.is_within_message() {
            return Poll::Pending;
        }
        let timeout = self.limits.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        timer.as_mut().poll(cx).map(|()| too_slow(timeout))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for MessageSize<B>
where
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.poll_timeout(cx).map(|status| Some(Err(status)));
        };
        let Some(frame) = polled.transpose().map_err(|error| Status::from_error(error.into()))? else {
            self.pending = None;
            return Poll::Ready(None);
        };
        if let Some(data) = frame.data_ref() {
            self.count(data)?;
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

fn too_large(size_bytes: u32, max: usize) -> Status {
    let message = format!("the message has {size_bytes} bytes, more than the limit of {max}");
    Refusal::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message)
        .with("size_bytes", size_bytes)
        .quota("message_size_bytes", max)
        .into()
}

fn too_slow(timeout: Duration) -> Status {
    let timeout = humantime::format_duration(timeout);
    let message = format!("the message was not complete within {timeout}");
    Refusal::new(Code::DeadlineExceeded, "MESSAGE_TIMEOUT", message)
        .with("timeout", timeout)
        .into()
}

/// Finds the prefixes of messages in a body, however it is cut into pieces.
#[derive(Default)]
struct Messages {
    prefix: Vec<u8>,
    length: u32,
    rest_of_message: usize,
}

/// What a piece of a body has brought.
#[derive(Default)]
struct Read {
    /// The largest length that a prefix completed by it announces; 0 when it completes none.
    largest: u32,
    /// Whether it has the end of a message.
    completed: bool,
}

impl Messages {
    /// Goes on with the next piece.
    fn read(&mut self, mut piece: &[u8]) -> Read {
        let mut read = Read::default();
        while !piece.is_empty() {
            if self.rest_of_message > 0 {
                let skipped = self.rest_of_message.min(piece.len());
                self.rest_of_message -= skipped;
                piece = &piece[skipped..];
            } else {
                let taken = (PREFIX_BYTES - self.prefix.len()).min(piece.len());
                self.prefix.extend_from_slice(&piece[..taken]);
                piece = &piece[taken..];
                let [_, a, b, c, d] = self.prefix[..] else {
                    return read;
                };
                self.prefix.clear();
                self.length = u32::from_be_bytes([a, b, c, d]);
                self.rest_of_message = usize::try_from(self.length).unwrap_or(usize::MAX);
                read.largest = read.largest.max(self.length);
            }
            read.completed |= self.rest_of_message == 0;
        }
        read
    }

    /// The length of the message that is not complete, once its prefix is.
    fn announced(&self) -> Option<u32> {
        (self.rest_of_message > 0).then_some(self.length)
    }

    fn is_within_message(&self) -> bool {
        self.rest_of_message > 0 || !self.prefix.is_empty()
    }
}

#[cfg(test)]
mod tests;

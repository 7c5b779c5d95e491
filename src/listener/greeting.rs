//! Notices when a peer has said that it speaks HTTP/2: the length of the connection preface has been read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::sync::oneshot;

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113, section 3.4). What is read instead of it is refused by hyper.
const PREFACE_BYTES: usize = 24;

/// A connection that tells when its greeting is complete.
pub(super) struct Greeting<T> {
    io: T,
    missing_bytes: usize,
    complete: Option<oneshot::Sender<()>>,
}

impl<T> Greeting<T> {
    pub(super) fn new(io: T) -> (Self, oneshot::Receiver<()>) {
        let (complete, greeted) = oneshot::channel();
        let greeting = Self {
            io,
            missing_bytes: PREFACE_BYTES,
            complete: Some(complete),
        };
        (greeting, greeted)
    }

    fn read(&mut self, bytes: usize) {
        self.missing_bytes = self.missing_bytes.saturating_sub(bytes);
        if self.missing_bytes == 0
            && let Some(complete) = self.complete.take()
        {
            // Nobody waits for it when the connection is being closed.
            let _ = complete.send(());
        }
    }
}

impl<T: Read + Unpin> Read for Greeting<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.complete.is_none() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        // A cursor does not tell how far it was filled, so the greeting is read into a buffer of its own.
        let mut bytes = [0; PREFACE_BYTES];
        let length = buf.remaining().min(PREFACE_BYTES);
        let mut own = hyper::rt::ReadBuf::new(&mut bytes[..length]);
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, own.unfilled()))?;
        let filled = own.filled();
        buf.put_slice(filled);
        let count = filled.len();
        self.read(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for Greeting<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

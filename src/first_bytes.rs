//! A connection that shows what its peer says first: whether it says anything, and whether that is HTTP/2.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use tokio::sync::oneshot;

/// A connection that hands out the first `N` bytes that were read from it.
pub(crate) struct FirstBytes<T, const N: usize> {
    io: T,
    bytes: [u8; N],
    length: usize,
    complete: Option<oneshot::Sender<[u8; N]>>,
    /// Why writing failed, while what the peer had said before is still being read.
    failed: Option<io::Error>,
}

impl<T: Read + Unpin, const N: usize> FirstBytes<T, N> {
    /// Wraps a connection. The receiver fails when the connection ends before that many bytes were read.
    pub(crate) fn new(io: T) -> (Self, oneshot::Receiver<[u8; N]>) {
        let (complete, bytes) = oneshot::channel();
        let first = Self {
            io,
            bytes: [0; N],
            length: 0,
            complete: Some(complete),
            failed: None,
        };
        (first, bytes)
    }

    /// Reads what is missing of the first bytes: how many more there are.
    fn poll_missing(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<&[u8]>> {
        let (start, end) = (self.length, N.min(self.length + max));
        let mut missing = ReadBuf::new(&mut self.bytes[start..end]);
        ready!(Pin::new(&mut self.io).poll_read(cx, missing.unfilled()))?;
        self.length += missing.filled().len();
        if self.length == N
            && let Some(complete) = self.complete.take()
        {
            // Nobody asks any more when the connection is being closed.
            let _ = complete.send(self.bytes);
        }
        Poll::Ready(Ok(&self.bytes[start..self.length]))
    }

    /// Passes on what writing came to. A peer that hangs up may have said something before: it is still there to be
    /// read, and read before the failure is passed on.
    fn poll_written(&mut self, cx: &mut Context<'_>, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        while written.is_err() && self.length < N {
            match self.poll_missing(cx, N) {
                Poll::Ready(Ok(more)) if !more.is_empty() => {}
                Poll::Ready(_) => break,
                // A socket that cannot be written any more can be read, to its end or its error.
                Poll::Pending => {
                    self.failed = written.err();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(written)
    }
}

impl<T: Read + Unpin, const N: usize> Read for FirstBytes<T, N> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.length == N {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let more = ready!(self.poll_missing(cx, buf.remaining()))?;
        buf.put_slice(more);
        Poll::Ready(Ok(()))
    }
}

impl<T: Read + Write + Unpin, const N: usize> Write for FirstBytes<T, N> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self.failed.take() {
            Some(error) => Err(error),
            None => ready!(Pin::new(&mut self.io).poll_write(cx, buf)),
        };
        self.poll_written(cx, written)
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
        let written = match self.failed.take() {
            Some(error) => Err(error),
            None => ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs)),
        };
        self.poll_written(cx, written)
    }
}

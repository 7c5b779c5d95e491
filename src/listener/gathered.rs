//! A connection whose writes are gathered: what its task writes in one turn goes out in one system call.
//!
//! h2 hands over each larger frame by itself, and flushes it before it makes the next one.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};

/// When more than this waits to be sent, it is sent before more is taken: a slow peer stops its sender.
const WAITING_BYTES_MAX: usize = 32 * 1024;
/// What is kept of the space for it, so that a connection that says little neither holds nor asks for much.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// A connection that [`Gathered::poll_send`] has to be called on at the end of each turn. Clones are the same one.
#[derive(Debug)]
pub(super) struct Gathered<T>(Arc<Mutex<Gathering<T>>>);

#[derive(Debug)]
struct Gathering<T> {
    io: T,
    waiting: Vec<u8>,
    /// How much of it has been sent.
    sent: usize,
    /// Why nothing can be sent any more.
    failed: Option<io::ErrorKind>,
}

impl<T> Clone for Gathered<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Write + Unpin> Gathered<T> {
    pub(super) fn new(io: T) -> Self {
        Self(Arc::new(Mutex::new(Gathering {
            io,
            waiting: Vec::new(),
            sent: 0,
            failed: None,
        })))
    }

    /// Sends what waits. A fault is told with the next write, and by what is read.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().poll_send(cx).map(drop)
    }
}

impl<T> Gathered<T> {
    /// Locked for one call only. A panic elsewhere ends the connection.
    fn lock(&self) -> MutexGuard<'_, Gathering<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Write + Unpin> Gathering<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        while self.sent < self.waiting.len() {
            let sent = match ready!(Pin::new(&mut self.io).poll_write(cx, &self.waiting[self.sent..])) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                sent => sent,
            };
            self.sent += sent.inspect_err(|error: &io::Error| self.failed = Some(error.kind()))?;
        }
        self.waiting.clear();
        self.waiting.shrink_to(KEPT_BYTES_MAX);
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.waiting.len() > WAITING_BYTES_MAX || self.failed.is_some() {
            ready!(self.poll_send(cx))?;
        }
        let before = self.waiting.len();
        pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
        Poll::Ready(Ok(self.waiting.len() - before))
    }
}

impl<T: Read + Unpin> Read for Gathered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().poll_take(cx, &[IoSlice::new(buf)])
    }

    /// The end of the turn flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.lock();
        ready!(gathering.poll_send(cx))?;
        Pin::new(&mut gathering.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_take(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes of a write, one write after the other; nothing after the last.
    struct Peer {
        takes: Vec<usize>,
        taken: Vec<u8>,
        writes: usize,
    }

    impl Write for Peer {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let Some(takes) = self.takes.get(self.writes).map(|takes| buf.len().min(*takes)) else {
                return Poll::Pending;
            };
            self.writes += 1;
            self.taken.extend_from_slice(&buf[..takes]);
            Poll::Ready(Ok(takes))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gathered(takes: &[usize]) -> Gathered<Peer> {
        Gathered::new(Peer {
            takes: takes.to_vec(),
            taken: Vec::new(),
            writes: 0,
        })
    }

    fn write(gathered: &mut Gathered<Peer>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(gathered).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
    }

    fn send(gathered: &Gathered<Peer>) -> Poll<()> {
        gathered.poll_send(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_written_in_a_turn_is_sent_at_once() {
        let mut gathered = gathered(&[100]);
        for piece in ["one ", "two ", "three"] {
            assert!(write(&mut gathered, piece.as_bytes()).is_ready());
        }
        assert_eq!(gathered.lock().io.writes, 0);
        assert!(send(&gathered).is_ready());
        assert_eq!(gathered.lock().io.taken, b"one two three");
        assert_eq!(gathered.lock().io.writes, 1);
        assert!(send(&gathered).is_ready(), "there is nothing to send");
    }

    #[test]
    fn a_peer_that_takes_little_loses_nothing_and_stops_its_sender() {
        let mut gathered = gathered(&[1, 2, 70_000]);
        let bytes: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        gathered.lock().io.takes.truncate(2);
        assert!(write(&mut gathered, &bytes).is_ready());
        assert!(write(&mut gathered, b"more").is_pending(), "too much waits");
        assert!(send(&gathered).is_pending());
        gathered.lock().io.takes.push(70_000);
        assert!(write(&mut gathered, b"more").is_ready());
        gathered.lock().io.takes.push(70_000);
        assert!(send(&gathered).is_ready());
        assert_eq!(gathered.lock().io.taken, [&bytes[..], b"more"].concat());
        assert!(gathered.lock().waiting.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn a_fault_is_told_with_the_next_write() {
        let mut gathered = gathered(&[0]);
        assert!(write(&mut gathered, b"lost").is_ready());
        assert!(send(&gathered).is_ready());
        let told = write(&mut gathered, b"more");
        assert!(matches!(told, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WriteZero));
    }
}

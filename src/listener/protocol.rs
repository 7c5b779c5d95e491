//! Tells HTTP/2 from HTTP/1.1 by what a peer says first, and then lets it be read again.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How every HTTP/2 connection begins (RFC 9113, section 3.4). No request of HTTP/1.1 does.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Listens until the peer has said what it speaks, and no further than an HTTP/2 preface. `None` for a peer that speaks
/// neither, or hangs up.
pub(super) async fn tell<T: AsyncRead + Unpin>(mut io: T) -> Option<(Protocol, Replayed<TokioIo<T>>)> {
    let mut said = [0; PREFACE.len()];
    let mut length = 0;
    let protocol = loop {
        length += match io.read(&mut said[length..]).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => read,
        };
        if said[..length] != PREFACE[..length] {
            // Methods are made of capital letters: this is TLS, or something else that would make nothing of our answer.
            if !said[0].is_ascii_uppercase() {
                return None;
            }
            break Protocol::Http1;
        }
        if length == PREFACE.len() {
            break Protocol::Http2;
        }
    };
    let replayed = Replayed {
        io: TokioIo::new(io),
        said,
        length,
        read: 0,
    };
    Some((protocol, replayed))
}

/// A connection whose first bytes are read a second time.
#[derive(Debug)]
pub(super) struct Replayed<T> {
    io: T,
    said: [u8; PREFACE.len()],
    length: usize,
    read: usize,
}

impl<T: Read + Unpin> Read for Replayed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.read == self.length {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let end = self.length.min(self.read + buf.remaining());
        buf.put_slice(&self.said[self.read..end]);
        self.read = end;
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for Replayed<T> {
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::rt::ReadBuf;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// All that is read of a connection, in pieces of this size at most.
    async fn read_all(mut io: impl Read + Unpin, piece: usize) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut bytes = vec![0; piece];
            let mut read = ReadBuf::new(&mut bytes);
            poll_fn(|cx| Pin::new(&mut io).poll_read(cx, read.unfilled()))
                .await
                .expect("an open connection");
            if read.filled().is_empty() {
                return all;
            }
            all.extend_from_slice(read.filled());
        }
    }

    /// What a peer that says this in pieces of this size speaks, and what is read of it then.
    async fn told(said: &[u8], piece: usize) -> Option<(Protocol, Vec<u8>)> {
        // No more fits than one piece, so that each is read by itself.
        let (mut peer, io) = tokio::io::duplex(piece);
        let said = said.to_vec();
        let peer = async move {
            // Nobody may be listening any more.
            let _ = peer.write_all(&said).await;
        };
        let server = async {
            let (protocol, io) = tell(io).await?;
            Some((protocol, read_all(io, piece).await))
        };
        tokio::join!(peer, server).1
    }

    #[tokio::test]
    async fn each_protocol_is_told_however_it_arrives_and_nothing_said_is_lost() {
        let preface = [&PREFACE[..], b"and frames"].concat();
        for piece in 1..40 {
            assert_eq!(told(&preface, piece).await, Some((Protocol::Http2, preface.clone())));
            for request in [
                "GET / HTTP/1.1\r\n\r\n",
                "POST / HTTP/1.1\r\n\r\n",
                "PRI * HTTP/1.1\r\n\r\n",
                "P",
            ] {
                let request = request.as_bytes().to_vec();
                let expected = (request.len() > 1).then(|| (Protocol::Http1, request.clone()));
                assert_eq!(told(&request, piece).await, expected, "{piece}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_http_is_told_at_its_first_byte() {
        for said in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01", b"ssh-2.0", b"\0"] {
            assert_eq!(told(said, 100).await, None);
        }
    }
}

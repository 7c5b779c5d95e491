//! A connection that a probe holds: the wire over a socket.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use homeroom::transport::is_silence;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::wire::{CallId, Fault, News, Wire};

/// How much is read at once: more than an idle peer says.
const READ_BYTES: usize = 2 * 1024;

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order, by the peer.
    Closed,
    /// It broke: the peer died, or hung up.
    Broken(String),
    /// What the peer said was not HTTP/2.
    NotHttp2(String),
    /// What the peer said was TLS, which this side does not speak.
    Tls(String),
    /// The kernel gave it up: what was sent was never acknowledged, or the host cannot be reached any more.
    Silent(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        if is_silence(error.kind()) {
            Self::Silent(error.to_string())
        } else {
            Self::Broken(error.to_string())
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotHttp2(cause) => Self::NotHttp2(cause),
            Fault::Tls(cause) => Self::Tls(cause),
            Fault::Broken(cause) => Self::Broken(cause),
        }
    }
}

/// An open connection; it closes when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    pub(super) wire: Wire,
    /// Why nothing can be sent any more, while what the peer had said before is still being read.
    failed: Option<End>,
    /// How it ended, while what came before is still being told.
    ended: Option<End>,
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            wire: Wire::new(),
            failed: None,
            ended: None,
        }
    }

    /// Sends what is to be sent, and waits until something came; it may tell nothing of calls. Cancel safe.
    ///
    /// # Errors
    /// How the connection ended. It is not to be asked again then.
    pub(super) async fn next(&mut self) -> Result<Vec<(CallId, News)>, End> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<(CallId, News)>, End>> {
        if let Some(end) = self.ended.take() {
            return Poll::Ready(Err(end));
        }
        self.poll_send(cx);
        let (mut news, mut came) = (Vec::new(), false);
        while !self.wire.is_clogged() && self.ended.is_none() {
            match self.poll_read(cx, &mut news) {
                Poll::Ready(Ok(())) => came = true,
                Poll::Ready(Err(end)) => self.ended = Some(end),
                Poll::Pending => break,
            }
        }
        match self.ended.take_if(|_| news.is_empty()) {
            Some(end) => Poll::Ready(Err(end)),
            None if came => {
                self.poll_send(cx);
                Poll::Ready(Ok(news))
            }
            None => Poll::Pending,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) {
        while !self.wire.outgoing().is_empty() && self.failed.is_none() {
            match Pin::new(&mut self.stream).poll_write(cx, self.wire.outgoing()) {
                Poll::Pending => return,
                Poll::Ready(Ok(sent)) => self.wire.sent(sent),
                Poll::Ready(Err(error)) => self.failed = Some(error.into()),
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, news: &mut Vec<(CallId, News)>) -> Poll<Result<(), End>> {
        let mut bytes = [0; READ_BYTES];
        let mut bytes = ReadBuf::new(&mut bytes);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut bytes));
        let end = match read {
            Ok(()) if !bytes.filled().is_empty() => {
                news.append(&mut self.wire.take(bytes.filled())?);
                return Poll::Ready(Ok(()));
            }
            Ok(()) if self.wire.is_amid_calls() => End::Broken("it hung up in the middle of a call".to_owned()),
            Ok(()) => End::Closed,
            Err(error) => error.into(),
        };
        Poll::Ready(Err(self.failed.take().unwrap_or(end)))
    }
}

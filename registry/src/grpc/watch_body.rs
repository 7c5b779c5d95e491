//! The body of a watch: hands out the pieces of its stream as they are, without a copy.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use crate::{error::Error, watch::Watcher};

/// The body of a watch.
#[derive(Debug)]
pub(super) struct WatchBody {
    /// Gone when the stream has ended.
    watcher: Option<Watcher>,
}

impl WatchBody {
    pub(super) fn new(watcher: Watcher) -> Self {
        Self { watcher: Some(watcher) }
    }
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(watcher) = &mut self.watcher else {
            return Poll::Ready(None);
        };
        let frame = match ready!(watcher.poll_piece(cx)) {
            Ok(piece) => Frame::data(piece),
            Err(error) => {
                self.watcher = None;
                Frame::trailers(trailers(error))
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.watcher.is_none()
    }
}

fn trailers(error: Error) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // What cannot be a header is left out, which no error of ours has.
    let _ = Status::from(error).add_header(&mut trailers);
    trailers
}

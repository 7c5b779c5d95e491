//! A request on its way, which can be sent more than once while its body is small and whole.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use tonic::{Status, body::Body};

/// A body beyond this is sent once only: what is kept for sending again is held for as long as a call runs.
const WHOLE_BYTES_MAX: usize = 64 * 1024;

/// A request that is to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    head: Parts,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// All of it: that of a unary call, as generated clients make it.
    Whole(Bytes),
    /// A body that is still being made, or is too large; `None` once it was given away.
    Once(Option<Body>),
}

impl Outgoing {
    /// Takes what there is of the body without waiting for more.
    ///
    /// # Errors
    /// When the body cannot be made.
    pub(super) async fn new(request: Request<Body>) -> Result<Self, Status> {
        let (head, mut body) = request.into_parts();
        let mut made = Made::default();
        let content = loop {
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await {
                Poll::Ready(None) => break Content::Whole(made.into_bytes()),
                Poll::Ready(Some(frame)) => {
                    if !made.take(frame?) {
                        break Content::Once(Some(made.before(body)));
                    }
                }
                Poll::Pending => break Content::Once(Some(made.before(body))),
            }
        };
        Ok(Self { head, content })
    }

    /// The request for the next try; `None` when its body was given away before.
    pub(super) fn next(&mut self) -> Option<Request<Body>> {
        let body = match &mut self.content {
            Content::Whole(bytes) => Body::new(Full::new(bytes.clone())),
            Content::Once(body) => body.take()?,
        };
        Some(Request::from_parts(self.head.clone(), body))
    }

    /// Whether there is something to send another time.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.content, Content::Whole(_))
    }

    /// Takes back a request that never left.
    pub(super) fn take_back(&mut self, unsent: Request<Body>) {
        if let Content::Once(body) = &mut self.content {
            *body = Some(unsent.into_body());
        }
    }
}

/// What was made of a body.
#[derive(Debug, Default)]
struct Made {
    frames: VecDeque<Frame<Bytes>>,
    size_bytes: usize,
}

impl Made {
    /// Takes a frame. Tells whether the body can still be held whole.
    fn take(&mut self, frame: Frame<Bytes>) -> bool {
        let data = frame.data_ref().map(Bytes::len);
        self.size_bytes += data.unwrap_or_default();
        self.frames.push_back(frame);
        data.is_some() && self.size_bytes <= WHOLE_BYTES_MAX
    }

    fn into_bytes(mut self) -> Bytes {
        if self.frames.len() > 1 {
            let frames = self.frames.into_iter().filter_map(|frame| frame.into_data().ok());
            return frames.collect::<Vec<_>>().concat().into();
        }
        let only = self.frames.pop_front().and_then(|frame| frame.into_data().ok());
        only.unwrap_or_default()
    }

    /// The body as it was.
    fn before(self, rest: Body) -> Body {
        Body::new(Resumed {
            frames: self.frames,
            rest,
        })
    }
}

/// A body of which a part was made before it was asked for.
struct Resumed {
    frames: VecDeque<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for Resumed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Only an upper bound would be of use, and nobody asks for one.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn request(parts: &[&'static [u8]], goes_on: bool) -> Request<Body> {
        let frames = parts
            .iter()
            .map(|part| Ok::<_, Status>(Frame::data(Bytes::from_static(part))));
        let frames = stream::iter(frames.collect::<Vec<_>>());
        let body = if goes_on {
            Body::new(StreamBody::new(frames.chain(stream::once(async {
                tokio::task::yield_now().await;
                Ok(Frame::data(Bytes::from_static(b"late")))
            }))))
        } else {
            Body::new(StreamBody::new(frames))
        };
        Request::new(body)
    }

    async fn outgoing(request: Request<Body>) -> Outgoing {
        let outgoing = Outgoing::new(request).now_or_never();
        outgoing.expect("it does not wait").expect("a sound body")
    }

    async fn sent(outgoing: &mut Outgoing) -> Option<Bytes> {
        let body = outgoing.next()?.into_body();
        Some(body.collect().await.expect("a sound body").to_bytes())
    }

    #[tokio::test]
    async fn a_whole_body_can_be_sent_again() {
        let bodies: [&[&[u8]]; 3] = [&[], &[b"ab"], &[b"ab", b"cd"]];
        for parts in bodies {
            let mut outgoing = outgoing(request(parts, false)).await;
            assert!(outgoing.is_whole());
            for _ in 0..2 {
                assert_eq!(sent(&mut outgoing).await, Some(Bytes::from(parts.concat())));
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_still_being_made_is_sent_once_as_it_was() {
        let mut outgoing = outgoing(request(&[b"ab", b"cd"], true)).await;
        assert!(!outgoing.is_whole());
        let unsent = outgoing.next().expect("a first try");
        assert!(outgoing.next().is_none());
        outgoing.take_back(unsent);
        assert_eq!(sent(&mut outgoing).await, Some("abcdlate".into()));
        assert_eq!(sent(&mut outgoing).await, None);
    }

    #[tokio::test]
    async fn a_large_body_is_sent_once_as_it_was() {
        static HALF: [u8; WHOLE_BYTES_MAX / 2] = [1; WHOLE_BYTES_MAX / 2];
        let mut small = outgoing(request(&[&HALF, &HALF], false)).await;
        assert!(small.is_whole());
        assert_eq!(sent(&mut small).await.map(|bytes| bytes.len()), Some(WHOLE_BYTES_MAX));
        let mut large = outgoing(request(&[&HALF, &HALF, b"x", b"y"], false)).await;
        assert!(!large.is_whole());
        assert_eq!(
            sent(&mut large).await.map(|bytes| bytes.len()),
            Some(WHOLE_BYTES_MAX + 2)
        );
    }
}

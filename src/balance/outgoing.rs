//! A request on its way, which can be sent more than once while its body is small and whole.

use std::{future::poll_fn, pin::Pin, task::Poll};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::Body as _;
use http_body_util::Full;
use tonic::{Status, body::Body};

use super::held::Held;

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
        let mut made = Held::default();
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

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    use super::{super::held::HELD_BYTES_MAX, *};

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
        static HALF: [u8; HELD_BYTES_MAX / 2] = [1; HELD_BYTES_MAX / 2];
        let mut small = outgoing(request(&[&HALF, &HALF], false)).await;
        assert!(small.is_whole());
        assert_eq!(sent(&mut small).await.map(|bytes| bytes.len()), Some(HELD_BYTES_MAX));
        let mut large = outgoing(request(&[&HALF, &HALF, b"x", b"y"], false)).await;
        assert!(!large.is_whole());
        assert_eq!(
            sent(&mut large).await.map(|bytes| bytes.len()),
            Some(HELD_BYTES_MAX + 2)
        );
    }
}

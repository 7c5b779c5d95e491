//! A body that is held back until it is whole, or known not to be held whole: that of a request which may be sent again,
//! and that of an answer which may have to be asked for again.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};

/// A body beyond this is passed on as it comes: a request is held for as long as its call runs.
pub(super) const HELD_BYTES_MAX: usize = 64 * 1024;
/// How long an answer that has begun is held back. The end of a unary one comes with its message, but for a server that
/// is interrupted in between; a stream has no end yet.
const HELD_TIME_MAX: Duration = Duration::from_millis(10);

/// Holds an answer back until it is whole or goes on for longer: what breaks off before has not been seen by the caller.
///
/// # Errors
/// How it broke off.
pub(super) async fn begun(answer: Response<Body>) -> Result<Response<Body>, Status> {
    let (head, mut body) = answer.into_parts();
    let mut held = Held::default();
    let mut next = body.frame().await;
    let until = Instant::now() + HELD_TIME_MAX;
    while let Some(frame) = next {
        if !held.take(frame?) {
            break;
        }
        next = match timeout_at(until, body.frame()).await {
            Ok(next) => next,
            Err(_) => break,
        };
    }
    Ok(Response::from_parts(head, held.before(body)))
}

/// The beginning of a body.
#[derive(Debug, Default)]
pub(super) struct Held {
    frames: VecDeque<Frame<Bytes>>,
    size_bytes: usize,
}

impl Held {
    /// Takes a frame. Tells whether the body goes on, and can still be held whole.
    pub(super) fn take(&mut self, frame: Frame<Bytes>) -> bool {
        let data = frame.data_ref().map(Bytes::len);
        self.size_bytes += data.unwrap_or_default();
        self.frames.push_back(frame);
        data.is_some() && self.size_bytes <= HELD_BYTES_MAX
    }

    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.frames.len() > 1 {
            let frames = self.frames.into_iter().filter_map(|frame| frame.into_data().ok());
            return frames.collect::<Vec<_>>().concat().into();
        }
        let only = self.frames.pop_front().and_then(|frame| frame.into_data().ok());
        only.unwrap_or_default()
    }

    /// The body as it was.
    pub(super) fn before(self, rest: Body) -> Body {
        Body::new(Resumed {
            frames: self.frames,
            rest,
        })
    }
}

/// A body of which a part was taken before it was asked for.
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
    use http_body_util::StreamBody;
    use tokio::time::sleep;

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, Status>>;

    fn data() -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::from_static(b"message")))
    }

    fn end() -> Result<Frame<Bytes>, Status> {
        Ok(Frame::trailers(http::HeaderMap::new()))
    }

    fn lost() -> Result<Frame<Bytes>, Status> {
        Err(Status::unavailable("lost"))
    }

    /// An answer whose frames come with pauses of `between`.
    fn answer(frames: Frames, between: Duration) -> Response<Body> {
        let frames = futures_util::stream::unfold(frames.into_iter(), move |mut frames| async move {
            let frame = frames.next()?;
            sleep(between).await;
            Some((frame, frames))
        });
        Response::new(Body::new(StreamBody::new(frames)))
    }

    async fn read(answer: Response<Body>) -> Result<usize, Status> {
        let mut body = answer.into_body();
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            frame?;
            count += 1;
        }
        Ok(count)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_breaks_off_at_once_is_not_passed_on() {
        for frames in [vec![lost()], vec![data(), lost()]] {
            let broken = begun(answer(frames, HELD_TIME_MAX / 2)).await;
            assert_eq!(broken.expect_err("it is lost").message(), "lost");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_passed_on_as_it_was() {
        for between in [Duration::ZERO, HELD_TIME_MAX / 2, HELD_TIME_MAX * 2] {
            let held = begun(answer(vec![data(), data(), end()], between)).await;
            assert_eq!(read(held.expect("nothing is lost")).await.expect("nothing is lost"), 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_held_back_for_a_moment_only() {
        let start = Instant::now();
        let held = begun(answer(vec![data(), lost()], HELD_TIME_MAX * 2)).await;
        assert_eq!(start.elapsed(), HELD_TIME_MAX * 3, "the first frame came after two");
        read(held.expect("it has begun")).await.expect_err("it is lost later");
    }
}

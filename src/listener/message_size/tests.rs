use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::{sync::mpsc, time::advance};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{MessageLimits, MessageSize, Messages};
use crate::{listener::budget::Budget, status};

const TIMEOUT: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(1);
/// The prefix of a message of ten bytes.
const TEN: [u8; 5] = [0, 0, 0, 0, 10];

fn limits() -> MessageLimits {
    MessageLimits {
        size_bytes: 100,
        timeout: TIMEOUT,
        pending: Budget::new("pending_size_bytes", 25),
        pending_total: Budget::new("pending_total_size_bytes", 1_000),
    }
}

type Piece = Result<Frame<Bytes>, Status>;

/// A request, and the peer that sends it.
struct Call {
    body: MessageSize<StreamBody<ReceiverStream<Piece>>>,
    peer: mpsc::Sender<Piece>,
}

impl Call {
    fn new(limits: &MessageLimits) -> Self {
        let (peer, frames) = mpsc::channel(8);
        let body = StreamBody::new(ReceiverStream::new(frames));
        Self {
            body: MessageSize::new(body, limits.clone()),
            peer,
        }
    }

    fn send(&self, piece: &[u8]) {
        let frame = Frame::data(Bytes::copy_from_slice(piece));
        self.peer.try_send(Ok(frame)).expect("few pieces");
    }

    /// Reads all that is there; `None` when nothing failed.
    fn read(&mut self) -> Option<Status> {
        while let Some(Some(frame)) = self.body.frame().now_or_never() {
            if let Err(status) = frame {
                return Some(status);
            }
        }
        None
    }

    fn receive(&mut self, piece: &[u8]) -> Option<Status> {
        self.send(piece);
        self.read()
    }
}

fn code_and_reason(status: Option<Status>) -> (Code, String) {
    let status = status.expect("it fails");
    (status.code(), status::reason(&status).unwrap_or_default())
}

fn timed_out() -> (Code, String) {
    (Code::DeadlineExceeded, "MESSAGE_TIMEOUT".to_owned())
}

fn too_many() -> (Code, String) {
    (Code::ResourceExhausted, "TOO_MANY_PENDING_BYTES".to_owned())
}

#[test]
fn lengths_are_found_however_the_body_is_cut() {
    let body = [&[0, 0, 0, 0, 3, 9, 9, 9][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0]].concat();
    for size in 1..=body.len() {
        let mut messages = Messages::default();
        let mut last = 0;
        let mut completed = false;
        for piece in body.chunks(size) {
            let read = messages.read(piece);
            last = if read.largest > 0 { read.largest } else { last };
            completed |= read.completed;
        }
        assert_eq!(last, 256, "in pieces of {size}");
        assert!(completed, "in pieces of {size}");
        assert_eq!(messages.announced(), Some(256), "in pieces of {size}");
    }
}

#[tokio::test]
async fn pending_bytes_are_given_back_when_the_call_is_over_not_when_the_message_is_complete() {
    let limits = limits();
    let (mut first, mut second) = (Call::new(&limits), Call::new(&limits));
    assert!(first.receive(&TEN).is_none());
    assert!(second.receive(&TEN).is_none());
    assert_eq!(code_and_reason(Call::new(&limits).receive(&TEN)), too_many());
    // The end of one message and the beginning of the next, in one piece.
    assert!(first.receive(&[&[0; 10][..], &TEN].concat()).is_none());
    assert_eq!(code_and_reason(Call::new(&limits).receive(&TEN)), too_many());
    assert!(first.receive(&[0; 10]).is_none());
    assert_eq!(
        code_and_reason(Call::new(&limits).receive(&TEN)),
        too_many(),
        "its buffer is still there"
    );
    drop(first);
    let mut third = Call::new(&limits);
    assert!(third.receive(&TEN).is_none(), "the first one is gone");
    drop(second);
    assert!(Call::new(&limits).receive(&TEN).is_none(), "the second one is gone");
}

#[tokio::test]
async fn a_message_that_comes_whole_is_not_counted() {
    let limits = limits();
    let mut call = Call::new(&limits);
    let whole = [&[0, 0, 0, 0, 90][..], &[0; 90]].concat();
    assert!(call.receive(&whole).is_none(), "90 are more than 25");
    assert_eq!(code_and_reason(call.receive(&whole[..20])), too_many());
}

#[tokio::test]
async fn all_connections_share_the_total_and_a_failed_try_costs_neither_budget() {
    let ours = MessageLimits {
        pending_total: Budget::new("pending_total_size_bytes", 15),
        ..limits()
    };
    let theirs = MessageLimits {
        pending: Budget::new("pending_size_bytes", 10),
        ..ours.clone()
    };
    let mut first = Call::new(&ours);
    assert!(first.receive(&TEN).is_none());
    let status = Call::new(&theirs).receive(&TEN).expect("the total is used up");
    let details = status.get_error_details();
    let violation = &details.quota_failure().expect("a quota failure").violations[0];
    assert_eq!(violation.subject, "pending_total_size_bytes");
    drop(first);
    assert!(Call::new(&theirs).receive(&TEN).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_in_has_no_more_time_than_any_other() {
    let mut call = Call::new(&limits());
    assert!(call.receive(&TEN[..1]).is_none(), "a message begins with its prefix");
    for byte in &TEN[1..] {
        advance(TIMEOUT / 6).await;
        assert!(call.receive(&[*byte]).is_none());
    }
    advance(TIMEOUT / 6 * 2 + TICK).await;
    assert_eq!(code_and_reason(call.receive(&[0; 9])), timed_out());
}

#[tokio::test(start_paused = true)]
async fn each_message_has_its_own_time() {
    let mut call = Call::new(&limits());
    for _ in 0..3 {
        assert!(call.receive(&TEN).is_none());
        advance(TIMEOUT - TICK).await;
        assert!(call.receive(&[&[0; 10][..], &TEN[..2]].concat()).is_none());
        advance(TIMEOUT - TICK).await;
        assert!(call.receive(&[&TEN[2..], &[0; 10]].concat()).is_none());
        advance(TIMEOUT * 2).await;
        assert!(call.read().is_none(), "between messages a peer may be silent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_whole_arms_no_timer() {
    let mut call = Call::new(&limits());
    assert!(call.receive(&[&TEN[..], &[0; 10]].concat()).is_none());
    assert!(call.body.timer.is_none());
    assert!(call.receive(&TEN).is_none());
    assert!(call.body.timer.is_some());
    assert!(call.receive(&[0; 10]).is_none());
    assert!(call.body.timer.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_read_costs_its_caller_no_time() {
    let mut call = Call::new(&limits());
    call.send(&[&TEN[..], &[0; 10], &TEN].concat());
    let frame = call.body.frame().now_or_never().flatten();
    frame.expect("a frame").expect("it is within the limits");
    advance(TIMEOUT * 2).await;
    assert!(call.read().is_none(), "the peer is waited for from now on");
    advance(TIMEOUT + TICK).await;
    assert_eq!(code_and_reason(call.read()), timed_out());
}

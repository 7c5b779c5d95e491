//! The stream to Log, opened again whenever it breaks.

use std::{
    hash::{BuildHasher, RandomState},
    pin::Pin,
    time::Duration,
};

use futures_util::stream;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tonic::{Response, Status, Streaming};
use tonic_types::StatusExt;

use crate::{
    backoff::Backoff,
    balance::Channel,
    proto::log::v1::{IngestRequest, IngestResponse, log_client::LogClient},
};

/// Between two tries to open a stream.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

type Opening = Pin<Box<dyn Future<Output = Result<Response<Streaming<IngestResponse>>, Status>> + Send>>;

/// An `Ingest` stream of a writer.
pub(super) struct Link {
    log: LogClient<Channel>,
    writer: String,
    backoff: Backoff,
    state: State,
}

enum State {
    Closed {
        open_at: Instant,
    },
    Opening {
        // Unbounded, as the sender keeps within what Log lets be under way.
        requests: mpsc::UnboundedSender<IngestRequest>,
        opening: Opening,
    },
    Open {
        requests: mpsc::UnboundedSender<IngestRequest>,
        answers: Box<Streaming<IngestResponse>>,
        /// Whether Log has told which batches it has.
        greeted: bool,
    },
}

impl Link {
    pub(super) fn new(log: Channel) -> Self {
        Self {
            log: LogClient::new(log),
            writer: random_name(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
            state: State::Closed {
                open_at: Instant::now(),
            },
        }
    }

    /// The next acknowledgement, of a stream that is opened when there is none: the first one of a stream tells which
    /// batches Log has. Cancel safe.
    ///
    /// # Errors
    /// When the stream cannot be opened, or ends. It must be closed then.
    pub(super) async fn next(&mut self) -> Result<IngestResponse, Status> {
        loop {
            match &mut self.state {
                State::Closed { open_at } => {
                    sleep_until(*open_at).await;
                    self.state = self.opening();
                }
                State::Opening { requests, opening } => {
                    let answers = Box::new(opening.as_mut().await?.into_inner());
                    self.state = State::Open {
                        requests: requests.clone(),
                        answers,
                        greeted: false,
                    };
                }
                State::Open { answers, greeted, .. } => {
                    let answer = answers.message().await?;
                    *greeted = true;
                    return answer.ok_or_else(|| Status::unavailable("the stream ended"));
                }
            }
        }
    }

    fn opening(&mut self) -> State {
        let (requests, mut queued) = mpsc::unbounded_channel();
        let greeting = IngestRequest {
            writer: self.writer.clone(),
            ..IngestRequest::default()
        };
        // The receiver is right here.
        let _ = requests.send(greeting);
        let mut log = self.log.clone();
        let opening = async move { log.ingest(stream::poll_fn(move |cx| queued.poll_recv(cx))).await };
        State::Opening {
            requests,
            opening: Box::pin(opening),
        }
    }

    /// Whether batches can be sent: after Log has told which ones it has.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Open { greeted: true, .. })
    }

    /// Whether there is a stream, or soon will be.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// Sends a batch. On a stream that has ended it is lost, as the next answer will tell.
    pub(super) fn send(&self, request: IngestRequest) {
        if let State::Open { requests, .. } = &self.state {
            let _ = requests.send(request);
        }
    }

    /// Gives up the stream. The next one is opened after a while, which doubles until a batch is acknowledged, and is at
    /// least what Log has asked for.
    pub(super) fn close(&mut self, why: &Status) {
        let asked = why.get_details_retry_info().and_then(|info| info.retry_delay);
        let pause = self.backoff.next_delay().max(asked.unwrap_or_default().min(RETRY_MAX));
        self.state = State::Closed {
            open_at: Instant::now() + pause,
        };
    }

    /// Batches go through.
    pub(super) fn works(&mut self) {
        self.backoff.reset();
    }
}

/// A name that no other process has: 128 bits of what the standard library gets from the system for its hash maps.
fn random_name() -> String {
    let random = RandomState::new();
    let [high, low] = [0_u8, 1].map(|half| random.hash_one(half));
    format!("{high:016x}{low:016x}")
}

//! The backend that entries are forwarded to: its two services, and what its answers mean.

use std::time::Duration;

use homeroom::{
    balance::Channel,
    model::Address,
    proto::opentelemetry::proto::collector::{
        logs::v1::logs_service_client::LogsServiceClient, trace::v1::trace_service_client::TraceServiceClient,
    },
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use tracing::instrument::WithSubscriber;

use super::otlp;
use crate::entry::Entry;

/// How long a backend may take to answer.
const EXPORT_PATIENCE: Duration = Duration::from_secs(30);

/// Which of its services a backend is sent something by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Logs,
    Spans,
}

impl Signal {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Logs => Self::Spans,
            Self::Spans => Self::Logs,
        }
    }
}

/// What a backend took only a part of: how many it refused, and its words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) refused: u64,
    pub(super) words: String,
}

/// The clients of a backend.
pub(super) struct Backend {
    logs: LogsServiceClient<Channel>,
    spans: TraceServiceClient<Channel>,
}

impl Backend {
    pub(super) fn new(endpoint: Address) -> Self {
        let channel = Channel::fixed(endpoint);
        Self {
            logs: LogsServiceClient::new(channel.clone()),
            spans: TraceServiceClient::new(channel),
        }
    }

    /// Sends entries, or asks with none whether it would take them.
    ///
    /// What it causes in this process is not logged: it would be forwarded, and so never come to an end.
    ///
    /// # Errors
    /// What the backend answers, or UNAVAILABLE when it cannot be reached.
    pub(super) async fn export(&mut self, signal: Signal, entries: &[&Entry]) -> Result<Partial, Status> {
        let quiet = tracing::subscriber::NoSubscriber::new();
        self.send(signal, entries).with_subscriber(quiet).await
    }

    async fn send(&mut self, signal: Signal, entries: &[&Entry]) -> Result<Partial, Status> {
        let partial = match signal {
            Signal::Logs => {
                let answer = self.logs.export(patient(otlp::logs(entries))).await?;
                let partial = answer.into_inner().partial_success;
                partial.map(|partial| (partial.rejected_log_records, partial.error_message))
            }
            Signal::Spans => {
                let answer = self.spans.export(patient(otlp::spans(entries))).await?;
                let partial = answer.into_inner().partial_success;
                partial.map(|partial| (partial.rejected_spans, partial.error_message))
            }
        };
        let (refused, words) = partial.unwrap_or_default();
        Ok(Partial {
            refused: refused.try_into().unwrap_or(0),
            words,
        })
    }
}

fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(EXPORT_PATIENCE);
    request
}

/// What to do after an answer that is an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same again, after what the backend asks for besides the own backoff.
    Again(Duration),
    /// Something in it cannot be taken.
    Invalid,
    /// It may be too much at once.
    TooLarge,
    /// The backend does not have the service.
    NoService,
}

/// Judges an error as OTLP has it, but that nothing is given up which people can mend: credentials, or a backend that
/// is set up otherwise.
pub(super) fn judge(status: &Status) -> Verdict {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::InvalidArgument => Verdict::Invalid,
        // So do servers refuse a message that is too large for them; one that is overloaded says when to come back.
        Code::OutOfRange => Verdict::TooLarge,
        Code::ResourceExhausted if asked.is_none() => Verdict::TooLarge,
        Code::Unimplemented => Verdict::NoService,
        _ => Verdict::Again(asked.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn every_code_has_its_verdict() {
        for code in (1..=16).map(Code::from) {
            let expected = match code {
                Code::InvalidArgument => Verdict::Invalid,
                Code::OutOfRange | Code::ResourceExhausted => Verdict::TooLarge,
                Code::Unimplemented => Verdict::NoService,
                _ => Verdict::Again(Duration::ZERO),
            };
            assert_eq!(judge(&Status::new(code, "no")), expected, "{code}");
        }
    }

    #[test]
    fn a_backend_that_says_when_to_come_back_is_asked_then() {
        let delay = Duration::from_secs(7);
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            let details = ErrorDetails::with_retry_info(Some(delay));
            let status = Status::with_error_details(code, "later", details);
            assert_eq!(judge(&status), Verdict::Again(delay), "{code}");
        }
    }
}

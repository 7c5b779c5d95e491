//! `Tail`.

use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use homeroom::proto::log::v1::{self as proto, in_place::TailResponse};
use tonic::Status;

use super::{LogApi, query::filter};
use crate::{
    error::Error,
    query::Missed,
    tail::{Part, Start},
};

/// Follows the log.
///
/// # Errors
/// [`Error::Invalid`].
pub(super) fn tail(
    api: &LogApi,
    request: proto::TailRequest,
) -> Result<impl Stream<Item = Result<TailResponse, Status>> + use<>, Error> {
    let filter = filter(request.filter)?;
    let start = Start {
        after: request.after_sequence,
        lag_max: request.lag_max,
    };
    let parts = api.tails.follow(filter, start, api.shutdown.clone());
    let metrics = api.metrics.clone();
    Ok(parts.map(move |part| {
        let answer = TailResponse::from(part?);
        metrics.on_dropped(answer.dropped.map_or(0, |dropped| dropped.count));
        Ok(answer)
    }))
}

impl From<Part> for TailResponse {
    fn from(part: Part) -> Self {
        // Mostly nobody else has it.
        let found = part.found.map(Arc::unwrap_or_clone);
        let entries = found.map(|found| found.entries).unwrap_or_default();
        Self {
            entries: entries.into_iter().map(|entry| entry.message).collect(),
            sequence: part.sequence,
            dropped: part.dropped.map(Into::into),
        }
    }
}

impl From<Missed> for proto::Dropped {
    fn from(missed: Missed) -> Self {
        Self {
            count: missed.last - missed.first + 1,
            first_sequence: missed.first,
            last_sequence: missed.last,
        }
    }
}

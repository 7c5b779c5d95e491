//! What Log knows of itself.

use std::time::SystemTime;

use homeroom::proto::log::v1 as proto;

use super::LogApi;
use crate::{config::StoreSettings, forward::Forward};

/// How much is held, and what keeps it from working as it should. Blocks for no longer than it takes to ask for the room
/// on the disk.
pub(crate) fn status(log: &LogApi, now: SystemTime) -> proto::GetStatusResponse {
    proto::GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(log.start_time.into()),
        server_time: Some(now.into()),
        first_sequence: log.store.first(),
        last_sequence: *log.store.visible().borrow(),
        store: Some(proto::Store {
            state: proto::StoreState::Ok.into(),
            ..Default::default()
        }),
        retention: Some(retention(&log.settings)),
        forward: log.forward.as_deref().map(forward),
        tails: log.metrics.tails(),
    }
}

fn retention(settings: &StoreSettings) -> proto::Retention {
    proto::Retention {
        size_max_bytes: settings.retention_size_bytes,
        age_max: settings.retention_age.and_then(|age| age.try_into().ok()),
        free_min_bytes: settings.retention_free_bytes,
        ..Default::default()
    }
}

fn forward(forward: &Forward) -> proto::Forward {
    proto::Forward {
        endpoint: forward.endpoint().to_string(),
        sequence: forward.sequence(),
        cause: forward.cause(),
    }
}

//! What Log knows of itself.

use std::time::SystemTime;

use homeroom::proto::log::v1 as proto;

use super::LogApi;
use crate::{
    config::StoreSettings,
    forward::Forward,
    store::{Health, Usage},
};

/// How much is held, and what keeps it from working as it should. Asks the disk for its room, which is known to the system.
pub(crate) fn status(log: &LogApi, now: SystemTime) -> proto::GetStatusResponse {
    let usage = log.store.usage();
    proto::GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(log.start_time.into()),
        server_time: Some(now.into()),
        first_sequence: log.store.first(),
        last_sequence: *log.store.visible().borrow(),
        store: Some(store(log.store.health(), &usage)),
        retention: Some(retention(&log.settings, &usage)),
        forward: log.forward.as_deref().map(forward),
        tails: log.tails.open(),
    }
}

fn store(health: Health, usage: &Usage) -> proto::Store {
    let damaged = match usage.damaged_parts {
        0 => String::new(),
        parts => format!("{parts} parts of segments are damaged and left out"),
    };
    let (state, cause) = match health {
        Health::Working => (proto::StoreState::Ok, damaged),
        Health::Full(cause) => (proto::StoreState::Full, cause),
        Health::Failed(cause) => (proto::StoreState::Failed, cause),
    };
    proto::Store {
        state: state.into(),
        cause,
        size_bytes: usage.size_bytes,
        segments: usage.segments.try_into().unwrap_or(u32::MAX),
        free_bytes: usage.free_bytes,
    }
}

fn retention(settings: &StoreSettings, usage: &Usage) -> proto::Retention {
    proto::Retention {
        size_max_bytes: settings.retention_size_bytes,
        age_max: settings.retention_age.and_then(|age| age.try_into().ok()),
        free_min_bytes: settings.retention_free_bytes,
        deleted_segments: usage.deleted_segments,
        deleted_entries: usage.deleted_entries,
    }
}

fn forward(forward: &Forward) -> proto::Forward {
    proto::Forward {
        endpoint: forward.endpoint().to_string(),
        sequence: forward.sequence(),
        cause: forward.cause(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;
    use homeroom::{
        metrics::{Format, Metrics},
        proto::log::v1::in_place::log_server::Log,
        shutdown::Shutdown,
        testing::Exposition,
    };
    use tonic::Request;

    use super::{
        super::tests::{entry, write},
        *,
    };

    #[test]
    fn a_store_that_takes_nothing_says_why() {
        let usage = Usage {
            segments: 1,
            size_bytes: 2,
            free_bytes: 3,
            deleted_segments: 0,
            deleted_entries: 0,
            damaged_parts: 4,
        };
        let told = |health| {
            let store = store(health, &usage);
            (store.state(), store.cause)
        };
        let damaged = "4 parts of segments are damaged and left out".to_owned();
        assert_eq!(told(Health::Working), (proto::StoreState::Ok, damaged));
        let why = || "why".to_owned();
        assert_eq!(told(Health::Full(why())), (proto::StoreState::Full, why()));
        assert_eq!(told(Health::Failed(why())), (proto::StoreState::Failed, why()));
    }

    #[tokio::test]
    async fn the_status_says_what_is_kept_and_for_how_long() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let settings = StoreSettings {
            retention_size_bytes: 1 << 40,
            retention_age: Some(Duration::from_secs(3600)),
            retention_free_bytes: 0,
            ..Default::default()
        };
        let log = LogApi::open(directory.path(), &settings, Shutdown::new()).await;
        let log = log.expect("an open log");
        let now = log.start_time + Duration::from_secs(5);
        let empty = status(&log, now);
        assert_eq!((empty.first_sequence, empty.last_sequence), (1, 0));
        assert_eq!(
            (empty.start_time, empty.server_time),
            (Some(log.start_time.into()), Some(now.into()))
        );
        assert_eq!(empty.version, env!("CARGO_PKG_VERSION"));
        write(&log, vec![entry("a"), entry("b")]).await.expect("written");
        let answer = log
            .get_status(Request::new(proto::GetStatusRequest {}))
            .await
            .expect("a status")
            .into_inner();
        assert_eq!((answer.first_sequence, answer.last_sequence), (1, 2));
        let store = answer.store.expect("a store");
        assert_eq!((store.state(), store.segments), (proto::StoreState::Ok, 1));
        let line_bytes = std::fs::read_dir(directory.path()).expect("a directory").map(|file| {
            let file = file.expect("a file");
            let is_segment = file.file_name().to_string_lossy().ends_with(".jsonl");
            if is_segment {
                file.metadata().expect("its size").len()
            } else {
                0
            }
        });
        assert_eq!(store.size_bytes, line_bytes.sum::<u64>());
        assert!(store.size_bytes > 0 && store.free_bytes > 0);
        let retention = answer.retention.expect("a retention");
        assert_eq!((retention.size_max_bytes, retention.free_min_bytes), (1 << 40, 0));
        assert_eq!(retention.age_max.map(|age| age.seconds), Some(3600));
        assert_eq!((answer.forward, answer.tails), (None, 0));
    }

    #[tokio::test]
    async fn the_status_counts_tails_and_the_metrics_what_they_missed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = LogApi::open(directory.path(), &StoreSettings::default(), Shutdown::new()).await;
        let (log, metrics) = (log.expect("an open log"), Metrics::new());
        log.tell(&metrics);
        let request = proto::TailRequest {
            after_sequence: Some(0),
            lag_max: 2,
            ..Default::default()
        };
        let mut tail = log.tail(Request::new(request)).await.expect("a tail").into_inner();
        tail.next().await.expect("a part").expect("where it starts");
        assert_eq!(status(&log, log.start_time).tails, 1);
        write(&log, vec![entry("a"); 5]).await.expect("written");
        let part = tail.next().await.expect("a part").expect("no error");
        assert_eq!(part.dropped.map(|dropped| dropped.count), Some(5));
        drop(tail);
        assert_eq!(status(&log, log.start_time).tails, 0);
        let seen = Exposition::parse(&metrics.text(Format::Prometheus));
        assert_eq!(seen.value("homeroom_log_tail_dropped_total", &[]), 5.0);
        let logs = seen.value("homeroom_log_written_entries_total", &[("kind", "log")]);
        assert_eq!(logs, 5.0, "what is committed is counted");
        assert_eq!(seen.value("homeroom_log_commit_seconds_count", &[]), 1.0);
    }

    #[tokio::test]
    async fn the_status_says_where_entries_go() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = LogApi::open(directory.path(), &StoreSettings::default(), Shutdown::new()).await;
        let mut log = log.expect("an open log");
        let endpoint = "collector:4317".parse().expect("an address");
        let (_forward, _work) = log.forward(directory.path(), endpoint).await;
        let forward = status(&log, log.start_time).forward.expect("it is forwarded");
        assert_eq!((forward.endpoint.as_str(), forward.sequence), ("collector:4317", 0));
        assert_eq!(forward.cause, "");
    }
}

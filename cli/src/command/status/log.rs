//! How Log is.

use std::time::{Duration, SystemTime};

use homeroom::proto::log::v1::{Forward, GetStatusResponse, Retention, Store, StoreState};

use super::{coloured, plain};
use crate::{
    output::{Colour, Line},
    time,
};

/// Whether it takes entries, and passes them on where it is to.
pub(super) fn is_sound(status: &GetStatusResponse) -> bool {
    let forward = status.forward.as_ref();
    !status.store.as_ref().is_some_and(refuses) && forward.is_none_or(|forward| forward.cause.is_empty())
}

fn refuses(store: &Store) -> bool {
    matches!(store.state(), StoreState::Full | StoreState::Failed)
}

/// All there is to say of it.
pub(super) fn lines(status: &GetStatusResponse) -> Vec<Line> {
    let now = status.server_time.and_then(|time| SystemTime::try_from(time).ok());
    let started = time::with_age(status.start_time, now.unwrap_or_else(SystemTime::now));
    let store = status.store.clone().unwrap_or_default();
    let mut lines = vec![
        plain("log", format!("version {}, started {started}", status.version)),
        plain("entries", entries(status)),
        plain("tails", status.tails.to_string()),
        store_line(&store),
        plain("retention", retention(&status.retention.unwrap_or_default())),
    ];
    lines.extend(status.forward.as_ref().map(|forward| forward_line(forward, status)));
    lines
}

/// `numbers 1 to 1000`
fn entries(status: &GetStatusResponse) -> String {
    match (status.last_sequence + 1).saturating_sub(status.first_sequence) {
        0 => "none".to_owned(),
        _ => format!("numbers {} to {}", status.first_sequence, status.last_sequence),
    }
}

fn store_line(store: &Store) -> Line {
    let (colour, name) = match store.state() {
        StoreState::Ok => (Colour::Good, "ok"),
        StoreState::Full => (Colour::Bad, "FULL"),
        StoreState::Failed => (Colour::Bad, "FAILED"),
        StoreState::Unspecified => (Colour::Doubtful, "unknown"),
    };
    let cause = match store.cause.as_str() {
        "" => String::new(),
        cause => format!("; {cause}"),
    };
    let (size, free) = (bytes(store.size_bytes), bytes(store.free_bytes));
    let segments = store.segments;
    coloured(
        "store",
        format!("{name}: {size} in {segments} segments, {free} free on the disk{cause}"),
        colour,
    )
}

/// `beyond 10 GiB, older than 7d, or with less than 256 MiB free; 2 segments (9000 entries) deleted since the start`
fn retention(retention: &Retention) -> String {
    let size = (retention.size_max_bytes > 0).then(|| format!("beyond {}", bytes(retention.size_max_bytes)));
    let age = retention.age_max.and_then(|age| Duration::try_from(age).ok());
    let age = age.map(|age| format!("older than {}", time::span(age)));
    let free = format!("with less than {} free", bytes(retention.free_min_bytes));
    let rules: Vec<_> = size.into_iter().chain(age).chain([free]).collect();
    let (segments, entries) = (retention.deleted_segments, retention.deleted_entries);
    format!(
        "deletes {}; {segments} segments ({entries} entries) deleted since the start",
        rules.join(", ")
    )
}

fn forward_line(forward: &Forward, status: &GetStatusResponse) -> Line {
    let behind = status.last_sequence.saturating_sub(forward.sequence);
    let text = format!("to {}, {behind} entries behind", forward.endpoint);
    match forward.cause.as_str() {
        "" => coloured("forward", text, Colour::Good),
        cause => coloured("forward", format!("{text}: {cause}"), Colour::Bad),
    }
}

/// A size in its largest unit.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = (bytes, "bytes");
    for unit in UNITS {
        if size.0 < 10 * 1024 {
            break;
        }
        size = (size.0 / 1024, unit);
    }
    format!("{} {}", size.0, size.1)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn status() -> GetStatusResponse {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        GetStatusResponse {
            version: "1.2.3".to_owned(),
            start_time: at(0),
            server_time: at(7_200),
            first_sequence: 11,
            last_sequence: 1000,
            store: Some(Store {
                state: StoreState::Ok.into(),
                size_bytes: 300 << 20,
                segments: 3,
                free_bytes: 42 << 30,
                ..Default::default()
            }),
            retention: Some(Retention {
                size_max_bytes: 10 << 30,
                age_max: Some(prost_types::Duration {
                    seconds: 604_800,
                    nanos: 0,
                }),
                free_min_bytes: 256 << 20,
                deleted_segments: 1,
                deleted_entries: 10,
            }),
            forward: Some(Forward {
                endpoint: "tempo:4317".to_owned(),
                sequence: 990,
                cause: String::new(),
            }),
            tails: 2,
        }
    }

    fn text(status: &GetStatusResponse) -> String {
        lines(status).iter().map(|line| line.text(false)).collect()
    }

    #[test]
    fn all_is_told_in_words_and_numbers() {
        assert_eq!(
            text(&status()),
            "log        version 1.2.3, started 1970-01-01T00:00:00Z (2h ago)
entries    numbers 11 to 1000
tails      2
store      ok: 300 MiB in 3 segments, 42 GiB free on the disk
retention  deletes beyond 10 GiB, older than 7d, with less than 256 MiB free; 1 segments (10 entries) deleted since the start
forward    to tempo:4317, 10 entries behind
"
        );
        assert!(is_sound(&status()));
        let empty = GetStatusResponse {
            first_sequence: 1,
            ..Default::default()
        };
        assert!(text(&empty).contains("entries    none\n"));
    }

    #[test]
    fn a_full_disk_and_a_backend_that_refuses_are_problems() {
        let mut full = status();
        let store = full.store.get_or_insert_default();
        store.set_state(StoreState::Full);
        store.cause = "no space".to_owned();
        assert!(!is_sound(&full));
        assert!(text(&full).contains("free on the disk; no space\n"), "{}", text(&full));
        let mut refused = status();
        refused.forward.get_or_insert_default().cause = "refused".to_owned();
        assert!(!is_sound(&refused));
        assert!(text(&refused).contains("10 entries behind: refused\n"));
    }
}

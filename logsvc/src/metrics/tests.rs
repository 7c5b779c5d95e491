use std::collections::BTreeMap;

use homeroom::{
    metrics::Format,
    proto::log::v1::{Forward, GetStatusResponse, Retention, Store, StoreState},
    shutdown::Shutdown,
    testing::Exposition,
};
use std::time::Duration;
use tonic::Code;

use super::*;
use crate::{LogApi, config::StoreSettings, error::Error};

const DOCS: &str = include_str!("../../../docs/metrics.md");

fn look(metrics: &Metrics) -> Exposition {
    Exposition::parse(&metrics.text(Format::Prometheus))
}

fn value(seen: &Exposition, name: &str, labels: &[(&str, &str)]) -> f64 {
    seen.value(&format!("homeroom_log_{name}"), labels)
}

#[test]
fn what_happens_is_counted() {
    let (metrics, told) = (Metrics::new(), LogMetrics::default());
    told.register(&metrics);
    for took in [Duration::from_millis(1), Duration::from_millis(3)] {
        told.on_commit(&Commit {
            logs: 5,
            spans: 2,
            size_bytes: 100,
            took,
        });
    }
    for error in [Error::DiskFull, Error::Overloaded, Error::DiskFull] {
        told.on_refused(&error.into());
    }
    told.on_refused(&Status::new(Code::Cancelled, "gone"));
    told.query_seconds().observe(Duration::from_secs(1));
    told.forward().sent.inc_by(9);
    let (open, closed) = (told.open_tail(), told.open_tail());
    open.on_dropped(4);
    drop(closed);
    assert_eq!(told.tails(), 1);
    let seen = look(&metrics);
    for (kind, entries) in [("log", 10.0), ("span", 4.0)] {
        assert_eq!(
            value(&seen, "written_entries_total", &[("kind", kind)]),
            entries,
            "{kind}"
        );
    }
    for (reason, count) in [
        ("DISK_FULL", 2.0),
        ("OVERLOADED", 1.0),
        ("OTHER", 1.0),
        ("INVALID_FIELD", 0.0),
    ] {
        assert_eq!(value(&seen, "refused_total", &[("reason", reason)]), count, "{reason}");
    }
    for (name, expected) in [
        ("written_bytes_total", 200.0),
        ("commit_seconds_count", 2.0),
        ("commit_seconds_sum", 0.004),
        ("commit_entries_sum", 14.0),
        ("query_seconds_count", 1.0),
        ("tail_dropped_total", 4.0),
        ("forward_sent_total", 9.0),
    ] {
        assert_eq!(value(&seen, name, &[]), expected, "{name}");
    }
}

#[test]
fn the_status_is_told_as_it_is_when_somebody_looks() {
    let metrics = Metrics::new();
    tell_status(&metrics, || GetStatusResponse {
        first_sequence: 11,
        last_sequence: 30,
        store: Some(Store {
            state: StoreState::Full.into(),
            size_bytes: 7,
            segments: 3,
            free_bytes: 5,
            ..Default::default()
        }),
        retention: Some(Retention {
            deleted_segments: 2,
            deleted_entries: 10,
            ..Default::default()
        }),
        forward: Some(Forward {
            sequence: 26,
            ..Default::default()
        }),
        tails: 4,
        ..Default::default()
    });
    let seen = look(&metrics);
    for (name, expected) in [
        ("first_sequence", 11.0),
        ("last_sequence", 30.0),
        ("size_bytes", 7.0),
        ("segments", 3.0),
        ("free_bytes", 5.0),
        ("deleted_segments_total", 2.0),
        ("deleted_entries_total", 10.0),
        ("forward_lag", 4.0),
        ("tails", 4.0),
    ] {
        assert_eq!(value(&seen, name, &[]), expected, "{name}");
    }
    for (state, is_so) in [("ok", 0.0), ("full", 1.0), ("failed", 0.0)] {
        assert_eq!(value(&seen, "store_state", &[("state", state)]), is_so, "{state}");
    }
}

#[test]
fn what_is_deleted_is_no_lag() {
    let lag_of = |sequence| {
        status::lag(&GetStatusResponse {
            first_sequence: 11,
            last_sequence: 30,
            forward: Some(Forward {
                sequence,
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    assert_eq!([0, 10, 11, 30, 31].map(lag_of), [20, 20, 19, 0, 0]);
    assert_eq!(status::lag(&GetStatusResponse::default()), 0, "nothing is forwarded");
}

/// What the table of Log in `docs/metrics.md` says of each name: its type and its labels.
fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let rows = DOCS.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| row.starts_with("homeroom_log_"));
    let row = |row: &str| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let labels = cells[2]
            .split(", ")
            .filter(|label| !label.is_empty())
            .map(str::to_owned);
        (cells[0].clone(), (cells[1].clone(), labels.collect()))
    };
    let rows: Vec<_> = rows.map(row).collect();
    let names: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(names.len(), rows.len(), "each is there once");
    names
}

#[tokio::test]
async fn what_log_tells_is_documented_and_what_is_documented_is_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = LogApi::open(directory.path(), &StoreSettings::default(), Shutdown::new()).await;
    let metrics = Metrics::new();
    log.expect("an open log").tell(&metrics);
    let exported = look(&metrics).0.into_iter().map(|(name, family)| {
        let labels = family.samples.first().map(|sample| sample.labels.keys().cloned());
        let labels: Vec<String> = labels.into_iter().flatten().filter(|label| label != "le").collect();
        (name, (family.kind, labels))
    });
    let exported = exported.filter(|(name, _)| name.starts_with("homeroom_log_"));
    assert_eq!(exported.collect::<BTreeMap<_, _>>(), documented());
}

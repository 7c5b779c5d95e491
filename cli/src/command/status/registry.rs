//! How the registry is.

use std::time::SystemTime;

use homeroom::proto::registry::v1::{Brake, GetStatusResponse, HealthState, Store, StoreState};

use super::{coloured, plain};
use crate::{
    output::{Colour, Line},
    time,
};

/// What keeps the registry from working as it should, a sentence each.
pub(in crate::command) fn problems(status: &GetStatusResponse) -> Vec<String> {
    let now = now(status);
    let brake = status.brake.iter().filter(|brake| is_engaged(brake));
    let brake = brake.map(|brake| format!("the registry's brake is {}", engaged(brake, now)));
    let store = status.store.iter().filter(|store| refuses(store)).map(|store| {
        let what = match store.state() {
            StoreState::Full => "is full",
            _ => "fails",
        };
        format!(
            "the registry's disk {what}, so it refuses registrations: {}",
            store.detail
        )
    });
    brake.chain(store).collect()
}

/// The registry's clock, which its times are of.
pub(in crate::command) fn now(status: &GetStatusResponse) -> SystemTime {
    let now = status.server_time.and_then(|time| SystemTime::try_from(time).ok());
    now.unwrap_or_else(SystemTime::now)
}

fn is_engaged(brake: &Brake) -> bool {
    brake.engaged || !brake.services.is_empty()
}

fn refuses(store: &Store) -> bool {
    matches!(store.state(), StoreState::Full | StoreState::Failed)
}

/// `engaged for all services since ..., and keeps 12 silent instances: ...`
fn engaged(brake: &Brake, now: SystemTime) -> String {
    let extent = match brake.engaged {
        true => "all services".to_owned(),
        false => brake.services.join(", "),
    };
    let since = time::with_age(brake.since, now);
    let kept = brake.kept_instances;
    let detail = match brake.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    format!("engaged for {extent} since {since}, and keeps {kept} silent instances listed{detail}")
}

/// All there is to say of it.
pub(super) fn lines(status: &GetStatusResponse) -> Vec<Line> {
    let now = now(status);
    let started = time::with_age(status.start_time, now);
    let brake = status.brake.clone().unwrap_or_default();
    let store = status.store.clone().unwrap_or_default();
    let (store_colour, store_name) = match store.state() {
        StoreState::Synced => (Colour::Good, "synced"),
        StoreState::Ephemeral => (Colour::Plain, "ephemeral"),
        StoreState::Full => (Colour::Bad, "FULL"),
        StoreState::Failed => (Colour::Bad, "FAILED"),
        StoreState::Unspecified => (Colour::Doubtful, "unknown"),
    };
    vec![
        plain("registry", format!("version {}, started {started}", status.version)),
        plain(
            "catalog",
            format!("revision {} of epoch {}", status.revision, status.epoch),
        ),
        plain("instances", instances(status)),
        plain(
            "watchers",
            format!(
                "{}, {} of them acknowledge",
                status.watchers, status.acknowledging_watchers
            ),
        ),
        plain("history", format!("{} changes", status.changes)),
        match is_engaged(&brake) {
            true => coloured("brake", engaged(&brake, now), Colour::Bad),
            false => coloured("brake", "not engaged", Colour::Good),
        },
        coloured("store", format!("{store_name}: {}", store.detail), store_colour),
    ]
}

/// `12 of 4 services: 11 serving, 1 unreachable; 2 suspect`
fn instances(status: &GetStatusResponse) -> String {
    let all: u32 = status.instances.iter().map(|count| count.instances).sum();
    let there = status.instances.iter().filter(|count| count.instances > 0);
    let states: Vec<_> = there
        .map(|count| format!("{} {}", count.instances, state(count.state())))
        .collect();
    let doubts = [
        (status.suspect_instances, "suspect"),
        (status.unverified_instances, "not verified"),
    ];
    let doubts = doubts.iter().filter(|(count, _)| *count > 0);
    let doubts: String = doubts.map(|(count, name)| format!("; {count} {name}")).collect();
    let states = if states.is_empty() {
        String::new()
    } else {
        format!(": {}", states.join(", "))
    };
    format!("{all} of {} services{states}{doubts}", status.services)
}

fn state(state: HealthState) -> &'static str {
    match state {
        HealthState::Unspecified => "of a state that is not known here",
        HealthState::Unknown => "not probed yet",
        HealthState::Serving => "serving",
        HealthState::NotServing => "not serving",
        HealthState::Unreachable => "unreachable",
        HealthState::Draining => "draining",
    }
}

#[cfg(test)]
mod tests {
    use homeroom::proto::registry::v1::HealthCount;
    use prost_types::Timestamp;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn sound() -> GetStatusResponse {
        let count = |state: HealthState, instances| HealthCount {
            state: state.into(),
            instances,
        };
        GetStatusResponse {
            version: "1.2.3".to_owned(),
            start_time: at(0),
            server_time: at(7_200),
            revision: 40,
            epoch: 9,
            services: 4,
            instances: vec![
                count(HealthState::Serving, 11),
                count(HealthState::NotServing, 0),
                count(HealthState::Unreachable, 1),
            ],
            suspect_instances: 2,
            watchers: 5,
            acknowledging_watchers: 4,
            changes: 40,
            brake: Some(Brake::default()),
            store: Some(Store {
                state: StoreState::Synced.into(),
                detail: "3 MiB".to_owned(),
            }),
            ..Default::default()
        }
    }

    fn text(status: &GetStatusResponse) -> String {
        lines(status).iter().map(|line| line.text(false)).collect()
    }

    #[test]
    fn all_is_told_in_words_and_numbers() {
        assert_eq!(
            text(&sound()),
            "registry   version 1.2.3, started 1970-01-01T00:00:00Z (2h ago)
catalog    revision 40 of epoch 9
instances  12 of 4 services: 11 serving, 1 unreachable; 2 suspect
watchers   5, 4 of them acknowledge
history    40 changes
brake      not engaged
store      synced: 3 MiB
"
        );
        assert_eq!(problems(&sound()), Vec::<String>::new());
        assert!(text(&GetStatusResponse::default()).contains("instances  0 of 0 services\n"));
    }

    #[test]
    fn an_engaged_brake_and_a_store_that_refuses_are_problems() {
        let mut status = sound();
        status.brake = Some(Brake {
            engaged: true,
            since: at(7_140),
            kept_instances: 30,
            detail: "30 of 100 went silent".to_owned(),
            ..Default::default()
        });
        status.store = Some(Store {
            state: StoreState::Full.into(),
            detail: "no space".to_owned(),
        });
        let engaged = "engaged for all services since 1970-01-01T01:59:00Z (1m ago), and keeps 30 silent instances \
            listed: 30 of 100 went silent";
        assert!(
            text(&status).contains(&format!("brake      {engaged}\n")),
            "{}",
            text(&status)
        );
        assert!(text(&status).contains("store      FULL: no space\n"));
        let told = [
            format!("the registry's brake is {engaged}"),
            "the registry's disk is full, so it refuses registrations: no space".to_owned(),
        ];
        assert_eq!(problems(&status), told);

        let mut status = sound();
        status.brake = Some(Brake {
            services: vec!["a".to_owned(), "b".to_owned()],
            ..Default::default()
        });
        assert!(problems(&status)[0].contains("engaged for a, b since an unknown time"));
    }
}

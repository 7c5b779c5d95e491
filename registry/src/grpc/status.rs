//! What the registry knows of itself.

use std::time::SystemTime;

use homeroom::proto::registry::v1::{Brake, GetStatusResponse, HealthCount, HealthState, Store, StoreState};

use crate::{engine::Engine, store::DiskState};

/// Counts what the registry holds, at one revision.
pub(crate) fn status(engine: &Engine, now: SystemTime) -> GetStatusResponse {
    let watches = engine.watches.counts();
    let mut status = GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(engine.start_time.into()),
        server_time: Some(now.into()),
        watchers: count(watches.open),
        acknowledging_watchers: count(watches.acknowledging),
        brake: Some(brake(engine, now)),
        store: Some(store(engine)),
        ..Default::default()
    };
    let states = [
        HealthState::Unknown,
        HealthState::Serving,
        HealthState::NotServing,
        HealthState::Unreachable,
        HealthState::Draining,
    ];
    let mut counts = states.map(|state| HealthCount {
        state: state.into(),
        instances: 0,
    });
    engine.store.read(|state| {
        status.revision = state.catalog.revision().0;
        status.epoch = state.catalog.epoch().0;
        status.services = count(state.catalog.services().len());
        status.changes = count(state.history.len());
        for instance in state.catalog.instances() {
            let health = &instance.health;
            let state = i32::from(HealthState::from(health.state));
            if let Some(counted) = counts.iter_mut().find(|counted| counted.state == state) {
                counted.instances += 1;
            }
            status.suspect_instances += u32::from(health.suspect);
            status.unverified_instances += u32::from(!health.verified);
        }
    });
    status.instances = counts.into();
    status
}

/// Counts in messages are of 32 bits, and all that is counted is bounded far below that.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn brake(engine: &Engine, now: SystemTime) -> Brake {
    let brake = engine.prober.brake_status();
    Brake {
        engaged: brake.engaged,
        services: brake.services.iter().map(ToString::to_string).collect(),
        since: brake.engaged_for.map(|long| (now - long).into()),
        kept_instances: count(brake.kept),
        detail: brake.detail,
    }
}

fn store(engine: &Engine) -> Store {
    let (state, detail) = match engine.store.disk_state() {
        DiskState::Ephemeral => (
            StoreState::Ephemeral,
            "in memory only, so a restarted registry starts empty".to_owned(),
        ),
        DiskState::Synced => (
            StoreState::Synced,
            "every registration is synced to disk before it is answered".to_owned(),
        ),
        DiskState::Full(words) => (StoreState::Full, words),
        DiskState::Failed(words) => (StoreState::Failed, words),
    };
    Store {
        state: state.into(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc, time::Duration};

    use homeroom::model::{self, Health, Registration};

    use super::*;
    use crate::{Settings, catalog::Command, probe, store, watch::Scope};

    #[test]
    fn the_status_counts_what_is_there() {
        let settings = Settings::default();
        let probes = probe::Options::new(&settings, Ipv4Addr::LOCALHOST.into());
        let engine = Engine::new(store::Store::new(SystemTime::now()), &settings, probes);
        let register = |service: &str, id: &str| {
            let registration = Registration::try_from(homeroom::proto::registry::v1::Instance {
                service: service.to_owned(),
                id: id.to_owned(),
                address: "127.0.0.1:1".to_owned(),
                ..Default::default()
            });
            let registration = Arc::new(registration.expect("a valid registration"));
            let command = Command::Register {
                registration: registration.clone(),
                renews: None,
                actor: "test".into(),
                registrant: None,
            };
            engine.store.apply(command).expect("accepted");
            registration
        };
        register("a", "1");
        register("a", "2");
        let registration = register("b", "1");
        let health = Health {
            state: model::HealthState::Serving,
            suspect: true,
            verified: true,
            ..Health::not_probed(SystemTime::UNIX_EPOCH)
        };
        let observed = Command::Observe { registration, health };
        engine.store.apply(observed).expect("never refused");
        let scope = || Scope::services([].into(), false);
        let open = |acknowledges| engine.watches.open(&scope(), acknowledges);
        let _guards = (open(true).expect("room"), open(false).expect("room"));

        let now = engine.start_time + Duration::from_secs(5);
        let status = status(&engine, now);
        assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(status.start_time, Some(engine.start_time.into()));
        assert_eq!(status.server_time, Some(now.into()));
        let (revision, epoch) = engine.store.read(|s| (s.catalog.revision().0, s.catalog.epoch().0));
        assert_eq!((status.revision, status.epoch), (revision, epoch));
        assert_eq!((status.services, status.changes), (2, 4));
        assert_eq!((status.suspect_instances, status.unverified_instances), (1, 2));
        assert_eq!((status.watchers, status.acknowledging_watchers), (2, 1));
        let counts: Vec<_> = status.instances.iter().map(|c| (c.state(), c.instances)).collect();
        assert_eq!(
            counts,
            [
                (HealthState::Unknown, 2),
                (HealthState::Serving, 1),
                (HealthState::NotServing, 0),
                (HealthState::Unreachable, 0),
                (HealthState::Draining, 0),
            ]
        );
        assert!(!status.brake.expect("a brake").engaged);
        assert_eq!(status.store.expect("a store").state(), StoreState::Ephemeral);
    }
}

//! What a store keeps, and what it does when its disk fails.

mod property;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    time::Duration,
};

use homeroom::{
    model::{Cause, Health, HealthReason, HealthState, Incarnation, Instance, InstanceKey},
    proto::registry::v1 as proto,
};

use super::*;
use crate::{catalog::Departure, journal::simulated::Simulated, watch::Scope};

/// A segment of the tests is full after a few changes.
const CHANGES_BYTES: u64 = 1500;
const BOOT: &str = "this boot";

fn open_in(disk: &Simulated, boot: &str, limits: &Limits) -> Result<Store, OpenError> {
    let (journal, catalog, history) = disk.open(boot, CHANGES_BYTES, history(limits))?;
    Ok(Store::restore(journal, catalog, history))
}

fn open(disk: &Simulated) -> Store {
    open_in(disk, BOOT, &Limits::default()).expect("it is sound")
}

fn wait<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}

fn key(id: u8) -> InstanceKey {
    InstanceKey::parse("s", &id.to_string()).expect("a valid key")
}

fn registration(id: u8, weight: u32) -> Arc<Registration> {
    let registration = Registration::try_from(proto::Instance {
        service: "s".to_owned(),
        id: id.to_string(),
        address: format!("127.0.0.1:{}", u16::from(id) + 1),
        weight: Some(weight),
        ..Default::default()
    });
    Arc::new(registration.expect("a valid registration"))
}

fn register(id: u8, weight: u32, renews: Option<Incarnation>) -> Command {
    Command::Register {
        registration: registration(id, weight),
        renews,
        actor: "test".into(),
        registrant: None,
    }
}

fn departure(id: u8) -> Departure {
    Departure {
        key: key(id),
        incarnation: None,
        actor: "test".into(),
    }
}

fn observe(store: &Store, id: u8, state: HealthState) {
    let registration = store.read(|state| {
        state
            .catalog
            .get(&key(id))
            .map(|instance| instance.registration.clone())
    });
    if let Some(registration) = registration {
        let health = Health {
            state,
            reason: HealthReason::Serving,
            verified: true,
            ..Health::not_probed(SystemTime::now())
        };
        let observed = store.apply(Command::Observe { registration, health });
        observed.expect("what is found out is never refused");
    }
}

fn accept(store: &Store, command: Command) -> Applied {
    wait(store.commit(command)).expect("it is accepted")
}

fn ids(store: &Store) -> Vec<String> {
    store.read(|state| {
        state
            .catalog
            .instances()
            .map(|instance| instance.key().id.to_string())
            .collect()
    })
}

fn instances(state: &State) -> BTreeMap<InstanceKey, Instance> {
    let instances = state.catalog.instances();
    instances
        .map(|instance| (instance.key().clone(), (**instance).clone()))
        .collect()
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_unverified_and_in_the_same_history() {
    let disk = Simulated::default();
    let store = open(&disk);
    for id in 0..4 {
        accept(&store, register(id, 100, None));
        observe(&store, id, HealthState::Serving);
    }
    accept(&store, Command::Deregister(departure(1)));
    accept(&store, Command::Drain(departure(2)));
    let (epoch, revision) = store.read(|state| (state.catalog.epoch(), state.catalog.revision()));
    let before = store.read(instances);

    let restarted = open(&disk.after_kill());
    assert_eq!(restarted.read(|state| state.catalog.epoch()), epoch);
    let after = restarted.read(instances);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (key, instance) in &after {
        assert_eq!(instance.registration, before[key].registration);
        assert_eq!(instance.incarnation, before[key].incarnation);
        assert!(!instance.health.verified);
    }
    assert_eq!(after[&key(0)].health.state, HealthState::Serving);
    assert_eq!(
        after[&key(2)].health.state,
        HealthState::Unknown,
        "a drain ends with its registry"
    );
    let changes: Vec<_> = restarted.read(|state| {
        let changes = state.history.since(revision).expect("it goes on");
        changes.map(|change| (change.cause, change.revision)).collect()
    });
    let restored = (1..=3).map(|n| (Cause::Restored, Revision(revision.0 + n)));
    assert_eq!(changes, restored.collect::<Vec<_>>());
    let anew = accept(&restarted, register(1, 100, None)).instance.expect("it stands");
    assert!(before.values().all(|instance| instance.incarnation < anew.incarnation));
}

#[test]
fn a_store_that_was_closed_is_restored_whole() {
    let disk = Simulated::default();
    let store = open(&disk);
    accept(&store, register(0, 100, None));
    observe(&store, 0, HealthState::Serving);
    let epoch = store.read(|state| state.catalog.epoch());
    drop(store);
    let after_power_cut = open_in(&disk.after_power_cut(1), "another boot", &Limits::default()).expect("it is sound");
    assert_eq!(
        after_power_cut.read(|state| state.catalog.epoch()),
        epoch,
        "nothing was lost"
    );
    assert_eq!(ids(&after_power_cut), ["0"]);
}

#[test]
fn after_a_power_cut_another_epoch_begins() {
    let disk = Simulated::default();
    let store = open(&disk);
    accept(&store, register(0, 100, None));
    let epoch = store.read(|state| state.catalog.epoch());
    let restarted = open_in(&disk.after_power_cut(1), "another boot", &Limits::default()).expect("it is sound");
    assert_ne!(restarted.read(|state| state.catalog.epoch()), epoch);
    assert_eq!(ids(&restarted), ["0"]);
}

#[test]
fn a_new_incarnation_without_a_change_is_kept_too() {
    let disk = Simulated::default();
    let store = open(&disk);
    accept(&store, register(0, 100, None));
    let again = accept(&store, register(0, 100, None)).instance.expect("it stands");
    let restarted = open(&disk.after_power_cut(1));
    let restored = restarted
        .read(|state| state.catalog.get(&key(0)).cloned())
        .expect("it is there");
    assert_eq!(restored.incarnation, again.incarnation);
}

#[test]
fn a_full_disk_refuses_registrations_serves_reads_and_news_and_recovers_by_itself() {
    let disk = Simulated::default();
    let store = open(&disk);
    accept(&store, register(0, 100, None));
    let epoch = store.read(|state| state.catalog.epoch());
    disk.fail(0, ErrorKind::StorageFull);
    assert_eq!(
        wait(store.commit(register(1, 100, None))).map(|_| ()),
        Err(Error::StoreFull)
    );
    assert!(matches!(store.disk_state(), DiskState::Full(_)));
    assert_eq!(ids(&store), ["0"]);
    observe(&store, 0, HealthState::Serving);
    let told = store.read(|state| (state.catalog.revision(), state.catalog.epoch()));
    assert_eq!(told.0, Revision(2));
    assert_ne!(told.1, epoch, "a restart would not find what was told");
    let held = store.read(|state| state.catalog.get(&key(0)).map(|instance| instance.incarnation));
    assert!(
        accept(&store, register(0, 100, held)).is_empty(),
        "a renewal needs no room"
    );

    disk.mend();
    store
        .shared
        .journal
        .as_ref()
        .expect("it is kept")
        .wait_until(|state| *state == DiskState::Synced);
    accept(&store, register(1, 100, None));
    assert_eq!(store.read(|state| state.catalog.epoch()), told.1);
    let restarted = open(&disk.after_kill());
    assert_eq!(ids(&restarted), ["0", "1"]);
    assert_eq!(restarted.read(|state| state.catalog.epoch()), told.1);
}

#[test]
fn a_disk_that_fails_to_sync_is_not_trusted_again_before_all_is_written_anew() {
    let disk = Simulated::default();
    let store = open(&disk);
    accept(&store, register(0, 100, None));
    // The write works, its sync does not.
    disk.fail(1, ErrorKind::Other);
    assert_eq!(
        wait(store.commit(register(1, 100, None))).map(|_| ()),
        Err(Error::StoreFailed)
    );
    assert!(matches!(store.disk_state(), DiskState::Failed(_)));
    assert_eq!(
        wait(store.commit(register(2, 100, None))).map(|_| ()),
        Err(Error::StoreFailed)
    );
    disk.mend();
    store
        .shared
        .journal
        .as_ref()
        .expect("it is kept")
        .wait_until(|state| *state == DiskState::Synced);
    accept(&store, register(3, 100, None));
    let restarted = open(&disk.after_power_cut(1));
    assert_eq!(ids(&restarted), ["0", "1", "3"], "what was told stands");
}

#[test]
fn a_registry_starts_on_a_full_disk_and_serves_what_it_has() {
    let disk = Simulated::default();
    let store = open(&disk);
    accept(&store, register(0, 100, None));
    let epoch = store.read(|state| state.catalog.epoch());
    let disk = disk.after_kill();
    disk.fail(0, ErrorKind::StorageFull);
    let restarted = open(&disk);
    assert_eq!(ids(&restarted), ["0"]);
    assert!(matches!(restarted.disk_state(), DiskState::Full(_)));
    assert_ne!(restarted.read(|state| state.catalog.epoch()), epoch);
    disk.mend();
    restarted
        .shared
        .journal
        .as_ref()
        .expect("it is kept")
        .wait_until(|state| *state == DiskState::Synced);
    accept(&restarted, register(1, 100, None));
}

#[test]
fn old_segments_go_with_the_changes_that_the_history_forgets() {
    let disk = Simulated::default();
    let limits = Limits {
        history: 20,
        ..Limits::default()
    };
    let store = open_in(&disk, BOOT, &limits).expect("it is sound");
    for weight in 1..=200 {
        accept(&store, register(0, weight, None));
    }
    let journal = store.shared.journal.clone().expect("it is kept");
    // Whatever was begun in the background is finished by then.
    store.close();
    journal.forget(store.read(|state| state.history.oldest()));
    let segments = disk.segments();
    assert!((1..10).contains(&segments.len()), "{segments:?}");
    assert!(!segments[0].contains("00000000000000000001"), "{segments:?}");
    let restarted = open_in(&disk, BOOT, &limits).expect("it is sound");
    let oldest = restarted.read(|state| state.history.oldest());
    assert!(oldest <= Some(Revision(181)), "{oldest:?}: the history is whole");
    assert_eq!(restarted.read(|state| state.catalog.revision()), Revision(200));
}

#[test]
fn a_closed_store_takes_nothing_any_more() {
    let store = open(&Simulated::default());
    accept(&store, register(0, 100, None));
    store.close();
    assert_eq!(
        wait(store.commit(register(1, 100, None))).map(|_| ()),
        Err(Error::Draining)
    );
    observe(&store, 0, HealthState::Serving);
    assert_eq!(store.read(|state| state.catalog.revision()), Revision(1));
}

#[test]
fn no_sync_is_waited_for_by_news_of_health() {
    let disk = Simulated::default();
    let store = open(&disk);
    accept(&store, register(0, 100, None));
    let syncs = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = syncs.clone();
    store.set_on_sync(Arc::new(move |_: Duration| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }));
    observe(&store, 0, HealthState::Serving);
    observe(&store, 0, HealthState::Unreachable);
    assert_eq!(syncs.load(std::sync::atomic::Ordering::Relaxed), 0);
    accept(&store, register(1, 100, None));
    assert_eq!(syncs.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn a_watch_starts_over_in_another_epoch_and_its_acknowledgements_go_on() {
    let disk = Simulated::default();
    let store = Arc::new(open(&disk));
    accept(&store, register(0, 100, None));
    let watches: Arc<crate::watch::Watches> = Arc::default();
    let request = crate::watch::Request {
        scope: Scope::services(BTreeSet::new(), true),
        position: None,
        heartbeat_interval: Duration::from_secs(60),
        acknowledges: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let mut messages = crate::watch::tests::Messages::open(store.clone(), &watches, request);
        let mut next = async || messages.next().await.expect("a message").expect("no error");
        let first = next().await;
        let mut view = homeroom::discovery::View::default();
        view.apply(first.clone()).expect("the view is exact");

        disk.fail(0, ErrorKind::Other);
        observe(&store, 0, HealthState::Serving);
        let second = next().await;
        assert!(second.reset && second.epoch != first.epoch);
        assert_eq!(second.revision, 2, "revisions go on");
        view.apply(second.clone()).expect("the view is exact");
        observe(&store, 0, HealthState::Unreachable);
        let third = next().await;
        assert!(!third.reset && third.epoch == second.epoch, "one new epoch is enough");
        view.apply(third).expect("the view is exact");

        let id = crate::watch::WatchId::parse(&first.watch_id).expect("an id");
        let current = (Revision(3), store.read(|state| state.catalog.epoch()));
        watches
            .acknowledge(id, Revision(3), current)
            .expect("the watch is the same");
        let service = "s".parse().expect("a name");
        let applied = watches.applied(&service, current, Duration::ZERO).await;
        assert_eq!((applied.watchers, applied.late), (1, vec![]));
    });
}

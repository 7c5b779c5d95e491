//! Nothing acknowledged is lost, and nobody is told what is forgotten, whatever the disk does.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    time::Duration,
};

use homeroom::{
    model::{Cause, Health, HealthReason, HealthState, Incarnation, Instance, InstanceKey},
    proto::registry::v1 as proto,
};
use proptest::prelude::*;

use super::*;
use crate::{
    catalog::Departure,
    journal::simulated::Simulated,
    watch::{Batch, Patcher, Scope},
};

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
    let runtime = tokio::runtime::Builder::new_current_thread().build();
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

/// What happens to a store.
#[derive(Debug, Clone)]
enum Step {
    /// These are asked for at once.
    Ask(Vec<Ask>),
    Observe(u8, bool),
    Kill,
    CutPower(u64),
    Close,
    Fail(u64, bool),
    Mend,
}

#[derive(Debug, Clone)]
enum Ask {
    Register(u8, u32),
    Renew(u8),
    Deregister(u8),
    Drain(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || 0_u8..5;
    let ask = prop_oneof![
        4 => (id(), 1_u32..4).prop_map(|(id, weight)| Ask::Register(id, weight)),
        1 => id().prop_map(Ask::Renew),
        2 => id().prop_map(Ask::Deregister),
        1 => id().prop_map(Ask::Drain),
    ];
    let step = prop_oneof![
        8 => prop::collection::vec(ask, 1..6).prop_map(Step::Ask),
        4 => (id(), any::<bool>()).prop_map(|(id, serving)| Step::Observe(id, serving)),
        2 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::CutPower),
        1 => Just(Step::Close),
        2 => (0_u64..12, any::<bool>()).prop_map(|(after, full)| Step::Fail(after, full)),
        2 => Just(Step::Mend),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a caller may rely on: what it was answered last of each id, unless it was told that it is not known.
#[derive(Debug, Default)]
struct Known {
    standing: BTreeMap<u8, Option<(u32, Incarnation)>>,
}

impl Known {
    fn note(&mut self, ask: &Ask, answer: &Result<Applied, Error>) {
        let (Ask::Register(id, _) | Ask::Renew(id) | Ask::Deregister(id) | Ask::Drain(id)) = ask;
        let standing = |applied: &Applied| {
            let instance = applied.instance.as_ref()?;
            Some((instance.registration.weight, instance.incarnation))
        };
        match answer {
            Ok(_) if matches!(ask, Ask::Deregister(_)) => drop(self.standing.insert(*id, None)),
            Ok(applied) => drop(self.standing.insert(*id, standing(applied))),
            // It is done or not.
            Err(Error::StoreFailed) => drop(self.standing.remove(id)),
            // Nothing has changed.
            Err(_) => {}
        }
    }

    fn check(&self, store: &Store) {
        for (id, standing) in &self.standing {
            let instance = store.read(|state| state.catalog.get(&key(*id)).cloned());
            let found = instance.map(|instance| (instance.registration.weight, instance.incarnation));
            assert_eq!(found, *standing, "instance {id}");
        }
    }
}

/// A watcher of everything, that resumes where it was.
#[derive(Debug, Default)]
struct Watcher {
    view: BTreeMap<InstanceKey, Instance>,
    position: Option<(Revision, Epoch)>,
}

impl Watcher {
    /// Takes in what the store tells, and holds what the store holds. Tells whether it started over.
    fn follow(&mut self, store: &Store) -> bool {
        store.read(|state| {
            let scope = Scope::services(BTreeSet::new(), true);
            let batch: Batch = Patcher::new(scope, self.position).first(state);
            if batch.reset {
                self.view.clear();
            }
            for key in &batch.removed {
                self.view.remove(key);
            }
            for instance in &batch.updated {
                self.view.insert(instance.key().clone(), (**instance).clone());
            }
            self.position = Some((batch.revision, batch.epoch));
            let hash = self.view.values().map(Instance::view_hash).fold(0, u64::wrapping_add);
            assert_eq!(hash, batch.view_hash);
            let content = |instances: &BTreeMap<InstanceKey, Instance>| -> Vec<Instance> {
                let instances = instances.values().cloned();
                instances
                    .map(|instance| Instance {
                        incarnation: Incarnation::default(),
                        ..instance
                    })
                    .collect()
            };
            assert_eq!(content(&self.view), content(&instances(state)));
            batch.reset
        })
    }
}

/// A store, and what those who use it know.
struct World {
    disk: Simulated,
    store: Store,
    boots: u32,
    known: Known,
    watcher: Watcher,
    /// Whether the disk has failed since the store was opened.
    failed: bool,
}

impl World {
    fn new() -> Self {
        let disk = Simulated::default();
        Self {
            store: open_in(&disk, "0", &Limits::default()).expect("it is new"),
            disk,
            boots: 0,
            known: Known::default(),
            watcher: Watcher::default(),
            failed: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Ask(asks) => self.ask(asks),
            Step::Observe(id, serving) => {
                let state = if *serving {
                    HealthState::Serving
                } else {
                    HealthState::Unreachable
                };
                observe(&self.store, *id, state);
            }
            Step::Kill => self.restart(self.disk.after_kill(), false),
            Step::CutPower(seed) => {
                self.boots += 1;
                self.restart(self.disk.after_power_cut(*seed), true);
            }
            Step::Close => {
                self.store.close();
                self.restart(self.disk.after_kill(), false);
            }
            Step::Fail(after, full) => {
                self.failed = true;
                self.disk.fail(
                    *after,
                    if *full {
                        ErrorKind::StorageFull
                    } else {
                        ErrorKind::Other
                    },
                );
            }
            Step::Mend => self.disk.mend(),
        }
        self.known.check(&self.store);
        self.watcher.follow(&self.store);
    }

    fn ask(&mut self, asks: &[Ask]) {
        let standing = |id: u8| {
            self.store
                .read(|state| state.catalog.get(&key(id)).map(|i| i.incarnation))
        };
        let commands = asks.iter().map(|ask| match ask {
            Ask::Register(id, weight) => register(*id, *weight, None),
            Ask::Renew(id) => register(*id, 1, standing(*id)),
            Ask::Deregister(id) => Command::Deregister(departure(*id)),
            Ask::Drain(id) => Command::Drain(departure(*id)),
        });
        let commits: Vec<_> = commands.map(|command| self.store.commit(command)).collect();
        let answers = wait(futures_util::future::join_all(commits));
        for (ask, answer) in asks.iter().zip(&answers) {
            self.known.note(ask, answer);
        }
    }

    fn restart(&mut self, disk: Simulated, power_was_cut: bool) {
        let opened = open_in(&disk, &self.boots.to_string(), &Limits::default());
        let before = std::mem::replace(&mut self.store, opened.expect("it is sound"));
        drop(before);
        self.disk = disk;
        self.known.check(&self.store);
        let had_begun = self.watcher.position.is_some();
        let started_over = self.watcher.follow(&self.store) && had_begun;
        assert!(
            !started_over || power_was_cut || self.failed,
            "the same history goes on after a kill"
        );
        self.failed = false;
    }
}

proptest! {
    #[test]
    fn nothing_acknowledged_is_lost_and_watchers_stay_exact(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        // Whatever has happened, it accepts again once the disk works.
        world.disk.mend();
        world.step(&Step::Kill);
        accept(&world.store, register(9, 1, None));
    }
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

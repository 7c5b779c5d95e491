//! Random registrations, failures, reconnects, slow readers and epochs: every view is what the catalog was.

use std::collections::{BTreeMap, HashMap};

use homeroom::{
    discovery::View,
    model::{Epoch, HealthState, Instance},
};
use proptest::prelude::*;

use super::{
    tests::{Fixture, Messages, deregister, held, key, named, observe, register, registration, shown},
    *,
};

#[derive(Debug, Clone)]
enum Step {
    Register(u8, u8, u8),
    Observe(u8, u8, bool),
    Deregister(u8, u8),
    /// The instance that is followed requires these.
    Require(u8),
    /// More changes of one instance than a feed holds.
    Storm(u8, u8),
    BeginEpoch,
    /// A message, if there is one.
    Read(usize),
    /// Reads no more, and comes back with the view that it has.
    Reconnect(usize),
}

const WATCHERS: usize = 6;
/// The messages of a storm of changes must not hide those of the feed's own log.
const STORM: usize = 1_100;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..3u8, 0..3u8, 0..3u8).prop_map(|(s, i, z)| Step::Register(s, i, z)),
        12 => (0..3u8, 0..3u8, any::<bool>()).prop_map(|(s, i, up)| Step::Observe(s, i, up)),
        8 => (0..3u8, 0..3u8).prop_map(|(s, i)| Step::Deregister(s, i)),
        4 => (0..8u8).prop_map(Step::Require),
        1 => (0..3u8, 0..3u8).prop_map(|(s, i)| Step::Storm(s, i)),
        1 => Just(Step::BeginEpoch),
        24 => (0..WATCHERS).prop_map(Step::Read),
        8 => (0..WATCHERS).prop_map(Step::Reconnect),
    ];
    proptest::collection::vec(step, 1..80)
}

fn names(s: u8, i: u8) -> (String, String) {
    (format!("s{s}"), format!("i{i}"))
}

/// What a view shows, by the position that it was told.
type Shown = HashMap<Position, Vec<Instance>>;

struct Watched {
    messages: Messages,
    view: View,
    /// What its scope showed at each position.
    truth: Shown,
}

struct World {
    fixture: Fixture,
    watched: BTreeMap<usize, Watched>,
    epochs: u64,
}

impl World {
    fn new() -> Self {
        let fixture = Fixture::new();
        let mut world = Self {
            fixture,
            watched: BTreeMap::new(),
            epochs: 0,
        };
        world.require(1);
        for n in 0..WATCHERS {
            let watched = Watched {
                messages: world.fixture.watch(world.scope(n), &View::default()),
                view: View::default(),
                truth: Shown::new(),
            };
            world.watched.insert(n, watched);
        }
        world.note();
        world
    }

    /// Two watchers share a view, two follow an instance.
    fn scope(&self, n: usize) -> Scope {
        match n {
            0 => Scope::services(named(&[]), false),
            1 => Scope::services(named(&[]), true),
            2 | 3 => Scope::services(named(&["s0", "s1"]), false),
            _ => self.fixture.required_by("app", "1"),
        }
    }

    fn require(&self, services: u8) {
        let mut app = registration("app", "1", "");
        let bits = (0..3u8).filter(|bit| services & (1 << bit) != 0);
        let services: Vec<_> = bits.map(|bit| format!("s{bit}")).collect();
        app.required_services = named(&services.iter().map(String::as_str).collect::<Vec<_>>()).into();
        register(&self.fixture.store, app);
    }

    /// Notes what each watcher would be right to hold now.
    fn note(&mut self) {
        let store = self.fixture.store.clone();
        let position = store.read(|s| (s.catalog.revision(), s.catalog.epoch()));
        for n in 0..WATCHERS {
            let shown = shown(&self.scope(n), &store);
            let watched = self.watched.get_mut(&n).expect("all were opened");
            watched.truth.insert(position, shown);
        }
    }

    fn change(&mut self, step: &Step) {
        let store = self.fixture.store.clone();
        match *step {
            Step::Register(s, i, z) => {
                let (service, id) = names(s, i);
                register(&store, registration(&service, &id, &z.to_string()));
            }
            Step::Observe(s, i, up) => {
                let (service, id) = names(s, i);
                let state = if up {
                    HealthState::Serving
                } else {
                    HealthState::Unreachable
                };
                observe(&store, &key(&service, &id), state);
            }
            Step::Deregister(s, i) => {
                let (service, id) = names(s, i);
                deregister(&store, &key(&service, &id));
            }
            Step::Require(services) => self.require(services),
            Step::Storm(s, i) => {
                let (service, id) = names(s, i);
                (0..STORM).for_each(|n| register(&store, registration(&service, &id, &format!("storm {n}"))));
            }
            Step::BeginEpoch => {
                self.epochs += 1;
                store.begin_epoch(Epoch(self.epochs));
            }
            Step::Read(_) | Step::Reconnect(_) => {}
        }
    }

    async fn read(&mut self, n: usize) {
        let watched = self.watched.get_mut(&n).expect("all were opened");
        // Time is paused: without news it is the heartbeat that comes.
        let message = watched.messages.next().await.expect("a message").expect("no error");
        let (revision, epoch) = watched.view.position();
        assert!(
            message.epoch != epoch.0 || message.revision >= revision.0,
            "a revision went back"
        );
        watched.view.apply(message).expect("the hash is right");
        if watched.view.is_consistent() {
            let truth = watched.truth.get(&watched.view.position());
            let held: Vec<_> = held(&watched.view);
            assert_eq!(Some(&held), truth, "watcher {n} at {:?}", watched.view.position());
        }
    }

    fn reconnect(&mut self, n: usize) {
        let scope = self.scope(n);
        let watched = self.watched.get_mut(&n).expect("all were opened");
        watched.messages = self.fixture.watch(scope, &watched.view);
    }
}

async fn play(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps {
        match step {
            Step::Read(n) => world.read(n).await,
            Step::Reconnect(n) => world.reconnect(n),
            change => {
                world.change(&change);
                world.note();
            }
        }
    }
    let (store, all) = (world.fixture.store.clone(), 0..WATCHERS);
    let end = store.read(|s| (s.catalog.revision(), s.catalog.epoch()));
    for n in all {
        while world.watched[&n].view.position() != end {
            world.read(n).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_view_is_the_catalog_at_the_revision_that_it_was_told(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps));
    }
}

//! Nothing acknowledged is lost, and nobody is told what is forgotten, whatever the disk does.

use proptest::prelude::*;

use super::*;
use homeroom::discovery::View;

use crate::watch::{
    Request, Scope,
    tests::{Messages, held, shown},
};

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

/// Has a watcher of everything take in what the store tells, from where it was. Tells whether it started over.
fn follow(view: &mut View, store: &Arc<Store>) -> bool {
    let scope = Scope::services(BTreeSet::new(), true);
    let position = view.position();
    let request = Request {
        scope: scope.clone(),
        position: (position.0.0 > 0).then_some(position),
        heartbeat_interval: Duration::from_secs(60),
        acknowledges: false,
    };
    let reset = wait(async {
        let mut messages = Messages::open(store.clone(), &Arc::default(), request);
        let first = messages.next().await.expect("a message").expect("no error");
        let reset = first.reset;
        view.apply(first).expect("the view is exact");
        reset
    });
    assert!(view.is_consistent(), "a small view is told at once");
    assert_eq!(held(view), shown(&scope, store));
    reset
}

/// A store, and what those who use it know.
struct World {
    disk: Simulated,
    store: Arc<Store>,
    boots: u32,
    known: Known,
    view: View,
    /// Whether the disk has failed since the store was opened.
    failed: bool,
}

impl World {
    fn new() -> Self {
        let disk = Simulated::default();
        Self {
            store: Arc::new(open_in(&disk, "0", &Limits::default()).expect("it is new")),
            disk,
            boots: 0,
            known: Known::default(),
            view: View::default(),
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
        follow(&mut self.view, &self.store);
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
        let before = std::mem::replace(&mut self.store, Arc::new(opened.expect("it is sound")));
        drop(before);
        self.disk = disk;
        self.known.check(&self.store);
        let had_begun = self.view.position().0.0 > 0;
        let started_over = follow(&mut self.view, &self.store) && had_begun;
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

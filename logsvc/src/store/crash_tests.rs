//! Whatever happens to the disk and the process: what was acknowledged is there, once, in order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{simulated::Simulated, tests::all, tests::everything, *};
use crate::{entry::tests::entry, native::tests::batch_of};

/// What is done to the store.
#[derive(Debug, Clone)]
enum Step {
    /// Writers send their next batches, or again what was not acknowledged, all at once.
    Send(Vec<Sending>),
    /// Operations fail for a while.
    Fail { after: u64, count: u64, is_full: bool },
    /// The process is killed, and started again; at the first try an operation fails.
    Kill { after: u64 },
    /// The power is cut.
    PowerCut(u64),
    /// The process ends as it should, and is started again.
    Restart,
}

#[derive(Debug, Clone)]
struct Sending {
    writer: usize,
    entries: usize,
    durability: Durability,
    is_twice: bool,
}

/// A batch that was sent.
#[derive(Debug, Clone)]
struct Sent {
    number: u64,
    messages: Vec<String>,
    /// What it survives, as acknowledged.
    acknowledged: Option<Durability>,
}

fn sending() -> impl Strategy<Value = Sending> {
    let durability = prop_oneof![
        Just(Durability::Received),
        Just(Durability::Written),
        Just(Durability::Synced)
    ];
    (0..3_usize, 1..6_usize, durability, any::<bool>()).prop_map(|(writer, entries, durability, is_twice)| Sending {
        writer,
        entries,
        durability,
        is_twice,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(sending(), 1..5).prop_map(Step::Send),
        2 => (0..12_u64, 1..6_u64, any::<bool>()).prop_map(|(after, count, is_full)| Step::Fail { after, count, is_full }),
        1 => (0..20_u64).prop_map(|after| Step::Kill { after }),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => Just(Step::Restart),
    ]
}

/// The store, what was sent to it, and what it said.
struct World {
    disk: Simulated,
    store: Option<Store>,
    boot: u64,
    sent: [Vec<Sent>; 3],
    /// The message that each number was seen with.
    numbers: BTreeMap<u64, String>,
}

/// Small enough that everything happens: some batches a segment, some batches a reservation.
fn limits() -> Limits {
    Limits::from(&StoreSettings {
        segment_size_bytes: 1500,
        retention_free_bytes: 2,
        ..StoreSettings::default()
    })
}

fn try_open(disk: &Simulated, boot: u64) -> Result<Store, Error> {
    Store::open_in(Arc::new(disk.clone()), &boot.to_string(), 10, limits(), &everything())
}

fn name(writer: usize) -> WriterId {
    WriterId::parse("writer", &format!("w{writer}")).expect("a valid name")
}

fn messages(writer: usize, number: u64, entries: usize) -> Vec<String> {
    (0..entries).map(|n| format!("{writer} {number} {n}")).collect()
}

fn encode(writer: usize, sent: &Sent) -> Batch {
    let entries: Vec<_> = sent.messages.iter().map(|message| entry(message)).collect();
    batch_of(&entries).of_writer(name(writer), sent.number)
}

impl World {
    fn new() -> Self {
        let disk = Simulated::default();
        let store = try_open(&disk, 0).expect("it is new");
        Self {
            disk,
            store: Some(store),
            boot: 0,
            sent: Default::default(),
            numbers: BTreeMap::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Send(sendings) => {
                self.send(&sendings).await;
            }
            Step::Fail { after, count, is_full } => {
                let kind = if is_full {
                    io::ErrorKind::StorageFull
                } else {
                    io::ErrorKind::Other
                };
                self.disk.fail(after, count, kind);
            }
            Step::Kill { after } => {
                let disk = self.disk.after_kill();
                self.open(disk, after);
            }
            Step::PowerCut(seed) => {
                let disk = self.disk.after_power_cut(seed);
                self.boot += 1;
                for sent in self.sent.iter_mut().flatten() {
                    // It survives no more than that.
                    sent.acknowledged = sent.acknowledged.map(|durability| match durability {
                        Durability::Synced => Durability::Synced,
                        Durability::Written | Durability::Received => Durability::Received,
                    });
                }
                self.open(disk, seed % 20);
            }
            Step::Restart => {
                self.store().close();
                let disk = self.disk.after_kill();
                self.open(disk, u64::MAX / 2);
            }
        }
        self.check();
    }

    /// Opens what is on a disk, at the second try when the first one fails.
    fn open(&mut self, disk: Simulated, after: u64) {
        self.store = None;
        disk.fail(after, 1, io::ErrorKind::Other);
        let store = try_open(&disk, self.boot);
        disk.mend();
        let store = store.or_else(|_| try_open(&disk, self.boot));
        self.store = Some(store.expect("nothing fails now"));
        self.disk = disk;
    }

    /// Sends what is not acknowledged again, then what is new, of all writers at once. Whether all was acknowledged.
    async fn send(&mut self, sendings: &[Sending]) -> bool {
        let fates = [Fate::default(), Fate::default(), Fate::default()];
        let mut queued = Vec::new();
        for sending in sendings {
            let writer = sending.writer;
            let again = self.sent[writer]
                .iter()
                .enumerate()
                .filter(|(_, sent)| sent.acknowledged.is_none());
            let mut batches: Vec<_> = again.map(|(n, _)| (n, Durability::Synced)).collect();
            let number = self.sent[writer].last().map_or(1, |sent| sent.number + 1);
            batches.push((self.sent[writer].len(), sending.durability));
            self.sent[writer].push(Sent {
                number,
                messages: messages(writer, number, sending.entries),
                acknowledged: None,
            });
            if sending.is_twice {
                batches.extend_from_within(..);
            }
            for (n, durability) in batches {
                let batch = encode(writer, &self.sent[writer][n]);
                let written = self
                    .store()
                    .append(batch, durability, &fates[writer])
                    .await
                    .expect("it has room");
                queued.push((writer, n, durability, written));
            }
        }
        let mut is_done = true;
        for (writer, n, durability, written) in queued {
            let result = written.wait().await;
            is_done &= result.is_ok();
            let sent = &mut self.sent[writer][n];
            if durability == Durability::Received || result.is_ok() {
                sent.acknowledged = sent.acknowledged.max(Some(durability));
            }
            let last = result.ok().filter(|last| *last > 0);
            let message = last.map(|last| (last, sent.messages.last().expect("it has some").clone()));
            if let Some((last, message)) = message {
                assert_eq!(self.numbers.entry(last).or_insert_with(|| message.clone()), &message);
            }
        }
        is_done
    }

    /// Everything that was promised is there, once, whole and in order, and no number means two entries.
    fn check(&mut self) {
        let all = all(self.store());
        assert!(all.is_sorted_by(|a, b| a.0 < b.0), "{all:?}");
        for (number, message) in &all {
            assert_eq!(
                self.numbers.entry(*number).or_insert_with(|| message.clone()),
                message,
                "number {number}"
            );
        }
        for (writer, sent) in self.sent.iter().enumerate() {
            let of_writer = |message: &&String| message.starts_with(&format!("{writer} "));
            let found: Vec<&String> = all.iter().map(|(_, message)| message).filter(of_writer).collect();
            let numbers: BTreeSet<u64> = found.iter().map(|message| number_of(message)).collect();
            let whole = sent.iter().filter(|sent| numbers.contains(&sent.number));
            assert_eq!(found, whole.flat_map(|sent| &sent.messages).collect::<Vec<_>>());
            for sent in sent
                .iter()
                .filter(|sent| sent.acknowledged >= Some(Durability::Written))
            {
                assert!(
                    numbers.contains(&sent.number),
                    "{writer} {sent:?} is missing in {all:?}"
                );
            }
        }
    }
}

fn number_of(message: &str) -> u64 {
    message
        .split(' ')
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("it is ours")
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime")
}

proptest! {
    #[test]
    fn what_was_acknowledged_is_there_once_and_in_order_whatever_happens(steps in prop::collection::vec(step(), 1..30)) {
        runtime().block_on(async {
            let mut world = World::new();
            for step in steps {
                world.take(step).await;
            }
            world.disk.mend();
            let all = [0, 1, 2].map(|writer| Sending { writer, entries: 1, durability: Durability::Synced, is_twice: false });
            assert!(world.send(&all).await, "it recovers by itself");
            world.check();
        });
    }
}

#[test]
fn what_is_left_of_the_disk_for_others_is_not_written_to() {
    runtime().block_on(async {
        let mut world = World::new();
        let all = [0, 1, 2].map(|writer| Sending {
            writer,
            entries: 1,
            durability: Durability::Synced,
            is_twice: false,
        });
        world.disk.fill(true);
        assert!(!world.send(&all).await);
        assert!(matches!(world.store().health(), Health::Full(_)));
        world.disk.fill(false);
        assert!(world.send(&all).await, "there is room again");
        assert_eq!(world.store().health(), Health::Working);
        world.check();
    });
}

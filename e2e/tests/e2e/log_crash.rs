//! A Log that is killed at any moment, over and over: what it has acknowledged stands, once and in order.
//!
//! `HOMEROOM_CRASH_ROUNDS` asks for more kills than the usual 20, `HOMEROOM_CRASH_SEED` for those of an earlier run.

mod files;
mod writers;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fastrand::Rng;
use homeroom::{
    balance::Channel,
    proto::log::v1::{Durability, Entry, Filter, Order, QueryRequest, TailRequest, log_client::LogClient},
};
use rustix::process::Signal;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use self::writers::{Caller, Streamer, Written};
use crate::{
    crash::setting,
    harness::{PATIENCE, Process},
};

/// Who calls `Write`: half of them for entries that survive the process, half for those that survive the power.
const CALLERS: usize = 4;
/// Who sends by `Ingest`, and sends again what was not acknowledged.
const STREAMERS: usize = 3;
/// So small that segments end in every round.
const SEGMENT_SIZE: &str = "1MiB";

fn client(log: &Process) -> LogClient<Channel> {
    LogClient::new(log.mesh().registry())
}

async fn start(data: &Path, registry: &Process) -> Process {
    let data = data.to_str().expect("a temporary path is text");
    let (registry, listen) = (registry.address.as_str(), "127.0.0.1:0");
    let args = ["log", "--data-dir", data, "--segment-size", SEGMENT_SIZE];
    Process::start(&[&args[..], &["--listen", listen, "--registry", registry]].concat()).await
}

/// What a writer shares with those who wait for the kill.
#[derive(Debug, Clone)]
struct Round {
    acknowledged: watch::Sender<u32>,
    killed: Arc<AtomicBool>,
}

impl Round {
    fn acknowledge(&self) {
        self.acknowledged.send_modify(|count| *count += 1);
    }

    /// A writer ends when Log does, and for no other reason.
    fn expect_killed(&self, why: &dyn std::fmt::Debug) {
        assert!(self.killed.load(Ordering::SeqCst), "refused: {why:?}");
    }
}

struct Crashes {
    random: Rng,
    callers: Vec<Caller>,
    streamers: Vec<Streamer>,
    /// The last number in the log that was checked.
    checked: u64,
    /// How many entries were found in all.
    found: usize,
}

impl Crashes {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let durability = |n| {
            if n % 2 == 0 {
                Durability::Synced
            } else {
                Durability::Written
            }
        };
        Self {
            callers: (0..CALLERS)
                .map(|n| Caller::new(format!("caller-{n}"), durability(n), random.fork()))
                .collect(),
            streamers: (0..STREAMERS)
                .map(|n| Streamer::new(format!("streamer-{n}"), durability(n), random.fork()))
                .collect(),
            random,
            checked: 0,
            found: 0,
        }
    }

    fn writers(&mut self) -> impl Iterator<Item = &mut Written> {
        let callers = self.callers.iter_mut().map(|caller| &mut caller.written);
        callers.chain(self.streamers.iter_mut().map(|streamer| &mut streamer.written))
    }

    /// Lets everybody write, and kills Log in the midst of it.
    async fn round(&mut self, log: Process) {
        let wanted = self.random.u32(1..120);
        let (acknowledged, mut count) = watch::channel(0);
        let round = Round {
            acknowledged,
            killed: Arc::new(AtomicBool::new(false)),
        };
        let callers: Vec<JoinHandle<Caller>> = self
            .callers
            .drain(..)
            .map(|caller| tokio::spawn(caller.run(client(&log), round.clone())))
            .collect();
        let streamers: Vec<JoinHandle<Streamer>> = self
            .streamers
            .drain(..)
            .map(|streamer| tokio::spawn(streamer.run(client(&log), round.clone())))
            .collect();
        let enough = count.wait_for(|count| *count >= wanted);
        let enough = timeout(PATIENCE, enough).await.expect("it acknowledges in time");
        drop(enough.expect("all write"));
        round.killed.store(true, Ordering::SeqCst);
        log.kill().await;
        for caller in callers {
            self.callers.push(caller.await.expect("nothing was refused"));
        }
        for streamer in streamers {
            self.streamers.push(streamer.await.expect("nothing was refused"));
        }
    }

    /// Reads what has come since the last time, and holds it against what everybody knows.
    async fn check(&mut self, log: &Process) {
        let mut found = BTreeMap::<String, Vec<(u64, u64)>>::new();
        for entry in timeout(PATIENCE, self.read(log)).await.expect("it reads in time") {
            assert!(
                entry.sequence > self.checked,
                "a number is there twice: {}",
                entry.sequence
            );
            self.checked = entry.sequence;
            let number = writers::number(&entry.message);
            found.entry(entry.service).or_default().push((number, entry.sequence));
            self.found += 1;
        }
        for written in self.writers() {
            written.check(&found.remove(&written.name).unwrap_or_default());
        }
    }

    async fn read(&mut self, log: &Process) -> Vec<Entry> {
        let newest = QueryRequest {
            order: Order::NewestFirst.into(),
            page_size: 1,
            ..Default::default()
        };
        let newest = client(log)
            .query(newest)
            .await
            .expect("it answers")
            .into_inner()
            .entries;
        let last = newest.first().map_or(0, |entry| entry.sequence);
        assert!(
            last >= self.checked,
            "the log ends at {last}, and {} was there",
            self.checked
        );
        // Log writes entries of its own, too.
        let services = self.writers().map(|written| written.name.clone()).collect();
        let request = TailRequest {
            filter: Some(Filter {
                services,
                ..Default::default()
            }),
            after_sequence: Some(self.checked),
            ..Default::default()
        };
        let mut tail = client(log).tail(request).await.expect("it opens").into_inner();
        let (mut entries, mut at) = (Vec::new(), self.checked);
        while at < last {
            let part = tail.message().await.expect("no error").expect("it goes on");
            assert_eq!(part.dropped, None, "nothing is deleted here");
            entries.extend(part.entries);
            at = part.sequence;
        }
        entries
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_killed_at_any_moment_keeps_what_it_has_acknowledged_once_and_in_order() {
    let rounds = setting("HOMEROOM_CRASH_ROUNDS").unwrap_or(20);
    let seed = setting("HOMEROOM_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("HOMEROOM_CRASH_SEED={seed}");
    let data = tempfile::tempdir().expect("a folder");
    let registry = Process::registry().await;
    let mut crashes = Crashes::new(seed);
    for _ in 0..rounds {
        let log = start(data.path(), &registry).await;
        crashes.check(&log).await;
        crashes.round(log).await;
    }
    let log = start(data.path(), &registry).await;
    crashes.check(&log).await;
    log.signal(Signal::TERM);
    assert_eq!(log.ended().await.0, Some(0));
    let kept = files::check(data.path(), |service| {
        crashes.writers().any(|written| written.name == service)
    });
    assert_eq!(kept.entries, crashes.found, "what is answered is what the files hold");
    assert!(kept.sealed > 0, "segments were sealed, too");
}

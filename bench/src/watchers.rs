//! Many watchers on shared connections, who count what they are told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{
    message::{Messages, Told},
    peer::Server,
    wire::{Connection, Frame},
};

/// No view takes longer to be told on a server that works.
const OPEN_PATIENCE: Duration = Duration::from_secs(120);

/// Watchers whose views are there. They go when this is dropped.
pub(crate) struct Watchers {
    count: u64,
    tally: Arc<Tally>,
    connections: JoinSet<Result<()>>,
}

/// What all of them were told together.
struct Tally {
    opened: AtomicU64,
    changes: AtomicU64,
    /// Snapshots to watchers that had one: they had fallen behind.
    resets: AtomicU64,
    /// Told whenever all of them could have been told one more change.
    progress: Notify,
    step: u64,
    /// How long after the mark each change was told, in microseconds.
    lags: Mutex<Lags>,
}

#[derive(Default)]
struct Lags {
    since: Option<Instant>,
    micros: Vec<u32>,
}

impl Watchers {
    /// Opens so many watches of a service. On each connection one is opened after the other has its view.
    pub(crate) async fn open(server: &Server, of: usize, count: usize, connections: usize) -> Result<Self> {
        let mut watchers = Self {
            count: count as u64,
            tally: Arc::new(Tally {
                opened: AtomicU64::new(0),
                changes: AtomicU64::new(0),
                resets: AtomicU64::new(0),
                progress: Notify::new(),
                step: count as u64,
                lags: Mutex::default(),
            }),
            connections: JoinSet::new(),
        };
        for number in 0..connections {
            let streams = count / connections + usize::from(number < count % connections);
            let mut watch = server.watch(of);
            let message = watch.requests.next().to_vec();
            let connection = Streams {
                streams: (0..streams).map(|_| Stream::default()).collect(),
                message,
                tally: watchers.tally.clone(),
            };
            watchers.connections.spawn(connection.run(server.address, watch.path));
        }
        let all = async {
            while watchers.tally.opened.load(Ordering::Relaxed) < watchers.count {
                watchers.progress().await?;
            }
            anyhow::Ok(())
        };
        timeout(OPEN_PATIENCE, all)
            .await
            .context("not every watcher was given a view")??;
        Ok(watchers)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many changes they were told, each watcher's counted.
    pub(crate) fn told(&self) -> u64 {
        self.tally.changes.load(Ordering::Relaxed)
    }

    /// How many of them were given a second snapshot.
    pub(crate) fn resets(&self) -> u64 {
        self.tally.resets.load(Ordering::Relaxed)
    }

    /// Waits until there may be something new, but not for long. Cancel safe.
    ///
    /// # Errors
    /// When a connection has failed.
    pub(crate) async fn progress(&mut self) -> Result<()> {
        tokio::select! {
            ended = self.connections.join_next(), if !self.connections.is_empty() => match ended {
                Some(ended) => { ended??; bail!("a connection of watchers ended") }
                None => Ok(()),
            },
            _ = timeout(Duration::from_millis(20), self.tally.progress.notified()) => Ok(()),
        }
    }

    /// Waits until so many changes were told in all.
    pub(crate) async fn wait_for(&mut self, told: u64, patience: Duration) -> Result<()> {
        let started = Instant::now();
        while self.told() < told {
            ensure!(
                started.elapsed() < patience,
                "only {} of {told} changes were told in {patience:?}",
                self.told()
            );
            self.progress().await?;
        }
        Ok(())
    }

    /// Notes how long after now changes are told.
    pub(crate) fn mark(&self) {
        self.lags().since = Some(Instant::now());
    }

    /// How long it took to tell each change since the mark, in microseconds.
    pub(crate) fn take_lags(&self) -> Vec<u32> {
        let mut lags = self.lags();
        lags.since = None;
        std::mem::take(&mut lags.micros)
    }

    fn lags(&self) -> std::sync::MutexGuard<'_, Lags> {
        self.tally.lags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn told(&self, changes: u64) {
        if changes == 0 {
            return;
        }
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = lags.since {
            let micros = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
            let length = lags.micros.len() + usize::try_from(changes).unwrap_or(0);
            lags.micros.resize(length, micros);
        }
        drop(lags);
        let before = self.changes.fetch_add(changes, Ordering::Relaxed);
        if before / self.step != (before + changes) / self.step {
            self.progress.notify_one();
        }
    }
}

#[derive(Default)]
struct Stream {
    messages: Messages,
    opened: bool,
    /// Whether the messages that come are parts of a snapshot.
    snapshot: bool,
}

/// The watches of one connection.
struct Streams {
    streams: Vec<Stream>,
    message: Vec<u8>,
    tally: Arc<Tally>,
}

impl Streams {
    async fn run(mut self, address: SocketAddr, path: &'static str) -> Result<()> {
        let mut connection = Connection::open(address, path).await?;
        // etcd's watches are streams in both directions; it need not know that nothing follows, and neither do others.
        let half_close = !path.starts_with("/etcd");
        let mut asked = 0;
        loop {
            let opened = self.streams[..asked].iter().filter(|stream| stream.opened).count();
            if asked < self.streams.len() && opened == asked {
                connection.call(&self.message, half_close);
                asked += 1;
            }
            let (mut changes, mut failure) = (0, None);
            let read = connection.read(|frame| match frame {
                Frame::Data { stream, bytes } => match self.told(stream, bytes) {
                    Some(told) => changes += told,
                    None => failure = Some("something that is no message of a watch"),
                },
                Frame::End { .. } => failure = Some("the end of a watch"),
            });
            read.await?;
            if let Some(failure) = failure {
                bail!("the server sent {failure} of {path}");
            }
            self.tally.told(changes);
        }
    }

    /// How many changes these bytes tell a watcher that has its view.
    fn told(&mut self, stream: u32, bytes: &[u8]) -> Option<u64> {
        let Stream {
            messages,
            opened,
            snapshot,
        } = self.streams.get_mut(usize::try_from(stream / 2).ok()?)?;
        let (mut changes, mut sound) = (0, true);
        messages.push(bytes, |message| {
            let Some(told) = Told::read(message) else {
                sound = false;
                return;
            };
            *snapshot |= told.reset;
            match (*opened, *snapshot) {
                (true, false) => changes += told.changes,
                (true, true) if !told.more => {
                    self.tally.resets.fetch_add(1, Ordering::Relaxed);
                }
                (false, _) if !told.more => {
                    *opened = true;
                    if self.tally.opened.fetch_add(1, Ordering::Relaxed) + 1 == self.tally.step {
                        self.tally.progress.notify_one();
                    }
                }
                _ => {}
            }
            *snapshot &= told.more;
        });
        sound.then_some(changes)
    }
}

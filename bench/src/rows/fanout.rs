//! Changes told to many watchers of one service: as many as go through, and one at a time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::{Bench, Figures, percentile};
use crate::{
    calls,
    deaf::Deaf,
    peer::{Method, Peer, Server},
    sample::Sample,
    table::{BARE, Bar, ETCD, Line},
    watchers::Watchers,
    wire::{Connection, Frame},
};

/// The service that all of them watch.
const SERVICE: usize = 0;
/// Its instances, which change in turn: more than are on their way at once, so that a message that tells of several
/// changes tells of several instances, and no change is left out.
const INSTANCES: usize = 256;
/// How many changes are on their way at once. It is given by what all watchers were told together.
const IN_FLIGHT: u64 = 64;
/// Watchers that read what they are told.
const SAMPLES: usize = 4;
/// How long nothing may be told before what is missing counts as left out.
const STALL: Duration = Duration::from_secs(3);
/// How long one change may take to reach everybody.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);
/// Between a change that everybody was told and the next one.
const PAUSE: Duration = Duration::from_millis(20);

/// A server with its watchers.
struct Scene {
    server: Server,
    watchers: Watchers,
    sample: Option<Sample>,
    changes: Changes,
}

impl Scene {
    async fn open(bench: Bench<'_>, peer: Peer, watchers: usize) -> Result<Self> {
        let server = Server::start(peer, bench.programs).await?;
        let registrations = || server.registrations(SERVICE..SERVICE + 1, INSTANCES);
        if matches!(peer, Peer::Homeroom | Peer::Etcd) {
            calls::each(server.address, registrations()).await?;
        }
        let sample = if peer == Peer::Homeroom {
            Some(Sample::open(&server, SERVICE, SAMPLES).await?)
        } else {
            None
        };
        Ok(Self {
            watchers: Watchers::open(&server, SERVICE, watchers, bench.plan.connections).await?,
            changes: Changes::open(&server, registrations()).await?,
            sample,
            server,
        })
    }

    async fn close(self) -> Result<()> {
        match self.sample {
            Some(sample) => sample.check(&self.server).await,
            None => Ok(()),
        }
    }
}

/// Makes changes, as registrations on one connection.
struct Changes {
    connection: Connection,
    method: Method,
    made: u64,
}

impl Changes {
    async fn open(server: &Server, mut method: Method) -> Result<Self> {
        // Those that filled the service had the first numbers.
        for _ in 0..method.requests.len() {
            method.requests.next();
        }
        Ok(Self {
            connection: Connection::open(server.address, method.path).await?,
            method,
            made: 0,
        })
    }

    async fn make(&mut self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.connection.call(self.method.requests.next(), true);
        }
        self.made += count;
        self.connection.flush().await
    }

    /// Reads the answers that are there, so that the server can go on. One that refuses makes no change, which is missed
    /// by whoever waits for it. Cancel safe.
    async fn read_answers(&mut self) -> Result<()> {
        self.connection.read(|_: Frame<'_>| {}).await
    }
}

/// What went through.
#[derive(Debug, Clone, Copy)]
struct Flow {
    /// Changes told in a second, each watcher's counted.
    told_per_second: f64,
    /// Changes made in a second.
    made_per_second: f64,
    /// The share of the changes made that watchers were not told one by one.
    left_out: f64,
    /// Watchers that had to be given a new snapshot.
    resets: u64,
}

pub(super) async fn events(bench: Bench<'_>) -> Result<Vec<Line>> {
    let peers = [Peer::Etcd, Peer::BareEach, Peer::Bare, Peer::Homeroom];
    let figures = bench.in_turns(&peers, async |peer| {
        let mut scene = Scene::open(bench, peer, bench.plan.watchers).await?;
        let flow = flow(bench, &mut scene).await?;
        scene.close().await?;
        Ok(flow)
    });
    let figures = figures.await?;
    let told = |flow: &Flow| flow.told_per_second;
    let homeroom = figures.homeroom(Peer::Homeroom, told)?;
    Ok(vec![Line {
        what: format!("changes told to {} watchers", bench.plan.watchers),
        unit: "events/s",
        peers: vec![
            (ETCD, figures.median(Peer::Etcd, told)),
            (BARE, figures.median(Peer::Bare, told)),
        ],
        homeroom,
        bars: vec![Bar::Times(ETCD, 15.0), Bar::Times(BARE, 0.7)],
        notes: flow_notes(&figures),
    }])
}

fn flow_notes(figures: &Figures<Flow>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(each) = figures.median(Peer::BareEach, |flow| flow.told_per_second) {
        notes.push(format!("bare tonic that encodes for each watcher: {each:.0} events/s"));
    }
    for (peer, name) in [
        (Peer::Etcd, "etcd"),
        (Peer::Bare, "bare tonic"),
        (Peer::Homeroom, "homeroom"),
    ] {
        let Some(made) = figures.median(peer, |flow| flow.made_per_second) else {
            continue;
        };
        let left_out = figures.of(peer).map(|flow| flow.left_out).fold(0.0, f64::max);
        let resets: u64 = figures.of(peer).map(|flow| flow.resets).sum();
        notes.push(format!(
            "{name}: {made:.0} changes/s made, {:.2} % of them not told one by one, {resets} new snapshots",
            left_out * 100.0
        ));
    }
    notes
}

/// Keeps so many changes on their way, and counts what watchers are told.
async fn flow(bench: Bench<'_>, scene: &mut Scene) -> Result<Flow> {
    let Scene { watchers, changes, .. } = scene;
    let count = watchers.count();
    let (first_told, resets) = (watchers.told(), watchers.resets());
    let started = Instant::now();
    let mut window: Option<(Instant, u64, u64)> = None;
    // What is missing after a stall was left out, and must not keep the next ones from being made.
    let (mut left_out, mut last_told, mut last_progress) = (0, 0, started);
    let ended = loop {
        let (now, told) = (Instant::now(), watchers.told() - first_told);
        match window {
            // Begins when the first change has gone all the way.
            None if now - started >= bench.plan.warm_up && told >= count => window = Some((now, told, changes.made)),
            None => ensure!(now - started < CHANGE_PATIENCE, "not one change has reached everybody"),
            Some((begin, ..)) if now - begin >= bench.plan.window => break (now, told, changes.made),
            Some(_) => {}
        }
        if told != last_told {
            (last_told, last_progress) = (told, now);
        } else if now - last_progress > STALL {
            left_out = (changes.made * count).saturating_sub(told);
            last_progress = now;
        }
        let arrived = (told + left_out) / count;
        let on_the_way = changes.made.saturating_sub(arrived);
        changes.make(IN_FLIGHT.saturating_sub(on_the_way)).await?;
        tokio::select! {
            progress = watchers.progress() => progress?,
            answers = changes.read_answers() => answers?,
        }
    };
    let (begin, told_before, made_before) = window.unwrap_or((started, 0, 0));
    let seconds = (ended.0 - begin).as_secs_f64();
    drain(watchers, changes, first_told).await?;
    let expected = (changes.made * count) as f64;
    Ok(Flow {
        told_per_second: (ended.1 - told_before) as f64 / seconds,
        made_per_second: (ended.2 - made_before) as f64 / seconds,
        left_out: 1.0 - (watchers.told() - first_told) as f64 / expected,
        resets: watchers.resets() - resets,
    })
}

/// Waits for what is on its way, until all of it came or nothing comes any more.
async fn drain(watchers: &mut Watchers, changes: &mut Changes, first_told: u64) -> Result<()> {
    let all = first_told + changes.made * watchers.count();
    let (mut last_told, mut last_progress) = (watchers.told(), Instant::now());
    while watchers.told() < all && last_progress.elapsed() < STALL {
        tokio::select! {
            progress = watchers.progress() => progress?,
            answers = changes.read_answers() => answers?,
        }
        if watchers.told() != last_told {
            (last_told, last_progress) = (watchers.told(), Instant::now());
        }
    }
    Ok(())
}

/// How long single changes took, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Lag {
    p50: f64,
    p99: f64,
    changes: usize,
}

pub(super) async fn change(bench: Bench<'_>, watchers: usize) -> Result<Vec<Line>> {
    let peers = [Peer::Etcd, Peer::BareEach, Peer::Bare, Peer::Homeroom];
    let figures = bench.in_turns(&peers, async |peer| {
        let mut scene = Scene::open(bench, peer, watchers).await?;
        let lag = lag(bench, &mut scene).await?;
        scene.close().await?;
        Ok(lag)
    });
    let figures = figures.await?;
    let millis = |lag: &Lag| lag.p99 / 1000.0;
    let changes = figures.of(Peer::Homeroom).map(|lag| lag.changes).sum::<usize>();
    let mut notes = vec![format!(
        "homeroom: p50 {:.2} ms, {changes} changes timed",
        figures.homeroom(Peer::Homeroom, |lag| lag.p50)? / 1000.0
    )];
    if let Some(each) = figures.median(Peer::BareEach, millis) {
        notes.push(format!("bare tonic that encodes for each watcher: {each:.1} ms"));
    }
    Ok(vec![Line {
        what: format!("one change to {watchers} watchers, p99"),
        unit: "ms",
        peers: vec![
            (ETCD, figures.median(Peer::Etcd, millis)),
            (BARE, figures.median(Peer::Bare, millis)),
        ],
        homeroom: figures.homeroom(Peer::Homeroom, millis)?,
        bars: vec![Bar::Within(BARE, 1.1)],
        notes,
    }])
}

/// How some watchers are told of changes alone, and beside many that never read.
#[derive(Debug, Clone, Copy)]
struct Beside {
    alone: Lag,
    /// As long as there is room for what they do not read.
    at_first: Lag,
    then: Lag,
    resident_bytes: u64,
}

/// How many times all that are on their way at once fill what is held for a watcher that does not read: 140 KB.
const FILLING_ROUNDS: usize = 10;

pub(super) async fn deaf(bench: Bench<'_>) -> Result<Vec<Line>> {
    let (few, many) = (bench.plan.watchers_few, bench.plan.watchers);
    let figures = bench.in_turns(&[Peer::Homeroom], async |peer| {
        let mut scene = Scene::open(bench, peer, few).await?;
        let alone = lag(bench, &mut scene).await?;
        let deaf = Deaf::open(&scene.server, SERVICE, many, bench.plan.connections).await?;
        let at_first = lag(bench, &mut scene).await?;
        for _ in 0..FILLING_ROUNDS {
            let all = scene.watchers.told() + IN_FLIGHT * scene.watchers.count();
            scene.changes.make(IN_FLIGHT).await?;
            scene.watchers.wait_for(all, CHANGE_PATIENCE).await?;
            scene.changes.read_answers().await?;
        }
        let then = lag(bench, &mut scene).await?;
        let resident_bytes = scene.server.process.resident_bytes()?;
        drop(deaf);
        scene.close().await?;
        Ok(Beside {
            alone,
            at_first,
            then,
            resident_bytes,
        })
    });
    let figures = figures.await?;
    let figure = |figure: fn(&Beside) -> f64| figures.homeroom(Peer::Homeroom, figure);
    let line = |what, unit, homeroom, max| Line {
        what,
        unit,
        peers: Vec::new(),
        homeroom,
        bars: vec![Bar::AtMost(max)],
        notes: Vec::new(),
    };
    let mut ratio = line(
        format!("one change to {few} watchers, p99, beside {many} that never read"),
        "x alone",
        figure(|beside| beside.then.p99 / beside.alone.p99)?,
        1.25,
    );
    ratio.notes.push(format!(
        "{:.2} ms alone, {:.2} ms as long as there is room for what they do not read, {:.2} ms then",
        figure(|beside| beside.alone.p99 / 1000.0)?,
        figure(|beside| beside.at_first.p99 / 1000.0)?,
        figure(|beside| beside.then.p99 / 1000.0)?
    ));
    let mib = figure(|beside| beside.resident_bytes as f64 / f64::from(1 << 20))?;
    Ok(vec![
        ratio,
        line(
            format!("memory beside {many} watchers that never read"),
            "MiB",
            mib,
            512.0,
        ),
    ])
}

/// Makes one change after the other, each when everybody was told the one before.
async fn lag(bench: Bench<'_>, scene: &mut Scene) -> Result<Lag> {
    let Scene { watchers, changes, .. } = scene;
    let started = Instant::now();
    let mut timed = 0;
    while timed < bench.plan.changes || started.elapsed() < bench.plan.window {
        let all = watchers.told() + watchers.count();
        watchers.mark();
        changes.make(1).await?;
        watchers.wait_for(all, CHANGE_PATIENCE).await?;
        changes.read_answers().await?;
        timed += 1;
        sleep(PAUSE).await;
    }
    let mut lags = watchers.take_lags();
    Ok(Lag {
        p50: percentile(&mut lags, 50),
        p99: percentile(&mut lags, 99),
        changes: timed,
    })
}

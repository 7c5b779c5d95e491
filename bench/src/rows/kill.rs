//! An instance that is killed, as a process: how long until the hundredth watcher knows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::{Bench, percentile};
use crate::{
    peer::{Peer, Server},
    process::{PATIENCE, Process},
    proto::bare::{FollowRequest, bare_client::BareClient},
    table::{BARE, Bar, ETCD, Line},
    watchers::Watchers,
    workload::service,
};

const WATCHERS: usize = 100;
const CONNECTIONS: usize = 10;
/// Between the registration that everybody knows and the kill, so that nothing else is under way.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn told(bench: Bench<'_>) -> Result<Vec<Line>> {
    let (mut bare, mut homeroom) = (Vec::new(), Vec::new());
    for (peer, lags) in [(Peer::Bare, &mut bare), (Peer::Homeroom, &mut homeroom)] {
        let server = Server::start(peer, bench.programs).await?;
        let mut watchers = Watchers::open(&server, 0, WATCHERS, CONNECTIONS).await?;
        for _ in 0..bench.plan.kills {
            let lag = kill(bench, &server, &mut watchers).await;
            lags.push(lag.with_context(|| format!("{peer:?}"))?);
        }
    }
    let line = |percent, max| Line {
        what: format!("kill -9 of an instance to the {WATCHERS}th watcher, p{percent}"),
        unit: "ms",
        peers: vec![
            (ETCD, None),
            (BARE, Some(percentile(&mut bare.clone(), percent) / 1000.0)),
        ],
        homeroom: percentile(&mut homeroom.clone(), percent) / 1000.0,
        bars: vec![Bar::AtMost(max)],
        notes: Vec::new(),
    };
    let mut p99 = line(99, 20.0);
    p99.notes.push(format!("{} kills", bench.plan.kills));
    Ok(vec![line(50, 5.0), p99])
}

/// Starts an instance, waits until it is known, kills it, and waits until all watchers were told: in microseconds.
async fn kill(bench: Bench<'_>, server: &Server, watchers: &mut Watchers) -> Result<u32> {
    let dir = tempfile::tempdir_in(&bench.programs.dir)?;
    let said = dir.path().join("said");
    let bench_program = bench.programs.bench.clone().into_os_string();
    let all = watchers.count();
    let told = watchers.told();
    let mut instance = if server.peer == Peer::Bare {
        let args = ["serve", "bare", "--listen", "127.0.0.1:0"];
        let mut instance = Process::start(&[bench_program], &args, &said)?;
        let address = instance.listening(&said).await?.to_string();
        BareClient::new(server.channel())
            .follow(FollowRequest { address })
            .await?;
        instance
    } else {
        let (name, registry) = (service(0), server.address.to_string());
        let args = [
            "serve",
            "instance",
            &name,
            "--listen",
            "127.0.0.1:0",
            "--registry",
            &registry,
        ];
        let instance = Process::start(&[bench_program], &args, &said)?;
        watchers.wait_for(told + all, PATIENCE).await?;
        instance
    };
    sleep(PAUSE).await;
    let told = watchers.told();
    watchers.mark();
    instance.strike()?;
    watchers.wait_for(told + all, PATIENCE).await?;
    // What else is told would have been taken for the end.
    sleep(PAUSE).await;
    ensure!(
        watchers.told() == told + all,
        "more was told than the end of the instance"
    );
    watchers.take_lags().into_iter().max().context("nothing was told")
}

//! What watchers and instances take of the server's memory: what is resident after them, less what was before.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::Bench;
use crate::{
    calls,
    peer::{Peer, Server},
    table::{BARE, Bar, ETCD, Line},
    watchers::Watchers,
    workload::INSTANCES,
};

/// How long a server may tidy up before it is looked at.
const SETTLE: Duration = Duration::from_millis(500);

pub(super) async fn watchers(bench: Bench<'_>) -> Result<Vec<Line>> {
    let count = bench.plan.watchers;
    let figures = bench.in_turns(&[Peer::Etcd, Peer::Bare, Peer::Homeroom], async |peer| {
        let server = Server::start(peer, bench.programs).await?;
        if peer != Peer::Bare {
            calls::each(server.address, server.registrations(0..1, INSTANCES)).await?;
        }
        // The connections are there before, with a watch each; so is what the first watches touch.
        let connections = bench.plan.connections;
        let first = Watchers::open(&server, 0, connections, connections).await?;
        sleep(SETTLE).await;
        let before = server.process.resident_bytes()?;
        let many = Watchers::open(&server, 0, count, connections).await?;
        sleep(SETTLE).await;
        let after = server.process.resident_bytes()?;
        drop((first, many));
        Ok(after.saturating_sub(before) as f64 / count as f64 / 1024.0)
    });
    let figures = figures.await?;
    let kib = |kib: &f64| *kib;
    Ok(vec![Line {
        what: "memory of an idle watcher".to_owned(),
        unit: "KiB",
        peers: vec![
            (ETCD, figures.median(Peer::Etcd, kib)),
            (BARE, figures.median(Peer::Bare, kib)),
        ],
        homeroom: figures.homeroom(Peer::Homeroom, kib)?,
        bars: vec![Bar::AtMost(4.0)],
        notes: vec![format!(
            "its share of {} more connections is in it",
            bench.plan.connections
        )],
    }])
}

pub(super) async fn instances(bench: Bench<'_>) -> Result<Vec<Line>> {
    let count = bench.plan.services * INSTANCES;
    let figures = bench.in_turns(&[Peer::Etcd, Peer::Homeroom, Peer::Ephemeral], async |peer| {
        let server = Server::start(peer, bench.programs).await?;
        // What the first calls touch is not the instances'.
        let (mut first, mut rest) = (
            server.registrations(0..1, 1),
            server.registrations(0..bench.plan.services, INSTANCES),
        );
        first.requests.next();
        rest.requests.next();
        calls::each(server.address, first).await?;
        sleep(SETTLE).await;
        let before = server.process.resident_bytes()?;
        calls::each(server.address, rest).await?;
        sleep(SETTLE).await;
        let after = server.process.resident_bytes()?;
        Ok(after.saturating_sub(before) as f64 / f64::from(1 << 20))
    });
    let figures = figures.await?;
    let mib = |mib: &f64| *mib;
    Ok(vec![Line {
        what: format!("memory of {count} instances"),
        unit: "MiB",
        peers: vec![(ETCD, figures.median(Peer::Etcd, mib)), (BARE, None)],
        homeroom: figures.homeroom(Peer::Homeroom, mib)?,
        bars: vec![Bar::AtMost(8.0)],
        notes: vec![format!(
            "with --ephemeral: {:.1} MiB",
            figures.homeroom(Peer::Ephemeral, mib)?
        )],
    }])
}

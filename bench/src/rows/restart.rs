//! A registry that is killed and started again: what it has kept, and how soon it says so.

use anyhow::{Result, ensure};
use homeroom::proto::registry::v1::{ListServicesRequest, registry_client::RegistryClient};

use super::Bench;
use crate::{
    calls,
    peer::{Peer, Server},
    proto::etcd::{RangeRequest, kv_client::KvClient},
    table::{BARE, Bar, ETCD, Line},
    workload::INSTANCES,
};

/// How long it took, and what was kept.
struct Restart {
    seconds: f64,
    kept: f64,
}

pub(super) async fn answers(bench: Bench<'_>) -> Result<Vec<Line>> {
    let registered = bench.plan.services * INSTANCES;
    let figures = bench.in_turns(&[Peer::Etcd, Peer::Homeroom], async |peer| {
        let mut server = Server::start(peer, bench.programs).await?;
        calls::each(server.address, server.registrations(0..bench.plan.services, INSTANCES)).await?;
        let before = count(&server).await?;
        ensure!(
            before == registered as u64,
            "only {before} of {registered} were registered"
        );
        let started = server.restart()?;
        server.ready().await?;
        Ok(Restart {
            seconds: started.elapsed().as_secs_f64(),
            kept: count(&server).await? as f64,
        })
    });
    let figures = figures.await?;
    let (kept, seconds) = (|restart: &Restart| restart.kept, |restart: &Restart| restart.seconds);
    // Of all restarts, the one that kept the least.
    let least = figures.of(Peer::Homeroom).map(kept).fold(f64::INFINITY, f64::min);
    let mut in_time = vec![Bar::AtMost(0.3)];
    if least < registered as f64 {
        in_time.push(Bar::Missing("with all instances"));
    }
    Ok(vec![
        Line {
            what: format!("restart with {registered} instances: kept"),
            unit: "instances",
            peers: vec![(ETCD, figures.median(Peer::Etcd, kept)), (BARE, None)],
            homeroom: least,
            bars: vec![Bar::AtLeast(registered as f64)],
            notes: Vec::new(),
        },
        Line {
            what: format!("restart with {registered} instances: until lookups answer"),
            unit: "s",
            peers: vec![(ETCD, figures.median(Peer::Etcd, seconds)), (BARE, None)],
            homeroom: figures.homeroom(Peer::Homeroom, seconds)?,
            bars: in_time,
            notes: Vec::new(),
        },
    ])
}

/// How many instances are registered, and listed to everybody.
async fn count(server: &Server) -> Result<u64> {
    if server.peer == Peer::Etcd {
        let request = RangeRequest {
            key: vec![0],
            range_end: vec![0],
            count_only: true,
        };
        let counted = KvClient::new(server.channel()).range(request).await?;
        return Ok(u64::try_from(counted.into_inner().count)?);
    }
    let request = ListServicesRequest {
        page_size: 1000,
        ..Default::default()
    };
    let listed = RegistryClient::new(server.channel()).list_services(request).await?;
    let services = listed.into_inner().services;
    Ok(services
        .iter()
        .map(|service| u64::from(service.serving_instances))
        .sum())
}

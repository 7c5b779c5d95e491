//! Single calls: 64 in flight on 8 connections.

use anyhow::{Context, Result, ensure};
use homeroom::proto::registry::v1::{
    GetStatusRequest, ListInstancesRequest, StoreState, registry_client::RegistryClient,
};
use prost::Message;

use super::{Bench, Figures};
use crate::{
    calls::{self, Rate},
    peer::{Peer, Server},
    table::{BARE, Bar, ETCD, Line},
    workload::{INSTANCES, service},
};

/// 25 us beside etcd's 295 on the machine where the bar was set.
const CPU_OF_ETCD: f64 = 0.085;

pub(super) async fn registrations(bench: Bench<'_>) -> Result<Vec<Line>> {
    let peers = [Peer::Etcd, Peer::Bare, Peer::Homeroom];
    let figures = bench.in_turns(&peers, async |peer| registration_rate(bench, peer).await);
    let figures = figures.await?;
    let what = "registrations, synced to disk";
    let mut rate = line(&figures, Peer::Homeroom, what, Bar::Times(ETCD, 6.0))?;
    if !syncs(bench).await? {
        rate.bars.push(Bar::Missing("synced, as its status says"));
    }
    let cpu = |rate: &Rate| rate.cpu_micros;
    let cpu = Line {
        what: "server CPU of a registration".to_owned(),
        unit: "us",
        peers: vec![
            (ETCD, figures.median(Peer::Etcd, cpu)),
            (BARE, figures.median(Peer::Bare, cpu)),
        ],
        homeroom: figures.homeroom(Peer::Homeroom, cpu)?,
        bars: vec![Bar::Within(ETCD, CPU_OF_ETCD)],
        notes: vec!["the bar was set as 25 us, beside 295 of etcd on another machine".to_owned()],
    };
    Ok(vec![rate, cpu])
}

pub(super) async fn ephemeral(bench: Bench<'_>) -> Result<Vec<Line>> {
    let peers = [Peer::Bare, Peer::Ephemeral];
    let figures = bench.in_turns(&peers, async |peer| registration_rate(bench, peer).await);
    Ok(vec![line(
        &figures.await?,
        Peer::Ephemeral,
        "registrations, --ephemeral",
        Bar::Times(BARE, 0.6),
    )?])
}

/// Whether the registry says that it keeps what it answers.
async fn syncs(bench: Bench<'_>) -> Result<bool> {
    let server = Server::start(Peer::Homeroom, bench.programs).await?;
    let status = RegistryClient::new(server.channel())
        .get_status(GetStatusRequest {})
        .await?;
    let store = status.into_inner().store;
    Ok(store.is_some_and(|store| store.state() == StoreState::Synced))
}

async fn registration_rate(bench: Bench<'_>, peer: Peer) -> Result<Rate> {
    let server = Server::start(peer, bench.programs).await?;
    let method = if peer == Peer::Bare {
        server.lookups(0..1)
    } else {
        server.registrations(0..bench.plan.services, INSTANCES)
    };
    calls::rate(
        server.address,
        method,
        &server.process,
        bench.plan.warm_up,
        bench.plan.window,
    )
    .await
}

pub(super) async fn lookups(bench: Bench<'_>) -> Result<Vec<Line>> {
    let peers = [Peer::Etcd, Peer::Bare, Peer::Homeroom];
    let figures = bench.in_turns(&peers, async |peer| {
        let server = Server::start(peer, bench.programs).await?;
        if peer != Peer::Bare {
            calls::each(server.address, server.registrations(0..bench.plan.services, INSTANCES)).await?;
        }
        let bytes = if peer == Peer::Homeroom {
            listed(&server).await?
        } else {
            0
        };
        let method = server.lookups(0..bench.plan.services);
        let plan = bench.plan;
        let rate = calls::rate(server.address, method, &server.process, plan.warm_up, plan.window).await?;
        Ok((rate, bytes))
    });
    let figures = figures.await?;
    let bytes = figures.of(Peer::Homeroom).map(|(_, bytes)| *bytes).max();
    let rates = figures.0.into_iter();
    let rates = rates.map(|(peer, figures)| (peer, figures.into_iter().map(|(rate, _)| rate).collect()));
    let rates = Figures(rates.collect());
    let what = "lookups of 100 instances";
    let mut line = line(&rates, Peer::Homeroom, what, Bar::Times(BARE, 0.6))?;
    let bytes = bytes.context("nothing was listed")?;
    line.notes.push(format!("an answer has {bytes} bytes"));
    Ok(vec![line])
}

/// How long the answer to a lookup is, which has to be whole.
async fn listed(server: &Server) -> Result<usize> {
    let request = ListInstancesRequest {
        service: service(0),
        ..Default::default()
    };
    let listed = RegistryClient::new(server.channel()).list_instances(request).await?;
    let listed = listed.into_inner();
    ensure!(
        listed.instances.len() == INSTANCES && listed.next_page_token.is_empty(),
        "a lookup has {} of {INSTANCES} instances",
        listed.instances.len()
    );
    Ok(listed.encoded_len())
}

fn line(figures: &Figures<Rate>, peer: Peer, what: &str, bar: Bar) -> Result<Line> {
    let rate = |rate: &Rate| rate.per_second;
    Ok(Line {
        what: what.to_owned(),
        unit: "/s",
        peers: vec![
            (ETCD, figures.median(Peer::Etcd, rate)),
            (BARE, figures.median(Peer::Bare, rate)),
        ],
        homeroom: figures.homeroom(peer, rate)?,
        bars: vec![bar],
        notes: Vec::new(),
    })
}

//! Instances that are probed while nothing happens.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use homeroom::proto::registry::v1::{Instance, ListServicesRequest, RegisterRequest, registry_client::RegistryClient};
use prost::Message;
use tokio::time::sleep;

use super::Bench;
use crate::{
    calls,
    peer::{Method, Peer, Server},
    process::{PATIENCE, Process},
    table::{BARE, Bar, ETCD, Line},
    workload::{INSTANCES, Requests, service},
};

pub(super) async fn idle(bench: Bench<'_>) -> Result<Vec<Line>> {
    let count = bench.plan.probed;
    let server = Server::start(Peer::Homeroom, bench.programs).await?;
    let dir = tempfile::tempdir_in(&bench.programs.dir)?;
    let said = dir.path().join("said");
    // Every address of 127.0.0.0/8 leads to it: a connection an instance, though it is one process.
    let args = ["serve", "probed", "--listen", "0.0.0.0:0"];
    let mut probed = Process::start(&[&bench.programs.bench], &args, &said)?;
    let port = probed.listening(&said).await?.port();
    let before = server.process.resident_bytes()?;
    calls::each(server.address, registrations(count, port)).await?;
    let registered = Instant::now();
    let mut serving = 0;
    while serving < count as u64 {
        ensure!(registered.elapsed() < PATIENCE, "only {serving} of {count} are serving");
        sleep(Duration::from_millis(20)).await;
        serving = count_serving(&server).await?;
    }
    let verified = registered.elapsed();
    // The registry waits 5 s for a Log before it tells stderr of the registrations, and each instance 20 s before it pings.
    sleep(bench.plan.idle.mul_f64(1.25)).await;
    let (started, cpu) = (Instant::now(), server.process.cpu()?);
    sleep(bench.plan.idle).await;
    let percent = (server.process.cpu()? - cpu).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    let bytes = server.process.resident_bytes()?.saturating_sub(before);
    let still = count_serving(&server).await?;
    ensure!(still == count as u64, "only {still} of {count} are still serving");
    let line = |what: &str, unit, homeroom, max| Line {
        what: format!("{count} instances probed: {what}"),
        unit,
        peers: vec![(ETCD, None), (BARE, None)],
        homeroom,
        bars: vec![Bar::AtMost(max)],
        notes: Vec::new(),
    };
    let mut cpu = line("idle CPU", "%", percent, 1.0);
    cpu.notes.push(format!(
        "all of them were found serving within {:.2} s",
        verified.as_secs_f64()
    ));
    Ok(vec![
        cpu,
        line(
            "memory of each, with its connection",
            "KiB",
            bytes as f64 / count as f64 / 1024.0,
            40.0,
        ),
    ])
}

fn registrations(count: usize, port: u16) -> Method {
    let request = |number: usize| {
        // 127.1.0.0 and on: not the address that everything else here uses.
        let offset = u32::try_from(number).expect("there are few");
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + offset);
        let instance = Instance {
            service: service(number / INSTANCES),
            id: format!("instance-{number:04}"),
            address: SocketAddr::from((address, port)).to_string(),
            ..Default::default()
        };
        let request = RegisterRequest {
            instance: Some(instance),
            ..Default::default()
        };
        request.encode_to_vec()
    };
    Method {
        path: "/homeroom.registry.v1.Registry/Register",
        requests: Requests::new((0..count).map(request)),
    }
}

async fn count_serving(server: &Server) -> Result<u64> {
    let request = ListServicesRequest {
        page_size: 1000,
        ..Default::default()
    };
    let listed = RegistryClient::new(server.channel()).list_services(request).await;
    let services = listed
        .context("the registry does not list its services")?
        .into_inner()
        .services;
    Ok(services
        .iter()
        .map(|service| u64::from(service.serving_instances))
        .sum())
}

//! The servers that are compared: how each is started, and how it is asked the same things.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use homeroom::{
    Mesh,
    balance::Channel,
    proto::registry::v1::{Instance, ListInstancesRequest, RegisterRequest, WatchServicesRequest},
};
use prost::Message;
use tempfile::TempDir;

use crate::{
    calls,
    process::{PATIENCE, Process, free_port},
    proto::{
        bare::EmptyRequest,
        etcd::{
            LeaseGrantRequest, PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, lease_client::LeaseClient,
        },
    },
    workload::{Requests, service},
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// etcd, one member, as it comes.
    Etcd,
    /// tonic; each watcher's messages are encoded for itself.
    BareEach,
    /// tonic; all watchers share the bytes.
    Bare,
    /// The registry as it comes: synced to disk.
    Homeroom,
    /// The registry that keeps nothing.
    Ephemeral,
}

/// The programs that are started.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The registry, with its first arguments.
    pub registry: Vec<OsString>,
    /// This program, for the bare server and for instances.
    pub bench: PathBuf,
    /// etcd; `None` leaves it out.
    pub etcd: Option<PathBuf>,
    /// Where servers keep their data while they run.
    pub dir: PathBuf,
}

/// A method and its messages.
pub(crate) struct Method {
    pub(crate) path: &'static str,
    pub(crate) requests: Requests,
}

/// A server that runs; it and its data are gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) peer: Peer,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// The lease that etcd's keys are bound to.
    lease: i64,
    programs: Programs,
    dir: TempDir,
}

/// Longer than any measurement: what is written with a lease does not end with it here.
const LEASE_SECONDS: i64 = 3600;

impl Server {
    /// Starts a server with no data.
    pub(crate) async fn start(peer: Peer, programs: &Programs) -> Result<Self> {
        let dir = tempfile::tempdir_in(&programs.dir)?;
        // A restarted registry takes the port that it had.
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let process = launch(peer, programs, dir.path(), address)?;
        let mut server = Self {
            peer,
            process,
            address,
            lease: 0,
            programs: programs.clone(),
            dir,
        };
        server.ready().await?;
        Ok(server)
    }

    /// Kills the server and starts it again with the data it has; tells when, and it need not answer yet.
    pub(crate) fn restart(&mut self) -> Result<Instant> {
        self.process.kill()?;
        let started = Instant::now();
        self.process = launch(self.peer, &self.programs, self.dir.path(), self.address)?;
        Ok(started)
    }

    /// Waits until lookups are answered.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            let lookup = self.lookups(0..1);
            match calls::once(self.address, lookup.path, lookup.requests).await {
                Ok(()) => break,
                Err(error) => ensure!(started.elapsed() < PATIENCE, "{:?} does not answer: {error}", self.peer),
            }
            self.process.ensure_running(&self.said())?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.peer == Peer::Etcd && self.lease == 0 {
            let request = LeaseGrantRequest { ttl: LEASE_SECONDS };
            let granted = LeaseClient::new(self.channel()).lease_grant(request).await?;
            self.lease = granted.into_inner().id;
        }
        Ok(())
    }

    /// What it has said on stderr.
    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap_or_default()
    }

    /// A channel for generated clients.
    pub(crate) fn channel(&self) -> Channel {
        Mesh::new(self.address.into()).registry()
    }

    /// What registers the instances of some services, each time with other content.
    pub(crate) fn registrations(&self, services: Range<usize>, instances: usize) -> Method {
        let register = |instance| {
            let request = RegisterRequest {
                instance: Some(instance),
                ..Default::default()
            };
            request.encode_to_vec()
        };
        let lease = self.lease;
        let put = |instance: Instance| {
            let request = PutRequest {
                key: format!("{}/{}", instance.service, instance.id).into(),
                value: instance.encode_to_vec(),
                lease,
            };
            request.encode_to_vec()
        };
        let (path, requests) = match self.peer {
            Peer::Etcd => ("/etcdserverpb.KV/Put", Requests::of_instances(services, instances, put)),
            Peer::Bare | Peer::BareEach => (
                "/bench.bare.v1.Bare/Publish",
                Requests::of_instances(services, instances, register),
            ),
            Peer::Homeroom | Peer::Ephemeral => (
                "/homeroom.registry.v1.Registry/Register",
                Requests::of_instances(services, instances, register),
            ),
        };
        Method { path, requests }
    }

    /// What looks up services, one after the other; of the bare server, an empty call.
    pub(crate) fn lookups(&self, services: Range<usize>) -> Method {
        let range = |of| {
            let (key, range_end) = etcd_range(of);
            let request = RangeRequest {
                key,
                range_end,
                count_only: false,
            };
            request.encode_to_vec()
        };
        let list = |of| {
            let request = ListInstancesRequest {
                service: service(of),
                ..Default::default()
            };
            request.encode_to_vec()
        };
        let (path, requests) = match self.peer {
            Peer::Etcd => ("/etcdserverpb.KV/Range", Requests::new(services.map(range))),
            Peer::Bare | Peer::BareEach => (
                "/bench.bare.v1.Bare/Empty",
                Requests::new([EmptyRequest {}.encode_to_vec()]),
            ),
            Peer::Homeroom | Peer::Ephemeral => (
                "/homeroom.registry.v1.Registry/ListInstances",
                Requests::new(services.map(list)),
            ),
        };
        Method { path, requests }
    }

    /// What watches a service.
    pub(crate) fn watch(&self, of: usize) -> Method {
        let (key, range_end) = etcd_range(of);
        let etcd = WatchRequest {
            create_request: Some(WatchCreateRequest { key, range_end }),
        };
        let homeroom = WatchServicesRequest {
            services: vec![service(of)],
            ..Default::default()
        };
        let (path, message) = match self.peer {
            Peer::Etcd => ("/etcdserverpb.Watch/Watch", etcd.encode_to_vec()),
            Peer::BareEach => ("/bench.bare.v1.Bare/Watch", Vec::new()),
            Peer::Bare => ("/bench.bare.v1.Shared/Watch", Vec::new()),
            Peer::Homeroom | Peer::Ephemeral => {
                ("/homeroom.registry.v1.Registry/WatchServices", homeroom.encode_to_vec())
            }
        };
        Method {
            path,
            requests: Requests::new([message]),
        }
    }
}

/// The keys of a service: all that begin with its name and a slash, which `0` follows.
fn etcd_range(of: usize) -> (Vec<u8>, Vec<u8>) {
    (format!("{}/", service(of)).into(), format!("{}0", service(of)).into())
}

fn launch(peer: Peer, programs: &Programs, dir: &Path, address: SocketAddr) -> Result<Process> {
    let said = dir.join("said");
    let data = dir.join("data");
    let text = |text: &str| OsString::from(text);
    let listen = [text("--listen"), address.to_string().into()];
    match peer {
        Peer::Etcd => {
            let etcd = programs.etcd.iter().collect::<Vec<_>>();
            Process::start(&etcd, &etcd_args(&data, address)?, &said)
        }
        Peer::Bare | Peer::BareEach => {
            let bare = [programs.bench.clone().into(), text("serve"), text("bare")];
            Process::start(&bare, &listen, &said)
        }
        Peer::Homeroom => {
            let data = [text("--data-dir"), data.into()];
            Process::start(&programs.registry, &[&listen[..], &data].concat(), &said)
        }
        Peer::Ephemeral => Process::start(
            &programs.registry,
            &[&listen[..], &[text("--ephemeral")]].concat(),
            &said,
        ),
    }
}

/// One member, synced to disk as it is by default; the quota is raised so that a long run does not end in an alarm.
fn etcd_args(data: &Path, address: SocketAddr) -> Result<Vec<String>> {
    let (client, peer) = (
        format!("http://{address}"),
        format!("http://127.0.0.1:{}", free_port()?),
    );
    let args = [
        ("data-dir", data.display().to_string()),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("default={peer}")),
        ("log-level", "error".to_owned()),
        ("quota-backend-bytes", (8_u64 << 30).to_string()),
    ];
    Ok(args.iter().map(|(name, value)| format!("--{name}={value}")).collect())
}

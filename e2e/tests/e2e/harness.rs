//! Real processes of real services, on free ports, gone with the test.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use homeroom::{
    Mesh,
    balance::Channel,
    model::Address,
    proto::registry::v1::{
        AcknowledgeRevisionRequest, GetStatusRequest, Instance, WatchServicesRequest, WatchServicesResponse,
        registry_client::RegistryClient,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};
use tonic::{Code, Streaming};

/// Nothing here takes longer on a busy machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running service; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Reads what it says on stderr, so that it never waits for a reader.
    said: JoinHandle<Vec<String>>,
    pub(crate) address: Address,
}

/// A command of the test binary that ends with the test.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e2e"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A port where nobody listens, held so that nobody else will.
pub(crate) fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = socket.local_addr().expect("a bound address");
    (socket, address)
}

/// A port that never answers: its backlog is full, so the kernel drops what comes. Held by the connections in it.
pub(crate) async fn silent_port() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let (socket, address) = closed_port();
    let listener = socket.listen(1).expect("it is bound");
    let mut waiting = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(connected.expect("the backlog has room"));
    }
    (listener, waiting, address)
}

impl Process {
    /// Starts a service and waits until it listens.
    pub(crate) async fn start(args: &[&str]) -> Self {
        let mut child = command(args).spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut stderr = BufReader::new(stderr).lines();
        let address = timeout(PATIENCE, async {
            while let Some(line) = stderr.next_line().await.expect("stderr is text") {
                if let Some((_, address)) = line.split_once("listening on ") {
                    return address.parse().expect("an address");
                }
            }
            panic!("{args:?} ended before it listened");
        });
        let address = address.await.expect("it listens in time");
        let said = tokio::spawn(async move {
            let mut said = Vec::new();
            while let Some(line) = stderr.next_line().await.expect("stderr is text") {
                said.push(line);
            }
            said
        });
        Self { child, said, address }
    }

    /// A registry that keeps nothing.
    pub(crate) async fn registry() -> Self {
        Self::registry_on("127.0.0.1:0").await
    }

    /// A registry that keeps nothing, on this address.
    pub(crate) async fn registry_on(listen: &str) -> Self {
        Self::start(&["registry", "--ephemeral", "--listen", listen]).await
    }

    /// A registry that keeps its data in this folder, on this address. It has opened its store, which may take longer
    /// than a client waits for the greeting of a server.
    pub(crate) async fn registry_in(data: &Path, listen: &str) -> Self {
        let data = data.to_str().expect("a temporary path is text");
        let registry = Self::start(&["registry", "--data-dir", data, "--listen", listen]).await;
        let answered = async {
            while let Err(status) = registry.client().get_status(GetStatusRequest {}).await {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
            }
        };
        timeout(PATIENCE, answered).await.expect("it answers in time");
        registry
    }

    pub(crate) async fn bare(name: &str, registry: &Self) -> Self {
        Self::start(&[
            "bare",
            name,
            "--listen",
            "127.0.0.1:0",
            "--registry",
            registry.address.as_str(),
        ])
        .await
    }

    pub(crate) async fn log(data: &Path, registry: &Self) -> Self {
        Self::storing("log", data, registry).await
    }

    pub(crate) async fn grades(data: &Path, registry: &Self) -> Self {
        Self::storing("grades", data, registry).await
    }

    async fn storing(name: &str, data: &Path, registry: &Self) -> Self {
        let data = data.to_str().expect("a temporary path is text");
        let registry = registry.address.as_str();
        Self::start(&[
            name,
            "--listen",
            "127.0.0.1:0",
            "--registry",
            registry,
            "--data-dir",
            data,
        ])
        .await
    }

    pub(crate) fn mesh(&self) -> Mesh {
        Mesh::new(self.address.clone())
    }

    pub(crate) fn client(&self) -> RegistryClient<Channel> {
        RegistryClient::new(self.mesh().registry())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it has not been waited for");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process id is positive");
        kill_process(pid, signal).expect("it is ours");
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it is ours");
    }

    /// Waits for its end: the exit code, and what it said on stderr since it listened.
    pub(crate) async fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let end = async {
            let said = self.said.await.expect("reading does not panic");
            (self.child.wait().await.expect("it is ours").code(), said)
        };
        timeout(PATIENCE, end).await.expect("it ends in time")
    }
}

/// A watch that a test reads step by step.
pub(crate) struct Watch {
    stream: Streaming<WatchServicesResponse>,
    position: AcknowledgeRevisionRequest,
}

impl Watch {
    /// A watch of instances that are serving.
    pub(crate) async fn open(registry: &Process, services: &[&str]) -> Self {
        Self::open_with(registry, services, false).await
    }

    /// A watch of instances whatever their health.
    pub(crate) async fn open_all_health(registry: &Process, services: &[&str]) -> Self {
        Self::open_with(registry, services, true).await
    }

    async fn open_with(registry: &Process, services: &[&str], include_all_health: bool) -> Self {
        let request = WatchServicesRequest {
            services: services.iter().map(ToString::to_string).collect(),
            include_all_health,
            ..Default::default()
        };
        let stream = registry
            .client()
            .watch_services(request)
            .await
            .expect("the watch opens")
            .into_inner();
        Self {
            stream,
            position: AcknowledgeRevisionRequest::default(),
        }
    }

    /// Acknowledges what was read.
    pub(crate) async fn acknowledge(&self, registry: &Process) {
        let acknowledged = registry.client().acknowledge_revision(self.position.clone()).await;
        acknowledged.expect("the watch is open");
    }

    /// The next message, heartbeats too.
    pub(crate) async fn next(&mut self) -> WatchServicesResponse {
        let message = timeout(PATIENCE, self.stream.message())
            .await
            .expect("a message in time");
        let message = message.expect("no error").expect("the stream goes on");
        // Only the first message names the watch.
        if !message.watch_id.is_empty() {
            self.position.watch_id.clone_from(&message.watch_id);
        }
        self.position.revision = message.revision;
        message
    }

    /// Reads until an instance of this service comes. Heartbeats do not prolong the patience.
    pub(crate) async fn comes(&mut self, service: &str) -> Instance {
        let comes = async {
            loop {
                let mut updated = self.next().await.updated.into_iter();
                if let Some(instance) = updated.find(|instance| instance.service == service) {
                    return instance;
                }
            }
        };
        timeout(PATIENCE, comes).await.expect("it comes in time")
    }

    /// Reads until an instance of this service goes. Heartbeats do not prolong the patience.
    pub(crate) async fn goes(&mut self, service: &str) {
        let goes = async { while !self.next().await.removed.iter().any(|key| key.service == service) {} };
        timeout(PATIENCE, goes).await.expect("it goes in time");
    }
}

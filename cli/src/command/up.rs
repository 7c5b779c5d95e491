//! `up`: the registry, Log and Grades in one process, each on its port.

use std::{net::SocketAddr, time::Duration};

use homeroom::{
    Config, Mesh,
    config::{GRACE_DEFAULT, StoringConfig},
    server,
    shutdown::{self, Shutdown},
    telemetry::{self, Origin},
};
use logsvc::LogConfig;
use registry::RegistryConfig;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{args::Up, failure::Failure, output::Output};

/// How long the last entries may take to reach Log.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Runs the three until a signal, or until one of them fails.
///
/// # Errors
/// When one of them cannot start.
pub async fn run(up: &Up, output: &Output) -> Result<(), Failure> {
    let fault = |error: &dyn std::fmt::Display| Failure::Server(error.to_string());
    let settings = up
        .telemetry
        .parse()
        .map_err(|errors| Failure::Usage(errors.to_string()))?;
    let signals = shutdown::on_signals().map_err(|error| fault(&error))?;
    let ports = [up.registry_port, up.log_port, up.grades_port];
    let bound = ports.map(|port| server::bind(SocketAddr::new(up.host, port)));
    let [registry, log, grades] = all(bound).map_err(Failure::Server)?;
    let addresses = [&registry, &log, &grades].map(TcpListener::local_addr);
    let [registry_at, log_at, grades_at] = all(addresses).map_err(Failure::Server)?;
    let mut telemetry = telemetry::init(&settings).map_err(Failure::Server)?;
    let mesh = Mesh::new(reachable(registry_at).into());
    let origin = Origin {
        service: "homeroom".to_owned(),
        instance: registry_at.to_string(),
    };
    telemetry.ship(mesh.channel("log").map_err(|error| fault(&error))?, origin);

    let config = |listen| Config {
        listen,
        advertise: None,
        registry: reachable(registry_at).into(),
        zone: String::new(),
        grace: GRACE_DEFAULT,
        telemetry: telemetry::Settings::default(),
    };
    let storing = |listen, name| StoringConfig {
        service: config(listen),
        data_dir: up.data_dir.join(name),
    };
    let registry_config = RegistryConfig {
        storing: storing(registry_at, "registry"),
        settings: registry::Settings {
            ephemeral: up.ephemeral,
            ..registry::Settings::default()
        },
    };
    let mut registry = Running::start("registry", |stop| registry::run(registry_config, registry, stop));
    let log_config = LogConfig {
        storing: storing(log_at, "log"),
        settings: logsvc::Settings::default(),
    };
    let mut log = Running::start("log", |stop| logsvc::run(log_config, log, stop));
    let mut grades = Running::start("grades", |stop| grades::run(storing(grades_at, "grades"), grades, stop));

    let grades_name = "grades".parse().expect("it is a service name");
    let discovery = mesh.watch(vec![grades_name]);
    let welcome = async {
        discovery.wait_for(|view| view.instances().next().is_some()).await;
        // Whoever closed our output still wants the services.
        let _ = output.write(&welcome(up, registry_at, log_at, grades_at));
        std::future::pending().await
    };
    let ended = tokio::select! {
        () = signals.cancelled() => Ok(()),
        failed = registry.failed() => failed,
        failed = log.failed() => failed,
        failed = grades.failed() => failed,
        never = welcome => never,
    };
    // Each stops before what it needs.
    let stopped = [grades.stop().await];
    telemetry.flush(FLUSH_PATIENCE).await;
    let stopped = stopped.into_iter().chain([log.stop().await, registry.stop().await]);
    ended.and(stopped.collect()).map_err(Failure::Server)
}

/// All values, or all errors together.
fn all<T, E: std::fmt::Display, const N: usize>(results: [Result<T, E>; N]) -> Result<[T; N], String> {
    let errors: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(ToString::to_string)
        .collect();
    if !errors.is_empty() {
        return Err(errors.join("; "));
    }
    Ok(results.map(|result| result.unwrap_or_else(|_| unreachable!("there are no errors"))))
}

/// Where this process reaches a port of its own.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        listening.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    listening
}

/// A service of this process.
struct Running {
    name: &'static str,
    stop: Shutdown,
    task: Option<JoinHandle<Result<(), String>>>,
}

impl Running {
    fn start<F, E>(name: &'static str, run: impl FnOnce(Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let stop = Shutdown::new();
        let running = run(stop.clone());
        let task = tokio::spawn(async move { running.await.map_err(|error| error.to_string()) });
        Self {
            name,
            stop,
            task: Some(task),
        }
    }

    /// Ends when the service ends by itself, which it only does for a reason. Cancel safe.
    async fn failed(&mut self) -> Result<(), String> {
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let result = task.await;
        self.task = None;
        self.named(result)
    }

    async fn stop(mut self) -> Result<(), String> {
        self.stop.cancel();
        match self.task.take() {
            Some(task) => {
                let result = task.await;
                self.named(result)
            }
            None => Ok(()),
        }
    }

    fn named(&self, result: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), String> {
        let result = result.unwrap_or_else(|error| Err(error.to_string()));
        result.map_err(|error| format!("{}: {error}", self.name))
    }
}

fn welcome(up: &Up, registry: SocketAddr, log: SocketAddr, grades: SocketAddr) -> String {
    let (registry, log, grades) = (reachable(registry), reachable(log), reachable(grades));
    let data = up.data_dir.display();
    let kept = if up.ephemeral {
        "keeps nothing".to_owned()
    } else {
        format!("keeps {data}/registry")
    };
    let elsewhere = match registry.to_string().as_str() {
        homeroom::config::REGISTRY_DEFAULT => String::new(),
        registry => format!(" --registry {registry}"),
    };
    format!(
        "Homeroom is up.

  registry  {registry}  {kept}
  log       {log}  keeps {data}/log
  grades    {grades}  keeps {data}/grades

Try this in another terminal:

  cargo run --bin homeroom --{elsewhere} services
  cargo run --bin homeroom --{elsewhere} grade 1 \"Quiz 3\" 97
  grpcurl -plaintext -d '{{\"id\": 1}}' {grades} homeroom.grades.v1.Grades/GetStudent
  grpcurl -plaintext {registry} homeroom.registry.v1.Registry/WatchServices

Ctrl-C stops it.
"
    )
}

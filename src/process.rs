//! A whole service process, from its configuration to its exit code: what every `main` of ours calls.

use std::{fmt::Display, io::Write, process::ExitCode, time::Duration};

use tokio::net::TcpListener;

use crate::{
    config::{Config, ConfigErrors},
    mesh::Mesh,
    server,
    shutdown::{self, Shutdown},
    telemetry::{self, Origin},
    text::printable,
};

/// The exit code for flags that make no sense.
const EXIT_USAGE: u8 = 2;
/// How long the last entries may take to reach Log.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// Runs one service until a signal: reports all configuration errors, sets up telemetry and signals, binds, and calls
/// `run`. Anything that goes wrong is one line on stderr and a non-zero exit code.
pub fn run<C, E, F>(
    name: &str,
    config: Result<C, ConfigErrors>,
    run: impl FnOnce(C, TcpListener, Shutdown) -> F,
) -> ExitCode
where
    C: AsRef<Config>,
    E: Display,
    F: Future<Output = Result<(), E>>,
{
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            complain(&format!("{name}: {errors}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match block_on(run_to_end(name, config, run)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) | Err(error) => {
            complain(&format!("{name}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a future on a runtime of its own, with as many descriptors as the system lets this process have. What is left of
/// the runtime then is not waited for: a write to a stderr that nobody reads would hold up the exit for ever.
///
/// # Errors
/// When there can be no runtime.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, String> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// Each connection takes a descriptor, and the usual soft limit of 1,024 is soon reached. Where it cannot be raised,
/// connections wait.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn run_to_end<C, E, F>(
    name: &str,
    config: C,
    run: impl FnOnce(C, TcpListener, Shutdown) -> F,
) -> Result<(), String>
where
    C: AsRef<Config>,
    E: Display,
    F: Future<Output = Result<(), E>>,
{
    let shared = config.as_ref();
    let shutdown = shutdown::on_signals().map_err(|error| error.to_string())?;
    let listener = server::bind(shared.listen).map_err(|error| error.to_string())?;
    let listening = listener.local_addr().map_err(|error| error.to_string())?;
    let mut telemetry = telemetry::init(&shared.telemetry)?;
    // The registry finds Log through itself.
    let registry = if name == "registry" {
        listening.into()
    } else {
        shared.registry.clone()
    };
    let log = Mesh::new(registry)
        .in_zone(&shared.zone)
        .channel("log")
        .map_err(|error| error.to_string())?;
    let origin = Origin {
        service: name.to_owned(),
        instance: listening.to_string(),
    };
    telemetry.ship(log, origin);
    complain(&format!("{name}: listening on {listening}"));
    let result = run(config, listener, shutdown).await;
    telemetry.flush(FLUSH_PATIENCE).await;
    result.map_err(|error| error.to_string())
}

/// Says one line on stderr, escaped. Nobody is left to hear that stderr is closed.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

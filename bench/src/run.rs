//! The flags, and what they start.

use std::{
    env,
    ffi::OsString,
    io::Write,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use homeroom::process;

use crate::{
    Plan, Programs, log,
    machine::Machine,
    rows::{self, Row},
    serve::{self, Role},
    table::{Line, Table},
};

/// Measures Homeroom's servers against their peers.
#[derive(Debug, clap::Parser)]
#[command(name = "bench")]
pub enum Args {
    /// The registry against etcd and a bare tonic server, in one table
    Registry(RegistryArgs),
    /// Log against rsyslog, a collector that keeps nothing, and the disk, in one table
    Log(LogArgs),
    /// A process that a run starts
    #[command(subcommand, hide = true)]
    Serve(Role),
}

/// How the registry is measured.
#[derive(Debug, clap::Args)]
pub struct RegistryArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Measures this row only; may be given several times
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// The registry to measure [default: this workspace's, built by cargo]
    #[arg(long, env = "REGISTRY_BIN", value_name = "FILE")]
    registry_bin: Option<PathBuf>,
    /// The etcd to measure [default: none, its column stays empty]
    #[arg(long, env = "ETCD_BIN", value_name = "FILE")]
    etcd_bin: Option<PathBuf>,
}

/// How Log is measured.
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Measures this row only; may be given several times
    #[arg(long, value_name = "ROW")]
    only: Vec<log::Row>,
    /// Writes messages of 180 bytes, rather than 180 bytes with attributes and ids
    #[arg(long)]
    long: bool,
    /// The Log to measure [default: this workspace's, built by cargo]
    #[arg(long, env = "LOGSVC_BIN", value_name = "FILE")]
    logsvc_bin: Option<PathBuf>,
    /// The rsyslog to measure [default: the one on PATH; when there is none, its columns stay empty]
    #[arg(long, env = "RSYSLOGD", value_name = "FILE")]
    rsyslogd: Option<PathBuf>,
}

/// How anything is measured.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Measures everything once and briefly: some two minutes
    #[arg(long)]
    quick: bool,
    /// Tries everything in small: says whether it works, and nothing of speed
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
    /// Writes the figures to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where servers keep their data while they run: a disk that is measured with them [default: the build's folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Does what the flags say.
pub fn run(args: Args) -> ExitCode {
    let measured = match args {
        Args::Registry(args) => process::block_on(registry(args)),
        Args::Log(args) => process::block_on(log(args)),
        Args::Serve(role) => return serve::run(role),
    };
    match measured.map_err(anyhow::Error::msg).and_then(|measured| measured) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::complain(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn registry(args: RegistryArgs) -> Result<()> {
    let run = args.run;
    let plan = run.plan(Plan::full, Plan::quick, Plan::smoke);
    let programs = Programs {
        registry: run.program(args.registry_bin, "registry", "registry")?,
        dir: run.dir()?,
        etcd: args.etcd_bin,
        bench: env::current_exe()?,
    };
    run.measure(&args.only, async |row| rows::measure(row, &plan, &programs).await)
        .await
}

async fn log(args: LogArgs) -> Result<()> {
    let run = args.run;
    let mut plan = run.plan(log::Plan::full, log::Plan::quick, log::Plan::smoke);
    if args.long {
        plan.length = log::Length::Long;
    }
    let programs = log::Programs {
        log: run.program(args.logsvc_bin, "logsvc", "log")?,
        dir: run.dir()?,
        rsyslogd: args.rsyslogd.or_else(|| on_path("rsyslogd")),
        bench: env::current_exe()?,
    };
    run.measure(&args.only, async |row| log::measure(row, &plan, &programs).await)
        .await
}

impl RunArgs {
    fn plan<P>(&self, full: fn() -> P, quick: fn() -> P, smoke: fn() -> P) -> P {
        match (self.quick, self.smoke) {
            (true, _) => quick(),
            (_, true) => smoke(),
            _ => full(),
        }
    }

    fn dir(&self) -> Result<PathBuf> {
        self.dir.clone().map_or_else(build_dir, Ok)
    }

    /// Measures these rows, or all, and tells the table.
    async fn measure<R: ValueEnum + Copy>(
        &self,
        only: &[R],
        measure: impl AsyncFn(R) -> Result<Vec<Line>>,
    ) -> Result<()> {
        let rows = if only.is_empty() { R::value_variants() } else { only };
        let machine = Machine::look(&self.dir()?)?;
        process::complain(&machine.to_string());
        let (started, mut table) = (Instant::now(), Table::default());
        for row in rows {
            let lines = measure(*row).await?;
            for line in &lines {
                process::complain(&format!("{:4.0} s  {line}", started.elapsed().as_secs_f64()));
            }
            table.0.extend(lines);
        }
        if let Some(file) = &self.json {
            std::fs::write(file, table.json()?).with_context(|| format!("cannot write {}", file.display()))?;
        }
        // Nobody may be left to read it.
        let _ = write!(std::io::stdout(), "{machine}\n\n{table}");
        Ok(())
    }

    /// The service to start. One that was named is taken as it is; otherwise cargo builds the one of this package, so
    /// that no old one is measured. In small it is this program in a role.
    fn program(&self, named: Option<PathBuf>, package: &str, role: &str) -> Result<Vec<OsString>> {
        if let Some(named) = named {
            return Ok(vec![named.into()]);
        }
        if self.smoke {
            return Ok(vec![env::current_exe()?.into(), "serve".into(), role.into()]);
        }
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--package", package, "--bin", package]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        ensure!(
            built.context("cannot run cargo")?.success(),
            "{package} cannot be built"
        );
        let program = build_dir()?.join(package);
        ensure!(program.exists(), "cargo built no {}", program.display());
        Ok(vec![program.into()])
    }
}

/// The folder that cargo builds programs into.
fn build_dir() -> Result<PathBuf> {
    let bench = env::current_exe()?;
    Ok(bench.parent().context("a program is in a folder")?.to_owned())
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let found = env::split_paths(&path).map(|folder| folder.join(program));
    found.into_iter().find(|file| file.is_file())
}

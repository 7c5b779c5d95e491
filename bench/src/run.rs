//! The flags, and what they start.

use std::{
    env,
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use homeroom::process;

use crate::{
    Plan, Programs,
    machine::Machine,
    rows::{self, Row},
    serve::{self, Role},
    table::Table,
};

/// Measures Homeroom's servers against their peers.
#[derive(Debug, clap::Parser)]
#[command(name = "bench")]
pub enum Args {
    /// The registry against etcd and a bare tonic server, in one table
    Registry(RegistryArgs),
    /// A process that a run starts
    #[command(subcommand, hide = true)]
    Serve(Role),
}

/// How the registry is measured.
#[derive(Debug, clap::Args)]
pub struct RegistryArgs {
    /// Measures everything once and briefly: about a minute
    #[arg(long)]
    quick: bool,
    /// Tries everything in small: says whether it works, and nothing of speed
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
    /// Measures this row only; may be given several times
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// Writes the figures to this file as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where servers keep their data while they run: a disk that is measured with them [default: the build's folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The registry to measure [default: this workspace's, built by cargo]
    #[arg(long, env = "REGISTRY_BIN", value_name = "FILE")]
    registry_bin: Option<PathBuf>,
    /// The etcd to measure [default: none, its column stays empty]
    #[arg(long, env = "ETCD_BIN", value_name = "FILE")]
    etcd_bin: Option<PathBuf>,
}

/// Does what the flags say.
pub fn run(args: Args) -> ExitCode {
    let args = match args {
        Args::Registry(args) => args,
        Args::Serve(role) => return serve::run(role),
    };
    let measured = process::block_on(measure(args)).map_err(anyhow::Error::msg);
    match measured.and_then(|measured| measured) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::complain(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: RegistryArgs) -> Result<()> {
    let plan = match (args.quick, args.smoke) {
        (true, _) => Plan::quick(),
        (_, true) => Plan::smoke(),
        _ => Plan::full(),
    };
    let bench = env::current_exe()?;
    let folder = bench.parent().context("a program is in a folder")?;
    let programs = Programs {
        registry: registry(args.registry_bin, &bench, folder, args.smoke)?,
        dir: args.dir.unwrap_or_else(|| folder.to_owned()),
        etcd: args.etcd_bin,
        bench: bench.clone(),
    };
    let rows = if args.only.is_empty() {
        Row::value_variants()
    } else {
        &args.only
    };
    let machine = Machine::look(&programs.dir)?;
    process::complain(&machine.to_string());
    let (started, mut table) = (Instant::now(), Table::default());
    for row in rows {
        let lines = rows::measure(*row, &plan, &programs).await?;
        for line in &lines {
            process::complain(&format!("{:4.0} s  {line}", started.elapsed().as_secs_f64()));
        }
        table.0.extend(lines);
    }
    if let Some(file) = args.json {
        std::fs::write(&file, table.json()?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    // Nobody may be left to read it.
    let _ = write!(std::io::stdout(), "{machine}\n\n{table}");
    Ok(())
}

/// The registry to start. One that was named is taken as it is; otherwise cargo builds it, so that no old one is
/// measured.
fn registry(named: Option<PathBuf>, bench: &Path, folder: &Path, smoke: bool) -> Result<Vec<OsString>> {
    if let Some(named) = named {
        return Ok(vec![named.into()]);
    }
    if smoke {
        return Ok(vec![bench.into(), "serve".into(), "registry".into()]);
    }
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--package", "registry", "--bin", "registry"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    ensure!(
        built.context("cannot run cargo")?.success(),
        "the registry cannot be built"
    );
    let registry = folder.join("registry");
    ensure!(registry.exists(), "cargo built no {}", registry.display());
    Ok(vec![registry.into()])
}

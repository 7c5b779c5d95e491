//! The servers that take entries by gRPC: each a process, gone with its data when it is dropped.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use homeroom::proto::log::v1::{Order, QueryRequest, log_client::LogClient};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::load;
use crate::process::{PATIENCE, Process};

/// How often a state is looked at.
const POLL: Duration = Duration::from_millis(1);
const TEXT: &str = ".jsonl";
const SEALED: &str = ".jsonl.zst";
const INDEX: &str = ".idx";

/// The programs that are started.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Log, with its first arguments.
    pub log: Vec<OsString>,
    /// This program, for the collector that keeps nothing.
    pub bench: PathBuf,
    /// rsyslog; `None` leaves it out.
    pub rsyslogd: Option<PathBuf>,
    /// Where servers keep their data while they run.
    pub dir: PathBuf,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    program: Vec<OsString>,
    args: Vec<OsString>,
    /// Ends with the server.
    _registry: Option<Process>,
    dir: TempDir,
}

impl Server {
    /// Log as it comes, with no data, and a registry of its own: it does not run for long without.
    pub(crate) async fn log(programs: &Programs) -> Result<Self> {
        let dir = tempfile::tempdir_in(&programs.dir)?;
        let (data, said) = (dir.path().join("data"), dir.path().join("registry-said"));
        let program = [programs.bench.as_os_str(), "serve".as_ref(), "registry".as_ref()];
        let mut registry = Process::start(&program, &["--ephemeral", "--listen", "127.0.0.1:0"], &said)?;
        let address = registry.listening(&said).await?.to_string();
        let args = ["--data-dir".into(), data.into(), "--registry".into(), address.into()];
        Self::start(programs.log.clone(), args.into(), dir, Some(registry)).await
    }

    /// The collector that keeps nothing.
    pub(crate) async fn discard(programs: &Programs) -> Result<Self> {
        let program = vec![programs.bench.clone().into(), "serve".into(), "discard".into()];
        Self::start(program, Vec::new(), tempfile::tempdir_in(&programs.dir)?, None).await
    }

    async fn start(
        program: Vec<OsString>,
        mut args: Vec<OsString>,
        dir: TempDir,
        registry: Option<Process>,
    ) -> Result<Self> {
        args.extend(["--listen".into(), "127.0.0.1:0".into()]);
        let said = dir.path().join("said");
        let mut process = Process::start(&program, &args, &said)?;
        let address = process.listening(&said).await?;
        Ok(Self {
            process,
            address,
            program,
            args,
            _registry: registry,
            dir,
        })
    }

    /// Kills the server and starts it again with the data it has; tells when it was started.
    pub(crate) async fn restart(&mut self) -> Result<Instant> {
        self.process.kill()?;
        let said = self.dir.path().join("said");
        let started = Instant::now();
        self.process = Process::start(&self.program, &self.args, &said)?;
        self.address = self.process.listening(&said).await?;
        Ok(started)
    }

    pub(crate) async fn client(&self) -> Result<LogClient<Channel>> {
        Ok(LogClient::new(load::connect(self.address).await?))
    }

    /// The number of the last entry, as soon as queries are answered.
    pub(crate) async fn last_sequence(&mut self) -> Result<u64> {
        let started = Instant::now();
        let request = QueryRequest {
            order: Order::NewestFirst.into(),
            page_size: 1,
            ..Default::default()
        };
        let mut client = self.client().await?;
        loop {
            match client.query(request.clone()).await {
                Ok(answer) => {
                    let last = answer.into_inner().entries.pop();
                    return Ok(last.context("Log has no entry")?.sequence);
                }
                Err(error) => ensure!(started.elapsed() < PATIENCE, "Log does not answer: {error}"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn files(&self) -> Result<Vec<(PathBuf, String)>> {
        let directory = match fs::read_dir(self.dir.path().join("data")) {
            // Log has not opened it yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            directory => directory?,
        };
        let files = directory.map(|file| {
            let path = file?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((path, name))
        });
        files.collect()
    }

    /// How long the segment is that is written to, in bytes.
    pub(crate) fn active_bytes(&self) -> Result<u64> {
        let text = self.files()?.into_iter().filter(|(_, name)| name.ends_with(TEXT));
        // There is none before the first entry.
        let active = text.max_by(|a, b| a.1.cmp(&b.1));
        active.map_or(Ok(0), |(path, _)| Ok(path.metadata()?.len()))
    }

    /// Waits until nothing but the last segment is not sealed, and tells what the others take: their bytes, and how many
    /// entries they have. `None` when there are none.
    pub(crate) async fn sealed(&mut self) -> Result<Option<(u64, u64)>> {
        let started = Instant::now();
        let first_of_last = loop {
            let files = self.files()?;
            let mut text = files.iter().filter(|(_, name)| name.ends_with(TEXT));
            match (text.next(), text.next()) {
                (Some((_, last)), None) => break first_number(last)?,
                // All are sealed.
                (None, _) => break self.last_sequence().await? + 1,
                _ => {}
            }
            ensure!(started.elapsed() < PATIENCE, "segments are not sealed");
            tokio::time::sleep(POLL).await;
        };
        let files = self.files()?;
        let sealed = files.iter().filter(|(_, name)| name.ends_with(SEALED));
        let Some(first) = sealed.map(|(_, name)| name).min() else {
            return Ok(None);
        };
        let parts = files
            .iter()
            .filter(|(_, name)| [SEALED, INDEX].iter().any(|end| name.ends_with(end)));
        let bytes = parts.map(|(path, _)| Ok(path.metadata()?.len())).sum::<Result<u64>>()?;
        Ok(Some((bytes, first_of_last - first_number(first)?)))
    }

    /// Takes everything that is on disk out of the kernel's cache.
    pub(crate) fn forget(&self) -> Result<()> {
        for (path, _) in self.files()? {
            let file = open(&path)?;
            // What is not on disk yet would stay.
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

fn first_number(name: &str) -> Result<u64> {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("{name} has no number"))
}

//! Servers as processes of their own, and what they cost: read from `/proc`, as the kernel counts it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// How long a server may take to start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a start is looked at.
const POLL: Duration = Duration::from_millis(1);
const LISTENING: &str = "listening on ";

/// A process; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program that writes what it says to a file.
    pub(crate) fn start(program: &[impl AsRef<OsStr>], args: &[impl AsRef<OsStr>], said: &Path) -> Result<Self> {
        let [program, first @ ..] = program else {
            bail!("there is no program to start");
        };
        let child = Command::new(program)
            .args(first)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(said)?)
            .spawn();
        Ok(Self(child.with_context(|| {
            format!("cannot start {}", program.as_ref().display())
        })?))
    }

    /// Waits until it says where it listens.
    pub(crate) async fn listening(&mut self, said: &Path) -> Result<SocketAddr> {
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(said)?;
            let address = text.split_once(LISTENING).and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((address, _)) = address {
                return Ok(address.parse()?);
            }
            self.ensure_running(&text)?;
            ensure!(started.elapsed() < PATIENCE, "it does not listen: {text}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fails when it has ended.
    pub(crate) fn ensure_running(&mut self, said: &str) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!("it ended with {status}: {said}"),
            None => Ok(()),
        }
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Sends the signal that cannot be caught, and does not wait.
    pub(crate) fn strike(&mut self) -> Result<()> {
        Ok(self.0.kill()?)
    }

    /// How much processor time it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name of the program, in parentheses, may have spaces.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has another form")?;
        let fields: Vec<_> = fields.split_ascii_whitespace().collect();
        let [user, system] = [11, 12].map(|field| fields.get(field).and_then(|ticks| ticks.parse::<u64>().ok()));
        let ticks = user.zip(system).map(|(user, system)| user + system);
        let ticks = ticks.context("/proc/PID/stat has another form")?;
        Ok(Duration::from_secs_f64(
            ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        ))
    }

    /// How many bytes of memory it has resident.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        // Exact, where /proc/PID/statm may be behind by megabytes.
        let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?;
        let resident = smaps.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.context("/proc/PID/smaps_rollup has another form")? * 1024)
    }

    /// How many bytes of memory it had resident at most.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.context("/proc/PID/status has another form")? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.kill();
    }
}

/// Says where a server of the bench listens, as every service of Homeroom does.
pub(crate) fn say_listening(address: SocketAddr) {
    // Nobody is left to hear that stderr is closed.
    let _ = writeln!(std::io::stderr(), "{LISTENING}{address}");
}

/// A port that nobody listens on, for a server that cannot choose one itself.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

//! What a run was measured on.

use std::{
    fmt, fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How long the disk is measured.
const WINDOW: Duration = Duration::from_millis(500);

/// A machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    cores: usize,
    processor: String,
    kernel: String,
    memory_gib: f64,
    /// How often in a second a small write can be synced, one after the other.
    syncs_per_second: f64,
}

impl Machine {
    /// Looks at this machine and the disk of a folder.
    ///
    /// # Errors
    /// When the folder cannot be written to, or this is no Linux.
    pub fn look(dir: &Path) -> Result<Self> {
        let field = |file: &str, name: &str| -> Result<String> {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let value = line.split_once(':').map_or("", |(_, value)| value);
            Ok(value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal")?;
        let memory_kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field("/proc/cpuinfo", "model name")?,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            memory_gib: memory_kib / f64::from(1 << 20),
            syncs_per_second: syncs_per_second(dir).with_context(|| format!("cannot write to {}", dir.display()))?,
        })
    }
}

fn syncs_per_second(dir: &Path) -> Result<f64> {
    let mut file = tempfile::tempfile_in(dir)?;
    let started = Instant::now();
    let mut syncs = 0;
    while started.elapsed() < WINDOW {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[0; 512])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / started.elapsed().as_secs_f64())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores of {}, {:.0} GiB, Linux {}, {:.0} synced writes/s one after the other",
            self.cores, self.processor, self.memory_gib, self.kernel, self.syncs_per_second
        )
    }
}

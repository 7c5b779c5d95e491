//! rsyslog, which takes lines by TCP and appends them to a file.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::sleep};

use super::{entries::Entries, plan::Plan, requests};
use crate::process::{PATIENCE, Process, free_port};

const CONNECTIONS: usize = 4;
/// How many lines a connection has, over and over.
const LINES: usize = 16_000;
const POLL: Duration = Duration::from_millis(1);

/// Whether a line is on disk, rather than in the kernel's cache, when the next ones are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    No,
    Each,
}

/// How many lines a second it writes.
pub(crate) async fn rate(rsyslogd: &Path, dir: &Path, sync: Sync, plan: &Plan) -> Result<f64> {
    let dir = tempfile::tempdir_in(dir)?;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let (settings, log) = (dir.path().join("rsyslog.conf"), dir.path().join("log"));
    fs::write(&settings, configuration(address.port(), &log, sync))?;
    let said = dir.path().join("said");
    let pid = dir.path().join("pid");
    let args = [
        "-n".into(),
        "-f".into(),
        settings.into_os_string(),
        "-i".into(),
        pid.into(),
    ];
    let mut process = Process::start(&[rsyslogd], &args, &said)?;
    let mut senders = JoinSet::new();
    let mut size = 0.0;
    for seed in 0..CONNECTIONS {
        let mut entries = Entries::new(seed as u64, plan.length);
        let entries: Vec<_> = (0..LINES).map(|_| entries.next()).collect();
        let lines = requests::syslog(&entries);
        size += lines.len() as f64 / (LINES * CONNECTIONS) as f64;
        senders.spawn(send(connect(address, &mut process, &said).await?, lines));
    }
    let mut run_for = async |time| -> Result<_> {
        tokio::select! {
            ended = senders.join_next() => { ended.transpose()?.transpose()?; bail!("rsyslog hung up") }
            () = sleep(time) => {}
        }
        Ok((Instant::now(), fs::metadata(&log).map_or(0, |log| log.len())))
    };
    let (started, before) = run_for(plan.warm_up).await?;
    // A short window on a busy machine may end before anything is written.
    let (ended, after) = loop {
        let (ended, after) = run_for(plan.window).await?;
        if after > before {
            break (ended, after);
        }
        ensure!(started.elapsed() < PATIENCE, "rsyslog wrote nothing");
    };
    Ok((after - before) as f64 / size / (ended - started).as_secs_f64())
}

/// Its usual queue, somewhat larger, and lines written as they came, so that it does no more than it must.
fn configuration(port: u16, log: &Path, sync: Sync) -> String {
    let (enable, sync) = match sync {
        Sync::No => ("off", "off"),
        Sync::Each => ("on", "on"),
    };
    format!(
        r#"module(load="imtcp")
$ActionFileEnableSync {enable}
main_queue(queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="1024")
template(name="raw" type="string" string="%rawmsg%\n")
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="omfile" file="{log}" template="raw" sync="{sync}" ioBufferSize="256k")
"#,
        log = log.display(),
    )
}

async fn connect(address: SocketAddr, process: &mut Process, said: &Path) -> Result<TcpStream> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => ensure!(started.elapsed() < PATIENCE, "rsyslog does not listen: {error}"),
        }
        process.ensure_running(&fs::read_to_string(said).context("rsyslog said nothing")?)?;
        sleep(POLL).await;
    }
}

async fn send(mut socket: TcpStream, lines: Bytes) -> Result<()> {
    loop {
        socket.write_all(&lines).await?;
    }
}

//! Load of single calls: each connection keeps so many in flight, for as long as it is told to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    peer::Method,
    process::Process,
    wire::{Connection, Frame},
    workload::Requests,
};

/// How many connections there are.
pub(crate) const CONNECTIONS: usize = 8;
/// How many calls are in flight on each.
const IN_FLIGHT: usize = 8;
/// No single call takes so long on a server that works.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// The server's processor time a call.
    pub(crate) cpu_micros: f64,
}

/// Calls as fast as the server answers, and counts the calls of a window of time.
pub(crate) async fn rate(
    address: SocketAddr,
    method: Method,
    process: &Process,
    warm_up: Duration,
    window: Duration,
) -> Result<Rate> {
    let answered = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = spawn(address, method, &answered, &stop, None);
    let sample = || -> Result<_> { Ok((Instant::now(), answered.load(Ordering::Relaxed), process.cpu()?)) };
    tokio::select! {
        ended = callers.join_next() => { ended.transpose()?.transpose()?; bail!("the load ended early") }
        () = sleep(warm_up) => {}
    }
    let (started, before, cpu_before) = sample()?;
    tokio::select! {
        ended = callers.join_next() => { ended.transpose()?.transpose()?; bail!("the load ended early") }
        () = sleep(window) => {}
    }
    let (ended, after, cpu_after) = sample()?;
    stop.store(true, Ordering::Relaxed);
    join(callers).await?;
    let calls = (after - before) as f64;
    ensure!(calls > 0.0, "the server answered nothing");
    Ok(Rate {
        per_second: calls / (ended - started).as_secs_f64(),
        cpu_micros: (cpu_after - cpu_before).as_secs_f64() * 1e6 / calls,
    })
}

/// Makes each call once.
pub(crate) async fn each(address: SocketAddr, method: Method) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let calls = method.requests.len() as u64;
    join(spawn(address, method, &answered, &stop, Some(1))).await?;
    ensure!(answered.load(Ordering::Relaxed) == calls, "not every call was answered");
    Ok(())
}

/// Makes one call.
pub(crate) async fn once(address: SocketAddr, path: &str, requests: Requests) -> Result<()> {
    let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let caller = Caller {
        left: Some(1),
        requests,
        answered: &answered,
        stop: &stop,
    };
    timeout(CALL_PATIENCE, caller.run(address, path)).await?
}

fn spawn(
    address: SocketAddr,
    method: Method,
    answered: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
    rounds: Option<usize>,
) -> JoinSet<Result<()>> {
    let mut callers = JoinSet::new();
    // Few requests without an end are shared by all connections.
    let shares = if rounds.is_none() && method.requests.len() < CONNECTIONS {
        vec![method.requests; CONNECTIONS]
    } else {
        method.requests.split(CONNECTIONS)
    };
    for requests in shares {
        let (answered, stop) = (answered.clone(), stop.clone());
        callers.spawn(async move {
            let caller = Caller {
                left: rounds.map(|rounds| rounds * requests.len()),
                requests,
                answered: &answered,
                stop: &stop,
            };
            caller.run(address, method.path).await
        });
    }
    callers
}

async fn join(mut callers: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

struct Caller<'c> {
    requests: Requests,
    /// How many calls to make; `None` for as many as there is time for.
    left: Option<usize>,
    answered: &'c AtomicU64,
    stop: &'c AtomicBool,
}

impl Caller<'_> {
    async fn run(mut self, address: SocketAddr, path: &str) -> Result<()> {
        let mut connection = Connection::open(address, path).await?;
        let mut running: Vec<(u32, bool)> = Vec::with_capacity(IN_FLIGHT);
        loop {
            while running.len() < IN_FLIGHT && self.takes_one() {
                running.push((connection.call(self.requests.next(), true), false));
            }
            if running.is_empty() {
                return Ok(());
            }
            let (mut ended, mut failed) = (0, false);
            let read = connection.read(|frame| match frame {
                Frame::Data { stream, bytes } => {
                    if let Some(call) = running.iter_mut().find(|call| call.0 == stream) {
                        call.1 |= !bytes.is_empty();
                    }
                }
                Frame::End { stream } => {
                    if let Some(at) = running.iter().position(|call| call.0 == stream) {
                        // An error is told without a message.
                        failed |= !running.swap_remove(at).1;
                        ended += 1;
                    }
                }
            });
            timeout(CALL_PATIENCE, read).await??;
            ensure!(!failed, "the server refused a call of {path}");
            self.answered.fetch_add(ended, Ordering::Relaxed);
        }
    }

    fn takes_one(&mut self) -> bool {
        match &mut self.left {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => !self.stop.load(Ordering::Relaxed),
        }
    }
}

//! One entry after the other, each on disk when it is acknowledged, beside a file that is synced as often.

use std::{net::SocketAddr, time::Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::{runtime::Builder, task::spawn_blocking};

use super::Bench;
use crate::{
    log::{
        disk::Pages,
        load::{self, Client},
        requests::Form,
        server::Server,
    },
    rows::percentile,
    table::{Bar, Line},
};

const DISK: &str = "fdatasync";
/// How many are timed before it is the other's turn: the disk's speed changes within seconds.
const TURN: usize = 100;

pub(super) async fn write(bench: Bench<'_>) -> Result<Vec<Line>> {
    let server = Server::log(bench.programs).await?;
    let messages = Form::Write.batches(bench.plan.writes, 1, bench.plan.length);
    let (address, pages) = (server.address, Pages::new(&bench.programs.dir)?);
    // On a thread that does nothing else: what a client's threads take to wake each other is not Log's.
    let timed = spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(time(address, &messages, pages))
    });
    let Times { mut disk, mut ours } = timed.await??;
    let mut line = |percent: usize, times| Line {
        what: format!("Write of one entry, SYNCED, p{percent}"),
        unit: "us",
        peers: vec![(DISK, Some(percentile(&mut disk, percent)))],
        homeroom: percentile(&mut ours, percent),
        bars: vec![Bar::Within(DISK, times)],
        notes: Vec::new(),
    };
    Ok(vec![line(50, 2.0), line(99, 3.0)])
}

/// In microseconds.
struct Times {
    disk: Vec<u32>,
    ours: Vec<u32>,
}

/// Times each message beside a page on the same disk.
async fn time(address: SocketAddr, messages: &[Bytes], mut pages: Pages) -> Result<Times> {
    let mut client = Client::new(load::connect(address).await?, Form::Write.path());
    let (mut disk, mut ours) = (Vec::new(), Vec::new());
    for turn in messages.chunks(TURN) {
        disk.extend(pages.append(turn.len())?);
        for message in turn {
            let started = Instant::now();
            client.call(message.clone()).await?;
            ours.push(u32::try_from(started.elapsed().as_micros())?);
        }
    }
    Ok(Times { disk, ours })
}

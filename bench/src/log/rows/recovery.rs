//! A Log that is killed while a segment is nearly full: how soon it answers again, and whether all is there.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use homeroom::proto::log::v1::WriteRequest;

use super::{Bench, median};
use crate::{
    log::{entries::Entries, server::Server},
    table::{Bar, Line, number},
};

const BATCH: usize = 1_000;

pub(super) async fn answers(bench: Bench<'_>) -> Result<Vec<Line>> {
    let mut server = Server::log(bench.programs).await?;
    let mut client = server.client().await?;
    let (mut entries, mut acknowledged) = (Entries::new(1, bench.plan.length), 0);
    while server.active_bytes()? < bench.plan.segment_bytes {
        let request = WriteRequest {
            entries: (0..BATCH).map(|_| entries.next()).collect(),
            ..Default::default()
        };
        acknowledged = client.write(request).await?.into_inner().last_sequence;
    }
    let size = server.active_bytes()?;
    let mut seconds = Vec::new();
    for _ in 0..bench.plan.repetitions {
        let started: Instant = server.restart().await?;
        let last = server.last_sequence().await?;
        seconds.push(started.elapsed().as_secs_f64());
        ensure!(
            last >= acknowledged,
            "{acknowledged} entries were acknowledged, and {last} are there"
        );
    }
    Ok(vec![Line {
        what: "kill -9 until a query is answered".to_owned(),
        unit: "s",
        peers: Vec::new(),
        homeroom: median(seconds).context("nothing was measured")?,
        bars: vec![Bar::AtMost(0.3)],
        notes: vec![format!(
            "with {} MB in the segment that was written to",
            number(size as f64 / 1e6)
        )],
    }])
}

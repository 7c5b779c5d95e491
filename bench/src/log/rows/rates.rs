//! How many entries a second are on disk when they are acknowledged.

use anyhow::{Context, Result};

use super::{Bench, median};
use crate::{
    log::{
        disk,
        load::{IN_FLIGHT, Load, Rate},
        requests::Form,
        rsyslog::{self, Sync},
        server::Server,
    },
    table::{Bar, Line, number},
};

const RSYSLOG: &str = "rsyslog";
const RSYSLOG_SYNCED: &str = "rsyslog synced";
const DISCARD: &str = "discard";
/// How many entries a batch has where nothing else is said.
const BATCH: usize = 1_000;

pub(super) async fn store(bench: Bench<'_>) -> Result<Vec<Line>> {
    let mut line = against_rsyslog(bench, Form::Write, 1.5).await?;
    let throughput = disk::megabytes_per_second(&bench.programs.dir)?;
    line.notes.push(format!(
        "the disk takes {} MB/s, written and synced once",
        number(throughput)
    ));
    Ok(vec![line])
}

pub(super) async fn ingest(bench: Bench<'_>) -> Result<Vec<Line>> {
    Ok(vec![against_rsyslog(bench, Form::Ingest, 1.0).await?])
}

async fn against_rsyslog(bench: Bench<'_>, form: Form, times: f64) -> Result<Line> {
    let load = Load::new(form, BATCH, bench.plan);
    let (mut unsynced, mut synced, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.plan.repetitions {
        if let Some(rsyslogd) = &bench.programs.rsyslogd {
            let rate = async |sync| rsyslog::rate(rsyslogd, &bench.programs.dir, sync, bench.plan).await;
            unsynced.push(rate(Sync::No).await?);
            synced.push(rate(Sync::Each).await?);
        }
        ours.push(rate(bench, &load, &Server::log(bench.programs).await?).await?);
    }
    let method = if form == Form::Write { "Write" } else { "Ingest" };
    let what = format!("{method}, SYNCED, batches of {BATCH}, {IN_FLIGHT} in flight");
    let peers = vec![(RSYSLOG, median(unsynced)), (RSYSLOG_SYNCED, median(synced))];
    line(what, peers, &ours, Bar::Times(RSYSLOG, times))
}

pub(super) async fn export(bench: Bench<'_>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (size, times) in [(100, 0.8), (BATCH, 0.7)] {
        let load = Load::new(Form::Export, size, bench.plan);
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..bench.plan.repetitions {
            let discard = Server::discard(bench.programs).await?;
            bare.push(rate(bench, &load, &discard).await?.per_second);
            drop(discard);
            ours.push(rate(bench, &load, &Server::log(bench.programs).await?).await?);
        }
        let what = format!("OTLP Export, SYNCED, batches of {size}, {IN_FLIGHT} in flight");
        let peers = vec![(DISCARD, median(bare))];
        lines.push(line(what, peers, &ours, Bar::Times(DISCARD, times))?);
    }
    Ok(lines)
}

async fn rate(bench: Bench<'_>, load: &Load, server: &Server) -> Result<Rate> {
    load.rate(server.address, &server.process, bench.plan).await
}

fn line(what: String, peers: Vec<(&'static str, Option<f64>)>, ours: &[Rate], bar: Bar) -> Result<Line> {
    let figure = |figure: fn(&Rate) -> f64| median(ours.iter().map(figure).collect()).context("nothing was measured");
    let cpu = figure(|rate| rate.cpu_micros)?;
    Ok(Line {
        what,
        unit: "entries/s",
        peers,
        homeroom: figure(|rate| rate.per_second)?,
        bars: vec![bar],
        notes: vec![format!(
            "an entry takes {} us of the server's processor time",
            number(cpu)
        )],
    })
}

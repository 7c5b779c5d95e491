//! Five million entries: what they take on disk and in memory, and how soon some of them are found.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join;
use homeroom::proto::log::v1::{Filter, GetTraceRequest, Order, QueryRequest, log_client::LogClient};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::{Bench, median};
use crate::{
    log::{
        entries::{Entries, RARE_SERVICE, SERVICES, TRACE_ENTRIES},
        load::{self, Client, IN_FLIGHT},
        plan::Plan,
        requests::Form,
        server::Server,
    },
    table::{Bar, Line, number},
};

/// How many entries are written at once.
const BATCH: usize = 1_000;
/// How many of one service are looked for.
const LAST: usize = 100;
/// How often the same is asked again, when it is warm.
const AGAIN: usize = 20;
/// A text that no entry has, and how often it is looked for: the indexes tell, and the kernel counts in hundredths of a
/// second.
const NOWHERE: (&str, u32) = ("a text that nobody has written", 100);
/// Another one, so short that no index tells.
const NOWHERE_SHORT: (&str, u32) = ("~~", 1);

pub(super) async fn found(bench: Bench<'_>) -> Result<Vec<Line>> {
    let mut server = Server::log(bench.programs).await?;
    let filled = Filled::new(bench.plan);
    let started = Instant::now();
    try_join(filled.fill(&server), filled.ask(&server)).await?;
    let seconds = started.elapsed().as_secs_f64();
    let sealed = server.sealed().await?;
    let traces = filled.traces();
    let warm = warm(&server, &traces).await?;
    let skipping = scan(&server, bench.plan.entries, NOWHERE).await?;
    let reading = scan(&server, bench.plan.entries, NOWHERE_SHORT).await?;
    let peak = server.process.peak_bytes()? as f64 / 1e6;
    let cold = cold(&mut server, &traces).await?;
    let millis = |what: &str, value: f64, max: f64, note: Option<String>| Line {
        what: what.to_owned(),
        unit: "ms",
        peers: Vec::new(),
        homeroom: value,
        bars: vec![Bar::AtMost(max)],
        notes: note.into_iter().collect(),
    };
    let line = |what: &str, unit, homeroom, bar, note| Line {
        what: what.to_owned(),
        unit,
        peers: Vec::new(),
        homeroom,
        bars: vec![bar],
        notes: vec![note],
    };
    let entries = number(bench.plan.entries as f64);
    let of = |name: &str, state: &str| format!("{name} of {entries} entries, {state}");
    let rare = |millis: f64| {
        Some(format!(
            "of a service that wrote one entry in 10000: {} ms",
            number(millis)
        ))
    };
    let mut lines = vec![
        millis(
            &of("a whole trace", "cold"),
            cold.trace,
            15.0,
            Some(FORGOTTEN.to_owned()),
        ),
        millis(&of("a whole trace", "warm"), warm.trace, 1.0, None),
        millis(
            &of("the last 100 of a service", "cold"),
            cold.last,
            50.0,
            rare(cold.rare),
        ),
        millis(
            &of("the last 100 of a service", "warm"),
            warm.last,
            1.0,
            rare(warm.rare),
        ),
        line(
            "text scan",
            "entries/s and core",
            skipping.per_core_second,
            Bar::AtLeast(5e6),
            skipping.note,
        ),
        line(
            "text scan that has to read everything",
            "entries/s and core",
            reading.per_core_second,
            Bar::AtLeast(5e6),
            reading.note,
        ),
        line(
            &format!("memory while {entries} entries are written and looked for, at most"),
            "MB",
            peak,
            Bar::AtMost(100.0),
            format!("written, and looked for at the same time, within {} s", number(seconds)),
        ),
    ];
    if let Some((bytes, entries)) = sealed {
        let note = format!("of {} sealed entries, with their index", number(entries as f64));
        let each = bytes as f64 / entries as f64;
        lines.insert(
            0,
            line("a sealed entry on disk", "bytes", each, Bar::AtMost(60.0), note),
        );
    }
    Ok(lines)
}

const FORGOTTEN: &str = "cold: Log was started anew and its files taken out of the kernel's cache (posix_fadvise)";

/// How long it takes to find something, in milliseconds: medians.
struct Times {
    trace: f64,
    last: f64,
    rare: f64,
}

/// What writes the entries, and remembers some of their traces.
struct Filled {
    count: usize,
    /// How many entries lie between those whose traces are remembered.
    step: usize,
    state: Arc<Mutex<State>>,
}

struct State {
    entries: Entries,
    made: usize,
    traces: Vec<String>,
    written: bool,
}

impl Filled {
    fn new(plan: &Plan) -> Self {
        let state = State {
            entries: Entries::new(7, plan.length),
            made: 0,
            traces: Vec::new(),
            written: false,
        };
        Self {
            count: plan.entries,
            step: (plan.entries / (plan.looks + 1)).max(1),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The traces to look for: from everywhere, and whole, which the first and the last ones may not be.
    fn traces(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.traces.iter().skip(1).cloned().collect()
    }

    async fn fill(&self, server: &Server) -> Result<()> {
        let mut writers = JoinSet::new();
        let channel = load::connect(server.address).await?;
        for _ in 0..IN_FLIGHT {
            let mut client = Client::new(channel.clone(), Form::Write.path());
            let (state, count, step) = (self.state.clone(), self.count, self.step);
            writers.spawn(async move {
                loop {
                    let batch = state.lock().unwrap_or_else(PoisonError::into_inner).batch(count, step);
                    if batch.is_empty() {
                        return anyhow::Ok(());
                    }
                    client.call(Form::Write.encode(batch)).await?;
                }
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer??;
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).written = true;
        Ok(())
    }

    /// Looks for entries as long as others are written.
    async fn ask(&self, server: &Server) -> Result<()> {
        let mut client = server.client().await?;
        for service in SERVICES.iter().cycle() {
            let trace = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.written {
                    break;
                }
                state.traces.first().cloned()
            };
            last(&mut client, service).await?;
            if let Some(trace_id) = trace {
                // It may not be acknowledged yet.
                let _ = client.get_trace(GetTraceRequest { trace_id }).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl State {
    fn batch(&mut self, count: usize, step: usize) -> Vec<homeroom::proto::log::v1::Entry> {
        let size = BATCH.min(count - self.made);
        let batch: Vec<_> = (0..size).map(|_| self.entries.next()).collect();
        if let Some(entry) = batch.first().filter(|_| self.made / step != (self.made + size) / step) {
            self.traces.push(entry.trace_id.clone());
        }
        self.made += size;
        batch
    }
}

/// The time that a request takes, in milliseconds.
async fn timed<T>(request: impl Future<Output = Result<T>>) -> Result<f64> {
    let started = Instant::now();
    request.await?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

async fn trace(client: &mut LogClient<Channel>, trace_id: &str) -> Result<()> {
    let trace_id = trace_id.to_owned();
    let answer = client.get_trace(GetTraceRequest { trace_id }).await?.into_inner();
    ensure!(
        answer.entries.len() == TRACE_ENTRIES,
        "a trace has {} entries",
        answer.entries.len()
    );
    Ok(())
}

async fn last(client: &mut LogClient<Channel>, service: &str) -> Result<usize> {
    let mut request = QueryRequest {
        filter: Some(Filter {
            services: vec![service.to_owned()],
            ..Default::default()
        }),
        order: Order::NewestFirst.into(),
        page_size: i32::try_from(LAST)?,
        ..Default::default()
    };
    let mut found = 0;
    // A page may have fewer though more follow.
    loop {
        let answer = client.query(request.clone()).await?.into_inner();
        found += answer.entries.len();
        if found >= LAST || answer.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = answer.next_page_token;
    }
}

async fn warm(server: &Server, traces: &[String]) -> Result<Times> {
    let mut client = server.client().await?;
    let (mut of_trace, mut of_last, mut of_rare) = (Vec::new(), Vec::new(), Vec::new());
    for (id, service) in traces.iter().zip(SERVICES.iter().cycle()) {
        trace(&mut client, id).await?;
        last(&mut client, service).await?;
        for _ in 0..AGAIN {
            of_trace.push(timed(trace(&mut client, id)).await?);
            of_last.push(timed(last(&mut client, service)).await?);
        }
        last(&mut client, RARE_SERVICE).await?;
        of_rare.push(timed(last(&mut client, RARE_SERVICE)).await?);
    }
    times(of_trace, of_last, of_rare)
}

async fn cold(server: &mut Server, traces: &[String]) -> Result<Times> {
    let (mut of_trace, mut of_last, mut of_rare) = (Vec::new(), Vec::new(), Vec::new());
    for (id, service) in traces.iter().zip(SERVICES.iter().cycle()) {
        server.restart().await?;
        server.last_sequence().await?;
        let mut client = server.client().await?;
        server.forget()?;
        of_trace.push(timed(trace(&mut client, id)).await?);
        server.forget()?;
        of_last.push(timed(last(&mut client, service)).await?);
        server.forget()?;
        of_rare.push(timed(last(&mut client, RARE_SERVICE)).await?);
    }
    times(of_trace, of_last, of_rare)
}

fn times(trace: Vec<f64>, last: Vec<f64>, rare: Vec<f64>) -> Result<Times> {
    let middle = |values| median(values).context("nothing was looked for");
    Ok(Times {
        trace: middle(trace)?,
        last: middle(last)?,
        rare: middle(rare)?,
    })
}

struct Scanned {
    per_core_second: f64,
    note: String,
}

/// Looks for a text that is nowhere, through everything, so many times.
async fn scan(server: &Server, entries: usize, (text, times): (&str, u32)) -> Result<Scanned> {
    let mut client = server.client().await?;
    let (started, before) = (Instant::now(), server.process.cpu()?);
    let mut pages = 0;
    for _ in 0..times {
        pages = search(&mut client, text).await?;
    }
    let seconds = started.elapsed().as_secs_f64() / f64::from(times);
    let cpu = (server.process.cpu()? - before).as_secs_f64().max(0.01) / f64::from(times);
    Ok(Scanned {
        per_core_second: entries as f64 / cpu,
        note: format!(
            "{} s in all, {} s of them at work, {pages} pages",
            number(seconds),
            number(cpu)
        ),
    })
}

/// Reads pages until there is none any more. Returns how many there were.
async fn search(client: &mut LogClient<Channel>, text: &str) -> Result<u32> {
    let mut request = QueryRequest {
        filter: Some(Filter {
            text: text.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut pages = 1;
    loop {
        let answer = client.query(request.clone()).await?.into_inner();
        ensure!(answer.entries.is_empty(), "a text was found that nobody wrote");
        if answer.next_page_token.is_empty() {
            return Ok(pages);
        }
        request.page_token = answer.next_page_token;
        pages += 1;
    }
}

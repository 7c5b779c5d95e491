//! Load of batches: so many in flight, for as long as it is told to; what is counted are the entries acknowledged.
//!
//! The load is a stock tonic client that sends bytes which are ready, since it shares the machine with the server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream;
use homeroom::proto::log::v1::IngestResponse;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tonic::{
    Request,
    client::Grpc,
    transport::{Channel, Endpoint},
};

use super::{
    codec::{Ready, ReadyCodec},
    plan::Plan,
    requests::Form,
};
use crate::process::Process;

/// How many connections share what is in flight.
const CONNECTIONS: usize = 2;
/// How many batches are in flight.
pub(crate) const IN_FLIGHT: usize = 16;

/// How many windows without any answer are waited for.
const WINDOWS_MAX: usize = 100;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// The server's processor time an entry.
    pub(crate) cpu_micros: f64,
}

/// Batches to send over and over.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) form: Form,
    /// How many entries a batch has.
    pub(crate) size: usize,
    batches: Arc<Vec<Bytes>>,
}

impl Load {
    pub(crate) fn new(form: Form, size: usize, plan: &Plan) -> Self {
        Self {
            form,
            size,
            batches: Arc::new(form.batches(plan.batches, size, plan.length)),
        }
    }

    /// Sends as fast as the server acknowledges, and counts the entries of a window of time.
    pub(crate) async fn rate(&self, address: SocketAddr, process: &Process, plan: &Plan) -> Result<Rate> {
        let counted = Counted::default();
        let mut senders = JoinSet::new();
        for connection in 0..CONNECTIONS {
            let channel = connect(address).await?;
            if self.form == Form::Ingest {
                senders.spawn(self.clone().stream(channel, counted.clone(), connection));
                continue;
            }
            for sender in 0..IN_FLIGHT / CONNECTIONS {
                let first = connection + CONNECTIONS * sender;
                senders.spawn(self.clone().calls(channel.clone(), counted.clone(), first));
            }
        }
        let sample = || -> Result<_> { Ok((Instant::now(), counted.batches.load(Ordering::Relaxed), process.cpu()?)) };
        run_for(&mut senders, plan.warm_up).await?;
        let (started, before, cpu_before) = sample()?;
        // A short window on a busy machine may end before the first answer comes.
        for _ in 0..WINDOWS_MAX {
            run_for(&mut senders, plan.window).await?;
            if counted.batches.load(Ordering::Relaxed) > before {
                break;
            }
        }
        let (ended, after, cpu_after) = sample()?;
        counted.stop.store(true, Ordering::Relaxed);
        while let Some(sender) = senders.join_next().await {
            sender??;
        }
        let entries = (after - before) as f64 * self.size as f64;
        ensure!(entries > 0.0, "nothing was acknowledged");
        Ok(Rate {
            per_second: entries / (ended - started).as_secs_f64(),
            cpu_micros: (cpu_after - cpu_before).as_secs_f64() * 1e6 / entries,
        })
    }

    /// One call after the other.
    async fn calls(self, channel: Channel, counted: Counted, first: usize) -> Result<()> {
        let mut client = Client::new(channel, self.form.path());
        for batch in self.batches.iter().cycle().skip(first) {
            if counted.stop.load(Ordering::Relaxed) {
                break;
            }
            client.call(batch.clone()).await?;
            counted.batches.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// One stream that has its share of the batches under way.
    async fn stream(self, channel: Channel, counted: Counted, first: usize) -> Result<()> {
        const UNDER_WAY: u64 = (IN_FLIGHT / CONNECTIONS) as u64;
        let (acknowledge, acknowledged) = watch::channel(0);
        let requests = stream::unfold((acknowledged, 1), move |(mut acknowledged, number)| {
            let batch = self.batches[(first + usize::try_from(number).unwrap_or(0)) % self.batches.len()].clone();
            async move {
                // It ends when the answers do.
                acknowledged.wait_for(|last| last + UNDER_WAY >= number).await.ok()?;
                Some((Ready::numbered(number, batch), (acknowledged, number + 1)))
            }
        });
        let mut grpc = Grpc::new(channel);
        grpc.ready().await?;
        let path = PathAndQuery::from_static(Form::Ingest.path());
        let answers = grpc.streaming(Request::new(requests), path, ReadyCodec).await;
        let mut answers = answers.context("a stream does not open")?.into_inner();
        let mut last = 0;
        while !counted.stop.load(Ordering::Relaxed) {
            let answer = answers.message().await?.context("the stream ends")?;
            let answer = IngestResponse::decode(answer)?;
            counted.batches.fetch_add(answer.batch - last, Ordering::Relaxed);
            last = answer.batch;
            acknowledge.send_replace(last);
        }
        Ok(())
    }
}

/// What all senders of a load share.
#[derive(Debug, Clone, Default)]
struct Counted {
    batches: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

async fn run_for(senders: &mut JoinSet<Result<()>>, time: Duration) -> Result<()> {
    tokio::select! {
        ended = senders.join_next() => { ended.transpose()?.transpose()?; bail!("the load ended early") }
        () = sleep(time) => Ok(())
    }
}

/// A connection of its own.
pub(crate) async fn connect(address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}

/// Calls one method with bytes that are ready.
#[derive(Debug)]
pub(crate) struct Client {
    grpc: Grpc<Channel>,
    path: PathAndQuery,
}

impl Client {
    pub(crate) fn new(channel: Channel, path: &'static str) -> Self {
        Self {
            grpc: Grpc::new(channel),
            path: PathAndQuery::from_static(path),
        }
    }

    pub(crate) async fn call(&mut self, message: Bytes) -> Result<()> {
        self.grpc.ready().await?;
        let request = Request::new(Ready::from(message));
        self.grpc.unary(request, self.path.clone(), ReadyCodec).await?;
        Ok(())
    }
}

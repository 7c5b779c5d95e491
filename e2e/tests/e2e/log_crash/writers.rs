//! Those who write while Log is killed, and what each knows of its entries.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use homeroom::{
    balance::Channel,
    proto::log::v1::{Durability, Entry, IngestRequest, WriteRequest, log_client::LogClient},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Round;

const ENTRIES_MAX: u64 = 20;
/// How many batches of a stream are under way.
const WINDOW: usize = 6;
/// What would break a line, if it were not escaped.
const FILLING: &str = "\n\u{1b}[31m\"\\\u{2028}ü";

/// The number of an entry among those of its writer: its message begins with it.
pub(super) fn number(message: &str) -> u64 {
    let (number, _) = message.split_once(' ').expect("a number and more");
    number.parse().expect("a number")
}

/// What a writer knows of its entries, which it numbers from 1.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: String,
    /// The first one that was not found yet.
    first: u64,
    /// All up to this one are acknowledged.
    acknowledged: u64,
    /// All up to this one may be there.
    sent: u64,
    /// The ends of what was sent: nothing else may be the end of what is found.
    ends: Vec<u64>,
    /// The numbers in the log that acknowledgements told.
    sequences: BTreeMap<u64, u64>,
    is_whole: bool,
}

impl Written {
    fn new(name: String, is_whole: bool) -> Self {
        Self {
            name,
            first: 1,
            acknowledged: 0,
            sent: 0,
            ends: Vec::new(),
            sequences: BTreeMap::new(),
            is_whole,
        }
    }

    /// The next entries: of some size, and as many as it likes.
    fn entries(&mut self, random: &mut Rng) -> Vec<Entry> {
        let numbers = self.sent + 1..=self.sent + random.u64(1..=ENTRIES_MAX);
        self.sent = *numbers.end();
        self.ends.push(self.sent);
        let entry = |number| Entry {
            service: self.name.clone(),
            message: format!("{number} {}", FILLING.repeat(random.usize(0..80))),
            ..Default::default()
        };
        numbers.map(entry).collect()
    }

    fn acknowledge(&mut self, number: u64, sequence: u64) {
        self.acknowledged = number;
        // Of what was written before a restart the number in the log need not be known.
        if sequence != 0 {
            self.sequences.insert(number, sequence);
        }
    }

    /// Holds what was found since the last time, numbers and their places in the log, against what may be.
    pub(super) fn check(&mut self, found: &[(u64, u64)]) {
        let name = &self.name;
        let numbers: Vec<_> = found.iter().map(|(number, _)| *number).collect();
        let last = numbers.last().copied().unwrap_or(self.first - 1);
        let expected: Vec<_> = (self.first..=last).collect();
        assert_eq!(numbers, expected, "{name}: each once, and in order");
        let (acknowledged, sent) = (self.acknowledged, self.sent);
        assert!(
            last >= acknowledged,
            "{name}: {acknowledged} was acknowledged, and {last} is the last"
        );
        assert!(last <= sent, "{name}: {last} was never sent");
        if self.is_whole && last >= self.first {
            assert!(self.ends.contains(&last), "{name}: half a batch is there, up to {last}");
        }
        for (number, sequence) in found {
            let told = self.sequences.remove(number).unwrap_or(*sequence);
            assert_eq!(told, *sequence, "{name}: the place of entry {number}");
        }
        self.first = last + 1;
    }
}

/// Calls `Write`, one batch after the other.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) written: Written,
    durability: Durability,
    random: Rng,
}

impl Caller {
    pub(super) fn new(name: String, durability: Durability, random: Rng) -> Self {
        Self {
            written: Written::new(name, false),
            durability,
            random,
        }
    }

    /// Writes until Log is gone. What was not acknowledged then is not written again: it may be there.
    pub(super) async fn run(mut self, mut client: LogClient<Channel>, round: Round) -> Self {
        // What was not found is not going to come.
        self.written.first = self.written.sent + 1;
        self.written.acknowledged = self.written.sent;
        loop {
            let request = WriteRequest {
                entries: self.written.entries(&mut self.random),
                durability: self.durability.into(),
            };
            match client.write(request).await {
                Ok(answer) => {
                    let sequence = answer.into_inner().last_sequence;
                    self.written.acknowledge(self.written.sent, sequence);
                    round.acknowledge();
                }
                Err(status) => {
                    round.expect_killed(&status);
                    return self;
                }
            }
        }
    }
}

/// A batch of a stream that is not acknowledged yet.
#[derive(Debug, Clone)]
struct Batch {
    number: u64,
    entries: Vec<Entry>,
    /// The number of its last entry among those of its writer.
    end: u64,
}

/// Sends by `Ingest`, and after a kill again what was not acknowledged.
#[derive(Debug)]
pub(super) struct Streamer {
    pub(super) written: Written,
    durability: Durability,
    random: Rng,
    batches: u64,
    pending: VecDeque<Batch>,
}

impl Streamer {
    pub(super) fn new(name: String, durability: Durability, random: Rng) -> Self {
        Self {
            written: Written::new(name, true),
            durability,
            random,
            batches: 0,
            pending: VecDeque::new(),
        }
    }

    /// Writes until Log is gone.
    pub(super) async fn run(mut self, client: LogClient<Channel>, round: Round) -> Self {
        match self.stream(client, &round).await {
            Ok(()) => round.expect_killed(&"the stream ended"),
            Err(status) => round.expect_killed(&status),
        }
        self
    }

    async fn stream(&mut self, mut client: LogClient<Channel>, round: &Round) -> Result<(), Status> {
        // Room for all that may be under way, and the question.
        let (requests, sent) = mpsc::channel(WINDOW + 1);
        let asks = self.random.bool();
        let again = self.pending.iter().map(|batch| self.request(batch.clone()));
        let question = asks.then(|| IngestRequest {
            writer: self.written.name.clone(),
            ..Default::default()
        });
        // Either it asks first what was written, or sends all of it again, unasked.
        let first: Vec<_> = if asks {
            question.into_iter().collect()
        } else {
            again.collect()
        };
        for request in first {
            let _ = requests.send(request).await;
        }
        if !asks {
            self.fill(&requests).await;
        }
        let mut answers = client.ingest(ReceiverStream::new(sent)).await?.into_inner();
        let mut resumes = asks;
        while let Some(answer) = answers.message().await? {
            self.acknowledge(answer.batch, answer.last_sequence);
            if resumes {
                for batch in &self.pending {
                    let _ = requests.send(self.request(batch.clone())).await;
                }
                resumes = false;
            } else {
                round.acknowledge();
            }
            self.fill(&requests).await;
        }
        Ok(())
    }

    /// Sends new batches, as many as may be under way.
    async fn fill(&mut self, requests: &mpsc::Sender<IngestRequest>) {
        while self.pending.len() < WINDOW {
            self.batches += 1;
            let batch = Batch {
                number: self.batches,
                entries: self.written.entries(&mut self.random),
                end: self.written.sent,
            };
            self.pending.push_back(batch.clone());
            // Nobody takes it when the stream has ended, which its answers tell.
            let _ = requests.send(self.request(batch)).await;
        }
    }

    fn request(&self, batch: Batch) -> IngestRequest {
        IngestRequest {
            batch: batch.number,
            entries: batch.entries,
            durability: self.durability.into(),
            writer: self.written.name.clone(),
        }
    }

    fn acknowledge(&mut self, batch: u64, sequence: u64) {
        while let Some(first) = self.pending.pop_front_if(|first| first.number <= batch) {
            let sequence = if first.number == batch { sequence } else { 0 };
            self.written.acknowledge(first.end, sequence);
        }
    }
}

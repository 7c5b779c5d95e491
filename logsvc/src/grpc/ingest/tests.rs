use futures_util::{FutureExt, StreamExt};
use homeroom::status::reason;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{
    super::{
        Answers as Boxed, LogApi, decode,
        tests::{api, entry, invalid, messages, on_the_wire, query, write},
    },
    *,
};
use crate::store::Fate;

struct Client {
    requests: mpsc::Sender<Result<IngestRequest, Status>>,
    answers: Boxed<proto::IngestResponse>,
}

fn request(batch: u64, messages: &[&str]) -> IngestRequest {
    IngestRequest {
        batch,
        entries: messages
            .iter()
            .flat_map(|message| on_the_wire(&[entry(message)]))
            .collect(),
        ..Default::default()
    }
}

fn greeting(writer: &str) -> IngestRequest {
    IngestRequest {
        writer: writer.to_owned(),
        ..Default::default()
    }
}

impl Client {
    fn open(api: &LogApi) -> Self {
        let (requests, received) = mpsc::channel(400);
        let received = ReceiverStream::new(received);
        Self {
            requests,
            answers: api.ingest_from(received).boxed(),
        }
    }

    /// A stream of a writer, and the last batch that the service says it has.
    async fn greet(api: &LogApi, writer: &str) -> (Self, u64) {
        let mut client = Self::open(api);
        client.send(greeting(writer)).await;
        let (batch, _) = client.acknowledged().await;
        (client, batch)
    }

    async fn send(&self, request: IngestRequest) {
        self.requests.send(Ok(request)).await.expect("it is read");
    }

    async fn next(&mut self) -> Option<Result<proto::IngestResponse, Status>> {
        self.answers.next().await
    }

    async fn acknowledged(&mut self) -> (u64, u64) {
        let answer = self.next().await.expect("an answer").expect("written");
        (answer.batch, answer.last_sequence)
    }

    /// Reads acknowledgements up to that of a batch. Returns the number of its last entry.
    async fn acknowledged_up_to(&mut self, batch: u64) -> u64 {
        loop {
            let (acknowledged, last_sequence) = self.acknowledged().await;
            assert!(acknowledged <= batch, "{acknowledged} was not sent");
            if acknowledged == batch {
                return last_sequence;
            }
        }
    }

    async fn end(&mut self) -> Status {
        let status = self.next().await.expect("an end").expect_err("an error");
        assert!(self.answers.next().await.is_none(), "nothing comes after an error");
        status
    }
}

async fn everything(api: &LogApi) -> Vec<String> {
    let request = proto::QueryRequest {
        page_size: 1000,
        ..Default::default()
    };
    let found = query(api, request).await.expect("found");
    messages(&found.entries).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn batches_are_acknowledged_in_order_without_waiting_for_each_other() {
    let (_directory, api) = api().await;
    let mut client = Client::open(&api);
    for batch in 1..=300 {
        client.send(request(batch, &["a", "b"])).await;
    }
    let mut last = 0;
    while last < 300 {
        let (batch, last_sequence) = client.acknowledged().await;
        assert!(batch > last, "numbers rise");
        assert_eq!(last_sequence, batch * 2);
        last = batch;
    }
    drop(client.requests);
    assert!(client.answers.next().await.is_none());
}

#[tokio::test]
async fn what_is_done_by_then_is_acknowledged_at_once_but_for_what_was_written_before() {
    let (_directory, api) = api().await;
    let (queue, queued) = mpsc::channel(9);
    let pending = |batch, outcome| Pending {
        batch,
        outcome,
        _room: None,
    };
    queue.send(Ok(pending(1, Outcome::Known))).await.expect("there is room");
    for batch in 2..=5 {
        let entries = vec![entry("m")];
        let (encoded, durability) = decode(&on_the_wire(&entries), proto::Durability::Written.into()).expect("valid");
        let written = api.store.append(encoded, durability, &Fate::default()).await;
        let outcome = Outcome::Queued(written.expect("queued"));
        queue.send(Ok(pending(batch, outcome))).await.expect("there is room");
    }
    queue.send(Err(Status::aborted("over"))).await.expect("there is room");
    write(&api, vec![entry("last")])
        .await
        .expect("written after all of them");
    let mut answers = Answers::new(queued);
    for (batch, last_sequence) in [(1, 0), (5, 4)] {
        let answer = answers.next().await.expect("an answer").expect("acknowledged");
        assert_eq!((answer.batch, answer.last_sequence), (batch, last_sequence));
    }
    let end = answers.next().await.expect("an end").expect_err("an error");
    assert_eq!(end.code(), Code::Aborted);
}

#[tokio::test]
async fn a_stream_ends_with_its_first_error_after_the_acknowledgements_before_it() {
    let (_directory, api) = api().await;
    let of = |batch, durability: proto::Durability, writer: &str| IngestRequest {
        durability: durability.into(),
        writer: writer.to_owned(),
        ..request(batch, &["bad"])
    };
    let rows = [
        (request(6, &[""]), "entries[0].message"),
        (request(5, &["bad"]), "batch"),
        (request(6, &[]), "entries"),
        (of(6, proto::Durability::Received, ""), "durability"),
        (of(6, proto::Durability::Synced, "late"), "writer"),
    ];
    for (bad, field) in rows {
        let mut client = Client::open(&api);
        client.send(request(5, &["good"])).await;
        client.send(bad).await;
        client.send(request(7, &["late"])).await;
        assert_eq!(client.acknowledged().await.0, 5);
        assert_eq!(invalid(Err::<(), _>(client.end().await)), field);
    }
    assert_eq!(everything(&api).await, ["good"; 5]);
}

#[tokio::test]
async fn a_writer_has_a_name_and_numbers_from_one() {
    let (_directory, api) = api().await;
    for name in ["a b", "ä", &"x".repeat(65)] {
        let mut client = Client::open(&api);
        client.send(greeting(name)).await;
        assert_eq!(invalid(Err::<(), _>(client.end().await)), "writer", "{name}");
    }
    for (writer, batch, field) in [("", 0, "batch"), ("", 1, ""), ("w", 2, ""), ("v", 3, "writer")] {
        let (mut client, _) = Client::greet(&api, "w").await;
        let request = IngestRequest {
            writer: writer.to_owned(),
            ..request(batch, &["m"])
        };
        client.send(request).await;
        match field {
            "" => assert_eq!(client.acknowledged().await.0, batch),
            field => assert_eq!(invalid(Err::<(), _>(client.end().await)), field),
        }
    }
    let mut client = Client::open(&api);
    client.send(greeting("")).await;
    assert_eq!(
        invalid(Err::<(), _>(client.end().await)),
        "entries",
        "a greeting has a writer"
    );
}

#[tokio::test]
async fn what_a_writer_sends_again_is_acknowledged_and_not_written_again() {
    let (_directory, api) = api().await;
    let (mut client, last) = Client::greet(&api, "w").await;
    assert_eq!(last, 0);
    for (batch, message) in [(1, "a"), (2, "b"), (5, "c")] {
        client.send(request(batch, &[message])).await;
    }
    assert_eq!(client.acknowledged_up_to(5).await, 3);
    drop(client);
    let (mut client, last) = Client::greet(&api, "w").await;
    assert_eq!(last, 5);
    for (batch, message) in [(2, "b"), (5, "c"), (6, "d")] {
        client.send(request(batch, &[message])).await;
    }
    assert_eq!(client.acknowledged_up_to(6).await, 4);
    assert_eq!(everything(&api).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_first_request_with_entries_is_answered_with_the_last_batch_before_it_is_written() {
    let (_directory, api) = api().await;
    let first = |batch| IngestRequest {
        writer: "w".to_owned(),
        ..request(batch, &["m"])
    };
    let mut client = Client::open(&api);
    client.send(first(3)).await;
    assert_eq!(client.acknowledged_up_to(3).await, 1);
    let mut client = Client::open(&api);
    client.send(first(4)).await;
    assert_eq!(client.acknowledged().await.0, 3);
    assert_eq!(client.acknowledged().await, (4, 2));
}

#[tokio::test]
async fn an_older_stream_of_a_writer_gives_way_to_a_newer_one() {
    let (_directory, api) = api().await;
    let (mut older, _) = Client::greet(&api, "w").await;
    let (mut other, _) = Client::greet(&api, "v").await;
    older.send(request(1, &["a"])).await;
    assert_eq!(older.acknowledged().await, (1, 1));
    let (mut newer, last) = Client::greet(&api, "w").await;
    assert_eq!(last, 1);
    let status = older.end().await;
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::Aborted, Some("WRITER_REPLACED"))
    );
    drop(older);
    newer.send(request(2, &["b"])).await;
    other.send(request(1, &["c"])).await;
    assert_eq!(newer.acknowledged().await.0, 2);
    assert_eq!(other.acknowledged().await.0, 1);
}

#[tokio::test]
async fn a_stream_that_has_ended_leaves_no_trace_of_its_writer() {
    let (_directory, api) = api().await;
    for _ in 0..2 {
        let (client, _) = Client::greet(&api, "w").await;
        assert_eq!(api.streams.len(), 1);
        let Client { requests, mut answers } = client;
        drop(requests);
        assert!(answers.next().await.is_none());
        assert_eq!(api.streams.len(), 0);
    }
    let (older, _) = Client::greet(&api, "w").await;
    let (newer, _) = Client::greet(&api, "w").await;
    drop(older);
    assert_eq!(api.streams.len(), 1, "the newer one has the place");
    drop(newer);
}

#[tokio::test]
async fn what_is_beyond_the_credit_waits_until_answers_are_read() {
    let (_directory, api) = api().await;
    let mut client = Client::open(&api);
    let large = "x".repeat(1024 * 1024);
    let batches = 2 * (CREDIT_BYTES / large.len()) as u64;
    for batch in 1..=batches {
        client.send(request(batch, &[&large])).await;
    }
    let mut visible = api.store.visible();
    // Each request is a little more than its message: the last one that would fit does not.
    let most = batches / 2 - 1;
    visible.wait_for(|last| *last == most).await.expect("it is open");
    let written = visible.wait_for(|last| *last > most);
    let mut written = std::pin::pin!(written);
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(
            (&mut written).now_or_never().is_none(),
            "nothing beyond the credit is written"
        );
    }
    let answer = client.next().await.expect("an answer").expect("written");
    assert_eq!(answer.credit_bytes, CREDIT_BYTES as u64);
    client.acknowledged_up_to(batches).await;
}

#[tokio::test]
async fn a_stream_ends_with_the_drain_after_what_was_received() {
    let (_directory, api) = api().await;
    let mut client = Client::open(&api);
    client.send(request(1, &["a"])).await;
    assert_eq!(client.acknowledged().await, (1, 1));
    api.shutdown.cancel();
    assert_eq!(reason(&client.end().await).as_deref(), Some("DRAINING"));
}

#[tokio::test]
async fn a_closed_log_refuses_batches_and_the_refusal_is_counted() {
    use homeroom::{
        metrics::{Format, Metrics},
        testing::Exposition,
    };
    let (_directory, api) = api().await;
    let metrics = Metrics::new();
    api.tell(&metrics);
    api.close().await;
    let mut client = Client::open(&api);
    client.send(request(1, &["a"])).await;
    assert_eq!(reason(&client.end().await).as_deref(), Some("DRAINING"));
    assert!(write(&api, vec![entry("a")]).await.is_err());
    let seen = Exposition::parse(&metrics.text(Format::Prometheus));
    let refused = seen.value("homeroom_log_refused_total", &[("reason", "DRAINING")]);
    assert_eq!(refused, 2.0);
}

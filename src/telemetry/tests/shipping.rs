use std::time::Duration;

use tonic::{Code, Status, service::Routes};
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

use super::{
    super::{
        Origin, QueueSettings, Sampler, Settings, Telemetry,
        queue::{Entries, queue},
        shipper::BATCH_ENTRIES_MAX,
    },
    Ingests, logged, recording, scripted_log,
};
use crate::{
    balance::Channel,
    metrics::{Format, Metrics},
    proto::log::v1::{Entry, Severity, Span},
    testing::{Port, Server, skip, soon},
};

const LONG: Duration = Duration::from_secs(10);

fn serve() -> (Server, Ingests) {
    let (log, ingests) = scripted_log();
    (Server::start(Routes::new(log)), ingests)
}

fn shipped_as(settings: Settings, entries: Entries, log: Channel) -> Telemetry {
    let mut telemetry = Telemetry::new(entries, settings);
    let origin = Origin {
        service: "process".to_owned(),
        instance: "p:1".to_owned(),
    };
    telemetry.ship(log, origin);
    telemetry
}

fn shipped(entries: Entries, log: Channel) -> Telemetry {
    shipped_as(Settings::default(), entries, log)
}

/// So many entries, whose messages are their numbers.
fn numbered(count: usize) -> Entries {
    logged(|| {
        for n in 0..count {
            tracing::info!("{n}");
        }
    })
}

fn messages(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.message.as_str()).collect()
}

#[tokio::test]
async fn what_a_full_queue_drops_is_counted_and_reported() {
    let max = QueueSettings::default().entries_max;
    let entries = logged(|| {
        for _ in 0..max + 3 {
            tracing::info!("again");
        }
    });
    let (server, mut ingests) = serve();
    let telemetry = shipped(entries, server.channel());
    let (mut ingest, _) = ingests.greeted(0).await;
    let mut all = Vec::new();
    while all.len() <= max {
        all.extend(ingest.written().await);
    }
    soon("the flush", telemetry.flush(LONG)).await;
    assert_eq!(all.len(), max + 1);
    let report = all.iter().find(|entry| entry.message != "again").expect("a report");
    assert_eq!(report.severity(), Severity::Warn);
    assert_eq!(report.attributes["dropped"], "3");
    assert_eq!(report.service, "process");
}

#[tokio::test]
async fn entries_are_shipped_in_order_in_batches_of_a_bounded_size() {
    let count = 2 * BATCH_ENTRIES_MAX + 500;
    let (server, mut ingests) = serve();
    let telemetry = shipped(numbered(count), server.channel());
    let (mut ingest, writer) = ingests.greeted(0).await;
    assert_eq!(writer.len(), 32);
    let mut all = Vec::new();
    for expected in [BATCH_ENTRIES_MAX, BATCH_ENTRIES_MAX, 500] {
        let batch = ingest.written().await;
        assert_eq!(batch.len(), expected);
        all.extend(batch);
    }
    let expected: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    assert_eq!(messages(&all), expected);
    assert!(
        all.iter()
            .all(|entry| entry.service == "process" && entry.instance == "p:1")
    );
    soon("the flush", telemetry.flush(LONG)).await;
}

#[tokio::test]
async fn after_a_break_what_log_does_not_have_is_sent_again_under_its_number_and_nothing_else() {
    let (server, mut ingests) = serve();
    let telemetry = shipped(numbered(3 * BATCH_ENTRIES_MAX), server.channel());
    let (mut ingest, writer) = ingests.greeted(0).await;
    let first: Vec<_> = [ingest.request().await, ingest.request().await, ingest.request().await].into();
    assert_eq!(first.iter().map(|request| request.batch).collect::<Vec<_>>(), [1, 2, 3]);
    ingest.acknowledge(1).await;
    ingest.fail(Status::unavailable("a restart")).await;
    // It had written another one.
    let (mut ingest, same_writer) = ingests.greeted(2).await;
    assert_eq!(same_writer, writer);
    let again = ingest.request().await;
    assert_eq!((again.batch, &again.entries), (3, &first[2].entries));
    ingest.acknowledge(3).await;
    soon("the flush", telemetry.flush(LONG)).await;
    ingest.ended().await;
}

#[tokio::test]
async fn a_batch_that_log_refuses_is_given_up_and_reported_and_the_next_ones_go_on() {
    let (queue, entries) = queue(QueueSettings::default());
    let (server, mut ingests) = serve();
    for n in 0..=BATCH_ENTRIES_MAX {
        let message = n.to_string();
        let span = (n == 0).then(Span::default);
        queue.push(Entry {
            message,
            span,
            ..Entry::default()
        });
    }
    let telemetry = shipped(entries, server.channel());
    let (mut ingest, _) = ingests.greeted(0).await;
    assert_eq!(ingest.request().await.batch, 1);
    ingest.fail(Status::invalid_argument("what is it?")).await;
    let (mut ingest, _) = ingests.greeted(0).await;
    let last = (BATCH_ENTRIES_MAX).to_string();
    assert_eq!(messages(&ingest.written().await), [last]);
    let report = ingest.written().await.remove(0);
    assert_eq!(report.severity(), Severity::Warn);
    assert_eq!(
        report.attributes,
        [("entries", "999"), ("spans", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    );
    soon("the flush", telemetry.flush(LONG)).await;
}

#[tokio::test]
async fn what_was_printed_while_log_was_away_is_shipped_when_it_is_back() {
    let (server, mut ingests) = serve();
    let telemetry = shipped(numbered(1), server.channel());
    let (mut ingest, _) = ingests.greeted(0).await;
    let unanswered = ingest.request().await;
    // It is printed, and then the stream is given up.
    skip(Duration::from_secs(5)).await;
    skip(Duration::from_secs(30)).await;
    ingest.ended().await;
    let (mut ingest, _) = ingests.greeted(0).await;
    assert_eq!(ingest.request().await, unanswered);
    ingest.acknowledge(1).await;
    soon("the flush", telemetry.flush(LONG)).await;
}

#[tokio::test]
async fn a_flush_ends_though_log_is_away() {
    let nobody = Port::take();
    let telemetry = shipped(numbered(1), Channel::fixed(nobody.address().into()));
    soon("the flush", telemetry.flush(Duration::from_secs(60))).await;
}

#[tokio::test]
async fn a_flush_gives_up_on_a_log_that_does_not_answer() {
    let (server, mut ingests) = serve();
    let telemetry = shipped(numbered(1), server.channel());
    let (mut ingest, _) = ingests.greeted(0).await;
    ingest.request().await;
    soon("the flush", telemetry.flush(Duration::from_millis(50))).await;
    ingest.ended().await;
}

#[tokio::test]
async fn what_the_shipper_does_leaves_neither_entries_nor_spans() {
    let (_recording, entries) = recording(Sampler::named("always_on", 1.0).expect("a sampler"));
    tracing::info!("only this");
    let (server, mut ingests) = serve();
    let telemetry = shipped(entries, server.channel());
    let (mut ingest, _) = ingests.greeted(0).await;
    assert_eq!(messages(&ingest.written().await), ["only this"]);
    ingest.fail(Status::new(Code::Internal, "a fault")).await;
    tracing::info!("and this");
    let (mut ingest, _) = ingests.greeted(1).await;
    assert_eq!(messages(&ingest.written().await), ["and this"]);
    soon("the flush", telemetry.flush(LONG)).await;
    ingest.ended().await;
}

#[tokio::test]
async fn the_settings_name_the_process_and_its_resource() {
    let resource = [("host.name".to_owned(), "h".to_owned())];
    let settings = Settings {
        service: Some("named".to_owned()),
        resource: resource.clone().into(),
        ..Settings::default()
    };
    let (server, mut ingests) = serve();
    let telemetry = shipped_as(settings, numbered(1), server.channel());
    let (mut ingest, _) = ingests.greeted(0).await;
    let entry = ingest.written().await.remove(0);
    assert_eq!((entry.service.as_str(), entry.instance.as_str()), ("named", "p:1"));
    assert_eq!(entry.resource, resource.into());
    soon("the flush", telemetry.flush(LONG)).await;
}

#[tokio::test]
async fn nothing_is_shipped_by_a_process_without_telemetry() {
    let settings = Settings {
        disabled: true,
        ..Settings::default()
    };
    let (server, mut ingests) = serve();
    let telemetry = shipped_as(settings, numbered(1), server.channel());
    soon("the flush", telemetry.flush(LONG).with_subscriber(NoSubscriber::new())).await;
    server.stop().await;
    assert!(ingests.0.try_recv().is_err(), "nobody has come");
}

#[tokio::test]
async fn the_metrics_tell_what_waits_and_what_was_shipped_dropped_and_given_up() {
    let (_recording, entries) = recording(None);
    let metrics = Metrics::new();
    let told = |name: &str| {
        let (text, name) = (metrics.text(Format::Prometheus), format!("homeroom_telemetry_{name} "));
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(&*name))
            .expect("it is told");
        value.parse::<usize>().expect("a number")
    };
    let max = QueueSettings::default().entries_max;
    (0..=max).for_each(|n| tracing::info!("{n}"));
    assert_eq!((told("queue_entries"), told("queue_entries_max")), (max, max));
    assert_eq!(told("dropped_entries_total"), 1);
    let (server, mut ingests) = serve();
    let telemetry = shipped(entries, server.channel());
    let (mut ingest, _) = ingests.greeted(0).await;
    let shipped = ingest.written().await.len();
    let (mut ingest, given_up) = {
        let given_up = ingest.request().await.entries.len();
        ingest.fail(Status::invalid_argument("what is it?")).await;
        (ingests.greeted(1).await.0, given_up)
    };
    let mut all = shipped;
    // With a report of what was dropped, and one of what was given up.
    while all + given_up < max + 2 {
        all += ingest.written().await.len();
    }
    soon("the flush", telemetry.flush(LONG)).await;
    assert_eq!((told("queue_entries"), told("shipped_entries_total")), (0, all));
    assert_eq!(told("unshipped_entries_total"), given_up);
}

//! `logs`: entries that are kept, and those that come.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use homeroom::{
    balance::Channel,
    process::complain,
    proto::log::v1::{
        Entry, EntryKind, Filter, Order, QueryRequest, Severity, TailRequest, TailResponse, log_client::LogClient,
    },
    telemetry::words,
};
use prost_types::Timestamp;
use tonic::{Status, Streaming};

use super::again::and_again;
use crate::{
    args::Logs,
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Line, Output},
    time,
};

/// Shows entries, the newest last, and goes on with new ones when asked to.
///
/// # Errors
/// [`Failure::Negative`] when nothing matches; when Log cannot be asked.
pub async fn run(client: &Client, output: &Output, logs: &Logs) -> Result<(), Failure> {
    let filter = filter(logs, SystemTime::now());
    let mut log = client.log().await?;
    if logs.follow {
        return follow(client, log, output, filter, logs.lines).await;
    }
    let entries = newest(client, &mut log, filter, logs.lines).await?;
    if entries.is_empty() {
        return Err(Failure::Negative("no entry matches".to_owned()));
    }
    write(output, &entries)
}

fn filter(logs: &Logs, now: SystemTime) -> Filter {
    Filter {
        start_time: logs.since.map(|since| before(now, since)),
        end_time: logs.until.map(|until| before(now, until)),
        services: logs.services.clone(),
        instance: logs.instance.clone().unwrap_or_default(),
        min_severity: logs.severity.unwrap_or_default().into(),
        text: logs.text.clone().unwrap_or_default(),
        regex: logs.grep.clone().unwrap_or_default(),
        trace_id: logs.trace.clone().unwrap_or_default(),
        attributes: logs.attributes.iter().cloned().collect::<BTreeMap<_, _>>(),
        kind: match logs.spans {
            true => EntryKind::Any.into(),
            false => EntryKind::Log.into(),
        },
    }
}

/// So long before `now`; the beginning of time when that is further back.
pub(super) fn before(now: SystemTime, past: Duration) -> Timestamp {
    now.checked_sub(past).unwrap_or(SystemTime::UNIX_EPOCH).into()
}

/// The last entries that match, in the order in which they were written.
async fn newest(
    client: &Client,
    log: &mut LogClient<Channel>,
    filter: Filter,
    lines: u32,
) -> Result<Vec<Entry>, Failure> {
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let mut entries = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = client.request(QueryRequest {
            filter: Some(filter.clone()),
            order: Order::NewestFirst.into(),
            page_size: i32::try_from(wanted - entries.len()).unwrap_or(i32::MAX),
            page_token,
        });
        let page = log.query(request).await?.into_inner();
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() || entries.len() >= wanted {
            entries.truncate(wanted);
            entries.reverse();
            return Ok(entries);
        }
    }
}

/// Shows what is there, and then what comes, without a gap between: the stream is opened first, and tells where it
/// starts. One that is lost is opened again where it ended.
async fn follow(
    client: &Client,
    mut log: LogClient<Channel>,
    output: &Output,
    filter: Filter,
    lines: u32,
) -> Result<(), Failure> {
    let mut stream = tail(&mut log, &filter, None).await?;
    let start = stream.message().await?.ok_or_else(ended)?;
    let mut before = newest(client, &mut log, filter.clone(), lines).await?;
    before.retain(|entry| entry.sequence <= start.sequence);
    write(output, &before)?;
    let (mut after, mut first) = (start.sequence, Some(stream));
    and_again(async || {
        let opened = match first.take() {
            Some(stream) => Ok(stream),
            None => tail(&mut log, &filter, Some(after)).await,
        };
        match opened {
            Ok(mut stream) => Ok((true, show(output, &mut stream, &mut after).await?)),
            Err(status) => Ok((false, status)),
        }
    })
    .await
}

async fn tail(
    log: &mut LogClient<Channel>,
    filter: &Filter,
    after: Option<u64>,
) -> Result<Streaming<TailResponse>, Status> {
    let request = TailRequest {
        filter: Some(filter.clone()),
        after_sequence: after,
        lag_max: 0,
    };
    Ok(log.tail(request).await?.into_inner())
}

/// Shows what a stream brings, and keeps in `after` how far that is. Tells why it ended.
async fn show(output: &Output, stream: &mut Streaming<TailResponse>, after: &mut u64) -> Result<Status, Failure> {
    loop {
        let news = match stream.message().await {
            Ok(Some(news)) => news,
            Ok(None) => return Ok(ended()),
            Err(status) => return Ok(status),
        };
        if let Some(dropped) = news.dropped {
            complain(&format!(
                "homeroom: {} entries are missing here, {} to {}: Log had deleted them",
                dropped.count, dropped.first_sequence, dropped.last_sequence
            ));
        }
        write(output, &news.entries)?;
        *after = news.sequence;
    }
}

fn ended() -> Status {
    Status::unavailable("Log ended the stream")
}

fn write(output: &Output, entries: &[Entry]) -> Result<(), Failure> {
    for entry in entries {
        output.item("homeroom.log.v1.Entry", entry, |entry| vec![line(entry)])?;
    }
    Ok(())
}

fn line(entry: &Entry) -> Line {
    let time = entry.time.map(|time| time.to_string()).unwrap_or_default();
    severity(entry).within(&time, &(words::content(entry) + &took(entry)))
}

/// How long a span took.
fn took(entry: &Entry) -> String {
    let end = entry.span.as_ref().and_then(|span| span.end_time);
    let system = |time: Option<Timestamp>| time.and_then(|time| SystemTime::try_from(time).ok());
    match (system(entry.time), system(end)) {
        (Some(start), Some(end)) => format!(" took={}", time::exact(end.duration_since(start).unwrap_or_default())),
        _ => String::new(),
    }
}

/// How severe an entry is.
pub(super) fn severity(entry: &Entry) -> Cell {
    let colour = match entry.severity() {
        Severity::Error | Severity::Fatal => Colour::Bad,
        Severity::Warn => Colour::Doubtful,
        _ => Colour::Plain,
    };
    Cell::coloured(format!("{:5}", words::severity(entry)), colour)
}

#[cfg(test)]
mod tests {
    use homeroom::proto::log::v1::Span;

    use super::*;

    #[test]
    fn every_flag_narrows_the_filter() {
        let hour = Duration::from_secs(3_600);
        let logs = Logs {
            follow: false,
            since: Some(hour),
            until: Some(hour / 2),
            services: vec!["a".to_owned()],
            instance: Some("i".to_owned()),
            severity: Some(Severity::Warn),
            grep: Some("x+".to_owned()),
            attributes: vec![("k".to_owned(), "v".to_owned())],
            trace: Some("t".to_owned()),
            spans: true,
            lines: 1,
            text: Some("text".to_owned()),
        };
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let expected = Filter {
            start_time: at(400),
            end_time: at(2_200),
            services: vec!["a".to_owned()],
            instance: "i".to_owned(),
            min_severity: Severity::Warn.into(),
            text: "text".to_owned(),
            trace_id: "t".to_owned(),
            regex: "x+".to_owned(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            kind: EntryKind::Any.into(),
        };
        assert_eq!(
            filter(&logs, SystemTime::UNIX_EPOCH + Duration::from_secs(4_000)),
            expected
        );
        assert_eq!(before(SystemTime::UNIX_EPOCH, Duration::MAX), Timestamp::default());
    }

    #[test]
    fn a_span_tells_how_long_it_took() {
        let mut entry = Entry {
            time: Some(Timestamp { seconds: 5, nanos: 0 }),
            message: "m".to_owned(),
            ..Default::default()
        };
        assert!(line(&entry).text(false).ends_with("  m\n"));
        entry.span = Some(Span {
            end_time: Some(Timestamp {
                seconds: 5,
                nanos: 2_500_000,
            }),
            ..Default::default()
        });
        assert!(line(&entry).text(false).ends_with("  m took=2.5ms\n"));
    }
}

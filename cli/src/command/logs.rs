//! `logs`: entries that are kept, and those that come.

use homeroom::{
    balance::Channel,
    process::complain,
    proto::log::v1::{Entry, Filter, Order, QueryRequest, Severity, TailRequest, log_client::LogClient},
    telemetry::words,
};

use crate::{
    args::Logs,
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Line, Output},
};

/// Shows entries, the newest last, and goes on with new ones when asked to.
///
/// # Errors
/// [`Failure::Negative`] when nothing matches; when Log cannot be asked.
pub async fn run(client: &Client, output: &Output, logs: &Logs) -> Result<(), Failure> {
    let filter = Filter {
        services: logs.services.clone(),
        min_severity: logs.severity.unwrap_or_default().into(),
        text: logs.text.clone().unwrap_or_default(),
        trace_id: logs.trace.clone().unwrap_or_default(),
        ..Default::default()
    };
    let mut log = client.log().await?;
    if logs.follow {
        return follow(client, &mut log, output, filter, logs.lines).await;
    }
    let entries = newest(client, &mut log, filter, logs.lines).await?;
    if entries.is_empty() {
        return Err(Failure::Negative("no entry matches".to_owned()));
    }
    write(output, &entries)
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
/// starts.
async fn follow(
    client: &Client,
    log: &mut LogClient<Channel>,
    output: &Output,
    filter: Filter,
    lines: u32,
) -> Result<(), Failure> {
    let request = TailRequest {
        filter: Some(filter.clone()),
        after_sequence: None,
        ..Default::default()
    };
    let mut stream = log.tail(request).await?.into_inner();
    let ended = || Failure::Server("Log ended the stream".to_owned());
    let start = stream.message().await?.ok_or_else(ended)?;
    let mut before = newest(client, log, filter, lines).await?;
    before.retain(|entry| entry.sequence <= start.sequence);
    write(output, &before)?;
    while let Some(news) = stream.message().await? {
        if let Some(dropped) = news.dropped {
            complain(&format!(
                "homeroom: Log skipped {} entries: they were read too slowly",
                dropped.count
            ));
        }
        write(output, &news.entries)?;
    }
    Err(ended())
}

fn write(output: &Output, entries: &[Entry]) -> Result<(), Failure> {
    for entry in entries {
        output.item("homeroom.log.v1.Entry", entry, |entry| vec![line(entry)])?;
    }
    Ok(())
}

fn line(entry: &Entry) -> Line {
    let colour = match entry.severity() {
        Severity::Error | Severity::Fatal => Colour::Bad,
        Severity::Warn => Colour::Doubtful,
        _ => Colour::Plain,
    };
    let time = entry.time.map(|time| time.to_string()).unwrap_or_default();
    Cell::coloured(format!("{:5}", words::severity(entry)), colour).within(&time, &words::content(entry))
}

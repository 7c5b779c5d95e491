//! `trace` and `traces`: what a call has caused, and which calls there were.

mod waterfall;

use std::time::{Duration, SystemTime};

use homeroom::proto::log::v1::{GetTraceRequest, ListTracesRequest, Trace};

use super::logs::before;
use crate::{
    args::Traces,
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Output},
    time,
};

/// Draws the spans of a trace over time, with the log entries between them.
///
/// # Errors
/// [`Failure::Negative`] when there is no such trace; when Log cannot be asked.
pub async fn trace(client: &Client, output: &Output, id: &str) -> Result<(), Failure> {
    let request = client.request(GetTraceRequest {
        trace_id: id.to_owned(),
    });
    let trace = client.log().await?.get_trace(request).await?.into_inner();
    Ok(output.item("homeroom.log.v1.GetTraceResponse", &trace, waterfall::draw)?)
}

/// Lists traces, those written last first.
///
/// # Errors
/// [`Failure::Negative`] when none matches; when Log cannot be asked.
pub async fn traces(client: &Client, output: &Output, wanted: &Traces) -> Result<(), Failure> {
    let traces = newest(client, wanted).await?;
    if traces.is_empty() {
        return Err(Failure::Negative("no trace matches".to_owned()));
    }
    let head = ["STARTED", "DURATION", "SPANS", "ERRORS", "TRACE", "SERVICE", "NAME"];
    Ok(output.list("homeroom.log.v1.Trace", &traces, head, row)?)
}

async fn newest(client: &Client, wanted: &Traces) -> Result<Vec<Trace>, Failure> {
    let lines = usize::try_from(wanted.lines).unwrap_or(usize::MAX);
    let mut log = client.log().await?;
    let mut request = ListTracesRequest {
        services: wanted.services.clone(),
        name: wanted.name.clone().unwrap_or_default(),
        min_duration: wanted.min_duration.and_then(|least| least.try_into().ok()),
        errors_only: wanted.errors,
        start_time: wanted.since.map(|since| before(SystemTime::now(), since)),
        ..Default::default()
    };
    let mut traces = Vec::new();
    loop {
        request.page_size = i32::try_from(lines - traces.len()).unwrap_or(i32::MAX);
        let page = log.list_traces(client.request(request.clone())).await?.into_inner();
        traces.extend(page.traces);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || traces.len() >= lines {
            traces.truncate(lines);
            return Ok(traces);
        }
    }
}

fn row(trace: &Trace) -> [Cell; 7] {
    let errors = match trace.errors {
        0 => Cell::from("0"),
        errors => Cell::coloured(errors.to_string(), Colour::Bad),
    };
    let duration = trace.duration.and_then(|duration| Duration::try_from(duration).ok());
    [
        Cell::from(trace.start_time.map(time::second).unwrap_or_default()),
        Cell::from(time::exact(duration.unwrap_or_default())),
        Cell::from(trace.spans.to_string()),
        errors,
        Cell::from(&trace.trace_id),
        Cell::from(&trace.service),
        Cell::from(&trace.name),
    ]
}

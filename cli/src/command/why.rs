//! `why`: why a service or an instance gets traffic, or doesn't.

mod explain;
mod words;

use homeroom::proto::registry::v1::{Change, GetStatusRequest, GetStatusResponse, Instance, ServiceSummary};
use serde_json::json;
use tonic::Code;

use self::explain::{About, Report, explain};
use super::{all_instances, all_services, events};
use crate::{
    args::Target,
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Line, Output},
};

/// How many of the newest changes are looked at.
const CHANGES_MAX: usize = 200;
/// More instances than this are counted rather than shown.
const INSTANCES_SHOWN_MAX: usize = 20;

/// What the registry knows of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// All instances of the service.
    instances: Vec<Instance>,
    /// The newest changes of the target, oldest first.
    changes: Vec<Change>,
    /// All services.
    services: Vec<ServiceSummary>,
    /// What the registry knows of itself; nothing, when it is too old to tell.
    status: GetStatusResponse,
}

/// Tells why a target gets traffic, or doesn't: the first line is the answer.
///
/// # Errors
/// [`Failure::Answered`] when it gets none; when the registry cannot be asked.
pub async fn run(client: &Client, output: &Output, target: &Target) -> Result<(), Failure> {
    let report = ask(client, target).await?;
    if output.is_json() {
        output.value(&value(target, &report, output))?;
    } else {
        output.lines(&lines(&report))?;
    }
    match report.gets_traffic {
        true => Ok(()),
        false => Err(Failure::Answered),
    }
}

/// Asks the registry for all that explains a target.
///
/// # Errors
/// When the registry cannot be asked.
pub(super) async fn ask(client: &Client, target: &Target) -> Result<Report, Failure> {
    let status = client.registry().get_status(client.request(GetStatusRequest {})).await;
    let status = match status {
        Err(status) if status.code() == Code::Unimplemented => GetStatusResponse::default(),
        status => status?.into_inner(),
    };
    // The changes last: what explains the state of an instance is among them then.
    let facts = Facts {
        services: all_services(client).await?,
        instances: all_instances(client, target.service.as_str()).await?,
        changes: events::newest(client, Some(target), CHANGES_MAX).await?.0,
        status,
    };
    Ok(explain(target, &facts))
}

fn lines(report: &Report) -> Vec<Line> {
    let colour = if report.gets_traffic { Colour::Good } else { Colour::Bad };
    let mut lines = vec![Cell::coloured(&report.answer, colour).into()];
    lines.extend(noted(&report.notes));
    let left_out = report.instances.len().saturating_sub(INSTANCES_SHOWN_MAX);
    for about in report.instances.iter().take(INSTANCES_SHOWN_MAX) {
        let colour = match (about.gets_traffic, about.doubtful) {
            (true, false) => Colour::Good,
            (true, true) => Colour::Doubtful,
            (false, _) => Colour::Bad,
        };
        // The answer about a single instance that was asked for is the first line.
        if about.answer != report.answer {
            lines.push(Cell::from("").into());
            lines.push(Cell::coloured(&about.answer, colour).into());
        }
        lines.extend(noted(&about.notes));
        lines.extend(told(&about.changes));
    }
    if left_out > 0 {
        lines.push(Cell::from("").into());
        lines.push(Cell::from(format!("{left_out} more instances: homeroom why SERVICE/ID")).into());
    }
    lines.extend(told(&report.changes));
    lines
}

fn noted(notes: &[String]) -> impl Iterator<Item = Line> {
    notes.iter().map(|note| Cell::from(format!("  {note}")).into())
}

fn told(changes: &[Change]) -> impl Iterator<Item = Line> {
    let head = (!changes.is_empty()).then(|| Line::from(Cell::from("  its last changes:")));
    head.into_iter()
        .chain(changes.iter().map(|change| events::line(change).indented("    ")))
}

fn value(target: &Target, report: &Report, output: &Output) -> serde_json::Value {
    let changes = |changes: &[Change]| -> Vec<_> {
        let changes = changes.iter();
        changes
            .map(|change| output.to_value("homeroom.registry.v1.Change", change))
            .collect()
    };
    let about = |about: &About| {
        json!({
            "id": about.id,
            "getsTraffic": about.gets_traffic,
            "doubtful": about.doubtful,
            "answer": about.answer,
            "notes": about.notes,
            "changes": changes(&about.changes),
        })
    };
    json!({
        "target": target.to_string(),
        "getsTraffic": report.gets_traffic,
        "answer": report.answer,
        "notes": report.notes,
        "instances": report.instances.iter().map(about).collect::<Vec<_>>(),
        "changes": changes(&report.changes),
    })
}

#[cfg(test)]
mod tests;

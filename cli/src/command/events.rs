//! `events`: what changed, when, why and by whom.

use homeroom::{
    process::complain,
    proto::registry::v1::{
        Change, ChangeCause, GetStatusRequest, ListChangesRequest, WatchChangesRequest, WatchChangesResponse,
    },
};
use tonic::Status;

use super::{again::and_again, services::state};
use crate::{
    args::{Events, Target},
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Line, Output},
    time,
};

/// Shows the last changes, oldest first, and goes on with new ones when asked to.
///
/// # Errors
/// [`Failure::Negative`] when there is none; when the registry cannot be asked.
pub async fn run(client: &Client, output: &Output, events: &Events) -> Result<(), Failure> {
    let wanted = usize::try_from(events.lines).unwrap_or(usize::MAX);
    if !events.follow {
        let (changes, _) = newest(client, events.target.as_ref(), wanted).await?;
        if changes.is_empty() && wanted > 0 {
            return Err(Failure::Negative("the registry holds no such change".to_owned()));
        }
        return write(output, &changes);
    }
    // Changes after this one are in the list or yet to come; those before it, that are not in the list, are of others.
    let status = client
        .registry()
        .get_status(client.request(GetStatusRequest {}))
        .await?;
    let status = status.into_inner();
    let (changes, epoch) = newest(client, events.target.as_ref(), wanted.max(1)).await?;
    let last = changes.last().map_or(0, |change| change.revision);
    let asked_at = if epoch == status.epoch { status.revision } else { 0 };
    write(output, &changes[changes.len().saturating_sub(wanted)..])?;
    let mut follower = Follower {
        target: events.target.as_ref(),
        revision: last.max(asked_at),
        epoch,
    };
    and_again(async || follower.follow(client, output).await).await
}

/// The newest changes, oldest first, and their epoch.
pub(super) async fn newest(
    client: &Client,
    target: Option<&Target>,
    wanted: usize,
) -> Result<(Vec<Change>, u64), Failure> {
    let (service, id) = fields(target);
    let mut changes = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = client.request(ListChangesRequest {
            service: service.clone(),
            id: id.clone(),
            page_size: i32::try_from(wanted - changes.len()).unwrap_or(i32::MAX),
            page_token,
        });
        let page = client.registry().list_changes(request).await?.into_inner();
        changes.extend(page.changes);
        page_token = page.next_page_token;
        if page_token.is_empty() || changes.len() >= wanted {
            changes.truncate(wanted);
            changes.reverse();
            return Ok((changes, page.epoch));
        }
    }
}

fn fields(target: Option<&Target>) -> (String, String) {
    let id = target.and_then(|target| target.id.as_ref());
    (
        target.map(|target| target.service.to_string()).unwrap_or_default(),
        id.map(ToString::to_string).unwrap_or_default(),
    )
}

/// Follows the changes after a position, and finds its place again when the registry comes back.
struct Follower<'t> {
    target: Option<&'t Target>,
    revision: u64,
    epoch: u64,
}

impl Follower<'_> {
    /// Follows one stream to its end. Tells whether it was opened, and why it ended.
    async fn follow(&mut self, client: &Client, output: &Output) -> Result<(bool, Status), Failure> {
        let (service, id) = fields(self.target);
        let request = WatchChangesRequest {
            service,
            id,
            revision: self.revision,
            epoch: self.epoch,
        };
        let mut stream = match client.registry().watch_changes(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Ok((false, status)),
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) => self.show(output, &message)?,
                Ok(None) => return Ok((true, Status::unavailable("the registry ended the stream"))),
                Err(status) => return Ok((true, status)),
            }
        }
    }

    fn show(&mut self, output: &Output, message: &WatchChangesResponse) -> Result<(), Failure> {
        if message.gap {
            complain("homeroom: changes are missing here: the registry does not hold them any more");
        }
        if message.epoch != self.epoch {
            (self.epoch, self.revision) = (message.epoch, 0);
        }
        write(output, &message.changes)?;
        self.revision = message.changes.last().map_or(self.revision, |change| change.revision);
        Ok(())
    }
}

fn write(output: &Output, changes: &[Change]) -> Result<(), Failure> {
    for change in changes {
        output.item("homeroom.registry.v1.Change", change, |change| vec![line(change)])?;
    }
    Ok(())
}

/// `TIME  REVISION  CAUSE  SERVICE/ID  STATE  DETAIL  by ACTOR`
pub(super) fn line(change: &Change) -> Line {
    let name = change.cause().as_str_name().trim_start_matches("CHANGE_CAUSE_");
    let colour = match change.cause() {
        ChangeCause::Registered | ChangeCause::Recovered => Colour::Good,
        ChangeCause::ProbeFailed | ChangeCause::Evicted | ChangeCause::LeaseExpired | ChangeCause::Braked => {
            Colour::Bad
        }
        _ => Colour::Doubtful,
    };
    let time = change.time.map(time::second).unwrap_or_default();
    let now = match &change.instance {
        Some(instance) => state(&instance.health.clone().unwrap_or_default()),
        None => Cell::from("gone"),
    };
    Line::from(vec![
        Cell::from(format!("{time}  {}", change.revision)),
        Cell::coloured(format!("{name:12}"), colour),
        Cell::from(format!("{}/{}", change.service, change.id)),
        now,
        Cell::from(format!("{} (by {})", change.detail, change.actor)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_line_that_steers_no_terminal() {
        let change = Change {
            revision: 7,
            time: Some(prost_types::Timestamp { seconds: 0, nanos: 9 }),
            service: "grades".to_owned(),
            id: "a".to_owned(),
            cause: ChangeCause::Evicted.into(),
            detail: "unreachable\x1b[2J".to_owned(),
            actor: "registry".to_owned(),
            instance: None,
        };
        assert_eq!(
            line(&change).text(false),
            "1970-01-01T00:00:00Z  7  EVICTED       grades/a  gone  unreachable\\u{1b}[2J (by registry)\n"
        );
    }
}

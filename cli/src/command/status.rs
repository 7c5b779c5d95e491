//! `status`: how the registry and Log are.

mod log;
mod registry;

use homeroom::proto::{log::v1 as log_proto, registry::v1 as registry_proto};

pub(super) use self::registry::{now, problems};
use crate::{
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Line, Output},
};

/// Tells how the registry is, and how Log is when there is one.
///
/// # Errors
/// [`Failure::Answered`] when something keeps one of them from working as it should; when one cannot be asked.
pub async fn run(client: &Client, output: &Output) -> Result<(), Failure> {
    let request = client.request(registry_proto::GetStatusRequest {});
    let status = client.registry().get_status(request).await?.into_inner();
    output.item("homeroom.registry.v1.GetStatusResponse", &status, registry::lines)?;
    let mut sound = problems(&status).is_empty();
    match client.log().await {
        Ok(mut log) => {
            let request = client.request(log_proto::GetStatusRequest {});
            let status = log.get_status(request).await?.into_inner();
            output.item("homeroom.log.v1.GetStatusResponse", &status, log::lines)?;
            sound &= log::is_sound(&status);
        }
        Err(Failure::Connect(cause)) if !output.is_json() => {
            output.lines(&[coloured("log", cause, Colour::Doubtful)])?;
        }
        Err(Failure::Connect(_)) => {}
        Err(failure) => return Err(failure),
    }
    match sound {
        true => Ok(()),
        false => Err(Failure::Answered),
    }
}

fn plain(name: &str, text: impl AsRef<str>) -> Line {
    coloured(name, text, Colour::Plain)
}

fn coloured(name: &str, text: impl AsRef<str>, colour: Colour) -> Line {
    Cell::coloured(text, colour).within(&format!("{name:9}"), "")
}

//! Streams that are opened again when they were lost, as somebody who watches a screen expects.

use std::time::Duration;

use homeroom::{backoff::Backoff, process::complain};
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::failure::Failure;

/// Between two tries to open a stream.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Follows one stream after the other, and says once when one was lost. `follow` goes on where the last one ended; it
/// tells whether its stream was opened, and why it ended.
///
/// # Errors
/// What asking again cannot help against.
pub(super) async fn and_again(mut follow: impl AsyncFnMut() -> Result<(bool, Status), Failure>) -> Result<(), Failure> {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut known_lost = false;
    loop {
        let (opened, lost) = follow().await?;
        if opened {
            backoff.reset();
            known_lost = false;
        }
        if !is_temporary(&lost) {
            return Err(lost.into());
        }
        if !std::mem::replace(&mut known_lost, true) {
            complain(&format!("homeroom: {}; coming back to it", lost.message()));
        }
        sleep(backoff.next_delay()).await;
    }
}

/// Whether asking again may help: the service is away, stops, or is full.
fn is_temporary(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::InvalidArgument | Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(is_temporary(&Status::unavailable("")) && is_temporary(&Status::resource_exhausted("")));
        assert!(!is_temporary(&Status::unimplemented("")) && !is_temporary(&Status::invalid_argument("")));
    }
}

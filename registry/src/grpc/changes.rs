//! Changes with their causes, as they are made: a reader has a position in the history and no queue.

use std::sync::Arc;

use futures_util::{Stream, stream};
use homeroom::{
    model::{self, Epoch, InstanceKey, InvalidField, Revision, ServiceName},
    proto::registry::v1::{WatchChangesRequest, ready::WatchChangesResponse},
    shutdown::Shutdown,
};
use tokio::sync::watch;

use crate::{
    engine::Engine,
    error::Error,
    store::{State, Store},
    watch::{Guard, Scope},
};

/// A message ends when it has this many bytes: few enough that a reader which stopped costs little.
const PART_BYTES_MAX: usize = 32 * 1024;
/// How many changes are looked at before others may use the catalog: some tens of microseconds.
const SCANNED_MAX: usize = 1_000;

/// Whose changes somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ChangeFilter {
    service: Option<ServiceName>,
    key: Option<InstanceKey>,
}

impl ChangeFilter {
    /// Reads the fields `service` and `id`, each empty for all.
    pub(super) fn parse(service: &str, id: &str) -> Result<Self, InvalidField> {
        match (service, id) {
            ("", "") => Ok(Self::default()),
            ("", _) => Err(InvalidField::new("id", "must come with `service`")),
            (service, "") => Ok(Self {
                service: Some(ServiceName::parse("service", service)?),
                key: None,
            }),
            (service, id) => Ok(Self {
                service: None,
                key: Some(InstanceKey::parse(service, id)?),
            }),
        }
    }

    /// Whether a change is wanted.
    pub(super) fn matches(&self, change: &model::Change) -> bool {
        let key = change.key();
        self.service.as_ref().is_none_or(|service| key.service == *service)
            && self.key.as_ref().is_none_or(|wanted| key == wanted)
    }

    fn scope(&self) -> Scope {
        let service = self.key.as_ref().map(|key| &key.service).or(self.service.as_ref());
        Scope::services(service.cloned().into_iter().collect(), true)
    }
}

/// Where a reader is. Pure.
#[derive(Debug)]
struct Cursor {
    filter: ChangeFilter,
    /// The last revision that it was told of, or that is not for it.
    revision: Revision,
    /// Whether changes that it was to be told of are gone.
    gap: bool,
}

/// What a look at the history found.
#[derive(Debug, Default)]
struct Found {
    changes: Vec<Arc<model::Change>>,
    /// The last revision that was looked at.
    looked_at: Revision,
    /// Whether that is the last one.
    at_end: bool,
}

impl Cursor {
    /// After the position that the caller holds; after the newest change when it holds none.
    fn new(filter: ChangeFilter, position: Option<(Revision, Epoch)>, state: &State) -> Self {
        let (revision, gap) = match position {
            None => (state.catalog.revision(), false),
            Some((revision, epoch)) if epoch == state.catalog.epoch() && state.history.since(revision).is_some() => {
                (revision, false)
            }
            Some(_) => (state.history.start(), true),
        };
        Self { filter, revision, gap }
    }

    fn look(&mut self, state: &State) -> Found {
        if state.history.since(self.revision).is_none() {
            self.revision = state.history.start();
            self.gap = true;
        }
        let missed = state.history.since(self.revision).into_iter().flatten();
        let mut found = Found {
            looked_at: self.revision,
            ..Default::default()
        };
        for change in missed.take(SCANNED_MAX) {
            found.looked_at = change.revision;
            if self.filter.matches(change) {
                found.changes.push(change.clone());
            }
        }
        found.at_end = found.looked_at == state.catalog.revision();
        found
    }

    /// The next message, if there is anything to say, and whether the reader is up to date then.
    fn next(&mut self, found: Found) -> (Option<WatchChangesResponse>, bool) {
        let mut message = WatchChangesResponse {
            gap: std::mem::take(&mut self.gap),
            ..Default::default()
        };
        let mut size_bytes = 0;
        for change in found.changes {
            if size_bytes >= PART_BYTES_MAX {
                return (Some(message), false);
            }
            self.revision = change.revision;
            let change = change.encode_to_vec();
            size_bytes += change.len();
            message.changes.push(change);
        }
        self.revision = found.looked_at;
        let says = message.gap || !message.changes.is_empty();
        (says.then_some(message), found.at_end)
    }
}

struct Reader {
    store: Arc<Store>,
    revisions: watch::Receiver<Revision>,
    cursor: Cursor,
    epoch: Epoch,
    shutdown: Shutdown,
    up_to_date: bool,
    /// Counts it among the watches.
    _guard: Guard,
}

/// Opens a stream of changes. Ends with [`Error::Draining`] at `shutdown`.
///
/// # Errors
/// [`Error::TooManyWatchers`]; a filter that is none.
pub(super) fn messages(
    engine: &Engine,
    request: &WatchChangesRequest,
    shutdown: Shutdown,
) -> Result<impl Stream<Item = Result<WatchChangesResponse, Error>> + use<>, Error> {
    let filter = ChangeFilter::parse(&request.service, &request.id)?;
    let position = (request.epoch != 0).then_some((Revision(request.revision), Epoch(request.epoch)));
    let store = engine.store.clone();
    let epoch = store.read(|state| state.catalog.epoch());
    let guard = engine.watches.open(&filter.scope(), false)?;
    let reader = Reader {
        revisions: store.revisions(),
        cursor: store.read(|state| Cursor::new(filter, position, state)),
        store,
        epoch,
        shutdown,
        up_to_date: false,
        _guard: guard,
    };
    Ok(stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(message) => Some((Ok(message), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl Reader {
    async fn next(&mut self) -> Result<WatchChangesResponse, Error> {
        loop {
            if self.up_to_date {
                tokio::select! {
                    () = self.shutdown.cancelled() => return Err(Error::Draining),
                    // The store lives as long as this reader holds it.
                    _ = self.revisions.changed() => {}
                }
            } else if self.shutdown.is_cancelled() {
                return Err(Error::Draining);
            }
            // Marked before looking, so that nothing that happens in between is missed.
            self.revisions.mark_unchanged();
            let found = self.store.read(|state| self.cursor.look(state));
            let (message, up_to_date) = self.cursor.next(found);
            self.up_to_date = up_to_date;
            if let Some(message) = message {
                return Ok(WatchChangesResponse {
                    epoch: self.epoch.0,
                    ..message
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Logs and traces: who speaks, in which trace, and how it gets to the Log service.
//!
//! [`context`] carries the origin and the trace of the running task; a layer turns events into entries, and the calls
//! that the [listener](crate::listener) serves and the [channels](crate::balance) make become spans, which are entries
//! too. [`Telemetry`] brings them to Log, or to stderr while Log is away; [`words`] is how people read them.
//!
//! Every call belongs to a trace, and a [`Sampler`] says which ones are recorded as spans. Calls that keep the mesh going
//! (health checks, reflection, everything of the registry) and those that carry telemetry begin no recorded trace, so
//! that a mesh with nothing to do is quiet. What the shipper does leaves neither entries nor spans.

pub mod context;
mod conventions;
mod identity;
mod layer;
mod queue;
mod recorder;
mod sampling;
mod settings;
mod shipper;
pub(crate) mod span;
mod trace;
pub mod words;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::{instrument::WithSubscriber, level_filters::LevelFilter, subscriber::NoSubscriber};
use tracing_subscriber::{
    Layer,
    filter::{ParseError, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

pub(crate) use self::recorder::Recorder;
pub use self::{
    context::{Context, Origin},
    sampling::Sampler,
    settings::{QueuePolicy, QueueSettings, Settings},
    trace::TraceContext,
};
use self::{
    identity::Identity,
    queue::{Entries, queue},
    shipper::{Shipper, print_all, print_queued},
};
use crate::balance::Channel;

/// The transports under the mesh speak only of trouble: what they do for the shipper must not feed it.
const QUIET_TARGETS: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "sqlx"];

/// Sets up telemetry for this process: events of level INFO and above, and spans, go to Log once [`Telemetry::ship`]
/// knows where that is, and events of level WARN and above to stderr. The transports under the mesh stay at WARN unless
/// the settings name them.
///
/// # Errors
/// When the levels cannot be read, or the process has a subscriber already.
pub fn init(settings: &Settings) -> Result<Telemetry, String> {
    let targets = targets(settings)?;
    let (queue, entries) = queue(settings.queue);
    let sampler = (!settings.disabled).then_some(settings.sampler);
    tracing_subscriber::registry()
        .with(layer::Queueing::new(Recorder::new(queue, sampler)).with_filter(targets))
        .try_init()
        .map_err(|error| error.to_string())?;
    Ok(Telemetry::new(entries, settings.clone()))
}

fn targets(settings: &Settings) -> Result<Targets, String> {
    if settings.disabled {
        return Ok(Targets::new().with_default(LevelFilter::WARN));
    }
    let levels = settings.levels.as_deref().unwrap_or("info");
    let targets: Targets = levels.parse().map_err(|error: ParseError| error.to_string())?;
    let named = |quiet: &str| targets.iter().any(|(target, _)| target == quiet);
    let quiet = QUIET_TARGETS.into_iter().filter(|quiet| !named(quiet));
    let quiet: Vec<_> = quiet.map(|quiet| (quiet, LevelFilter::WARN)).collect();
    Ok(targets.with_targets(quiet))
}

/// The telemetry of this process: entries are queued from the start, and shipped from [`Telemetry::ship`] on.
#[derive(Debug)]
pub struct Telemetry {
    settings: Settings,
    entries: Option<Entries>,
    shipper: Option<(watch::Sender<Option<Instant>>, JoinHandle<()>)>,
}

impl Telemetry {
    fn new(entries: Entries, settings: Settings) -> Self {
        Self {
            settings,
            entries: Some(entries),
            shipper: None,
        }
    }

    /// Starts to ship to `log`: what no task's context names the origin of, under `origin` or what the settings say
    /// instead. The first call counts, later ones do nothing.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn ship(&mut self, log: Channel, origin: Origin) {
        let Some(entries) = self.entries.take() else {
            return;
        };
        let identity = Identity::new(origin, &self.settings);
        let (stop, stopped) = watch::channel(None);
        let run: BoxFuture<'static, ()> = if self.settings.disabled {
            Box::pin(print_all(entries, identity, stopped))
        } else {
            Box::pin(Shipper::new(entries, log, identity).run(stopped))
        };
        // What the shipper itself causes must not become entries: it would never come to an end.
        let run = run.with_subscriber(NoSubscriber::new());
        self.shipper = Some((stop, tokio::spawn(run)));
    }

    /// Ships or prints what is queued, and stops. Entries after that are lost; gives up after `patience`, of which a
    /// quarter is left for printing what Log has not taken until then.
    pub async fn flush(self, patience: Duration) {
        match (self.shipper, self.entries) {
            (Some((stop, mut shipper)), _) => {
                stop.send_replace(Some(Instant::now() + patience * 3 / 4));
                if timeout(patience, &mut shipper).await.is_err() {
                    shipper.abort();
                }
            }
            (None, Some(entries)) => drop(print_queued(&entries, None).await),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! What the spans of this process go to.

use super::{
    conventions,
    layer::Queueing,
    queue::{Counters, Queue},
    sampling::Sampler,
    trace::TraceContext,
};

/// Decides which calls are recorded, and takes their spans. Clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    queue: Queue,
    sampler: Option<Sampler>,
}

impl Recorder {
    /// A recorder that decides by `sampler`, or leaves calls as they are.
    pub(super) fn new(queue: Queue, sampler: Option<Sampler>) -> Self {
        Self { queue, sampler }
    }

    /// Asks the recorder of the running code, which is part of its subscriber: so what the shipper does, which has none,
    /// leaves no spans. `None` where there is no telemetry.
    pub(crate) fn current<T>(ask: impl Fn(&Self) -> T) -> Option<T> {
        tracing::dispatcher::get_default(|dispatch| {
            dispatch.downcast_ref::<Queueing>().map(|layer| ask(layer.recorder()))
        })
    }

    /// Whether there are spans in this process at all.
    pub(super) fn decides(&self) -> bool {
        self.sampler.is_some()
    }

    /// Whether a call at this position is recorded; `None` where nobody decides.
    pub(super) fn decide(&self, parent: Option<TraceContext>, trace: TraceContext, path: &str) -> Option<bool> {
        let sampled = self.sampler?.samples(parent, trace);
        // A sampler that does not ask the caller may record what the caller does not: the trace begins here then, too.
        let begins = !parent.is_some_and(TraceContext::is_sampled);
        Some(sampled && (!begins || conventions::begins_trace(path)))
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// How many entries wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many may wait.
    pub(crate) fn waiting_max(&self) -> usize {
        self.queue.settings().entries_max
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.queue.counters()
    }
}

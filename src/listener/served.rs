//! What a listener serves, and what it counts.

use std::sync::Arc;

use tonic::service::Routes;

use crate::metrics::{Call, CallMetrics, Metrics};

/// What a listener serves: routes, with metrics or without.
#[derive(Debug, Clone)]
pub struct Served {
    pub(super) routes: Routes,
    counted: Option<(Metrics, Arc<CallMetrics>)>,
    pub(super) together: bool,
}

impl Served {
    /// Serves routes, and the metrics; counts the calls of these services, whose methods the encoded
    /// `FileDescriptorSet`s tell. To be called once for the same metrics.
    pub fn with_metrics(routes: Routes, metrics: Metrics, services: &[&str], descriptors: &[&[u8]]) -> Self {
        let calls = CallMetrics::register(&metrics, services, descriptors);
        Self {
            routes,
            counted: Some((metrics, calls)),
            together: false,
        }
    }

    /// Runs the calls of a connection in one task, when `together`, and sends what they write at once together: for
    /// servers of many streams, whose handlers compute little. Default: each call has a task.
    #[must_use]
    pub fn together(self, together: bool) -> Self {
        Self { together, ..self }
    }

    /// Makes calls cheaper.
    pub(super) fn prepare(self) -> Self {
        Self {
            routes: self.routes.prepare(),
            ..self
        }
    }

    pub(super) fn metrics(&self) -> Option<&Metrics> {
        self.counted.as_ref().map(|(metrics, _)| metrics)
    }

    /// Counts a call that begins.
    pub(super) fn start(&self, path: &str) -> Option<Call> {
        self.counted.as_ref().map(|(_, calls)| calls.start(path))
    }
}

impl From<Routes> for Served {
    fn from(routes: Routes) -> Self {
        Self {
            routes,
            counted: None,
            together: false,
        }
    }
}

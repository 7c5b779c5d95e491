//! What a listener serves, and what it counts.

use std::{io, sync::Arc};

use tonic::service::Routes;

use super::cores::Cores;
use crate::metrics::{Call, CallMetrics, Metrics};

/// Where the calls of a connection run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Placement {
    /// Each in a task of its own, by whichever worker of the runtime is free.
    #[default]
    Apart,
    /// In one task, whose calls send at once what they write at once: for servers of many streams, whose handlers compute
    /// little.
    Together,
    /// In one task, and all tasks of a connection on one of as many threads as there are processors: for servers that
    /// answer once a thread of their own has done something, and whose handlers never block.
    ThreadPerCore,
}

/// What a listener serves: routes, with metrics or without.
#[derive(Debug, Clone)]
pub struct Served {
    pub(super) routes: Routes,
    counted: Option<(Metrics, Arc<CallMetrics>)>,
    placement: Placement,
    cores: Option<Arc<Cores>>,
}

impl Served {
    /// Serves routes, and the metrics; counts the calls of these services, whose methods the encoded
    /// `FileDescriptorSet`s tell. To be called once for the same metrics.
    pub fn with_metrics(routes: Routes, metrics: Metrics, services: &[&str], descriptors: &[&[u8]]) -> Self {
        let calls = CallMetrics::register(&metrics, services, descriptors);
        Self {
            routes,
            counted: Some((metrics, calls)),
            placement: Placement::default(),
            cores: None,
        }
    }

    /// Says where calls run.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn placed(self, placement: Placement) -> io::Result<Self> {
        let cores = (placement == Placement::ThreadPerCore).then(Cores::start).transpose()?;
        Ok(Self {
            placement,
            cores: cores.map(Arc::new),
            ..self
        })
    }

    /// Makes calls cheaper.
    pub(super) fn prepare(self) -> Self {
        Self {
            routes: self.routes.prepare(),
            ..self
        }
    }

    /// Whether the calls of a connection are one task.
    pub(super) fn is_together(&self) -> bool {
        self.placement != Placement::Apart
    }

    /// The threads that connections run on, unless they run on the workers of the runtime.
    pub(super) fn cores(&self) -> Option<&Cores> {
        self.cores.as_deref()
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
            placement: Placement::default(),
            cores: None,
        }
    }
}

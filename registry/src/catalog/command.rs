//! What is asked of a catalog, and what came of it.

use std::{net::IpAddr, sync::Arc};

use homeroom::model::{Change, Health, Incarnation, Instance, InstanceKey, Registration};

/// Something that may change the catalog.
#[derive(Debug, Clone)]
pub enum Command {
    /// An instance registers, or renews the registration that it holds.
    Register {
        /// What it says of itself.
        registration: Arc<Registration>,
        /// The registration that it renews.
        renews: Option<Incarnation>,
        /// Who asks.
        actor: Arc<str>,
        /// The host that asks.
        registrant: Option<IpAddr>,
    },
    /// An instance is hidden before it leaves.
    Drain(Departure),
    /// An instance leaves.
    Deregister(Departure),
    /// A probe has found something out.
    Observe {
        /// The registration that was probed; another one of the same id is not touched.
        registration: Arc<Registration>,
        /// What is known now.
        health: Health,
    },
    /// An instance has been unreachable for too long.
    Evict {
        /// The registration that was probed; another one of the same id is not touched.
        registration: Arc<Registration>,
    },
    /// The registry was started again, with the instance as it was last seen.
    Restore {
        /// The registration that was restored; another one of the same id is not touched.
        registration: Arc<Registration>,
    },
}

/// Who leaves.
#[derive(Debug, Clone)]
pub struct Departure {
    /// The instance.
    pub key: InstanceKey,
    /// The registration that is to end; `None` for whichever stands.
    pub incarnation: Option<Incarnation>,
    /// Who asks.
    pub actor: Arc<str>,
}

/// What a command did.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The changes, in order; none when everything was so already.
    pub changes: Vec<Arc<Change>>,
    /// The instance as it stands now, or stood last.
    pub instance: Option<Arc<Instance>>,
    /// Whether the instance has a new incarnation without a change: its content was registered again.
    pub reaffirmed: bool,
}

impl Applied {
    /// Whether the catalog stays as it is.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.reaffirmed
    }
}

//! What telemetry can be told.

use std::collections::BTreeMap;

use super::sampling::Sampler;

/// How the telemetry of a process works. The default is that of [`config::TelemetryArgs`](crate::config::TelemetryArgs)
/// without any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which events go to Log, as in `info,grades=debug`; `None` for those of level INFO and above.
    pub levels: Option<String>,
    /// What waits to be shipped.
    pub queue: QueueSettings,
    /// Which calls are recorded as spans.
    pub sampler: Sampler,
    /// Whether nothing goes to Log, and no spans are made. What people must see is still printed.
    pub disabled: bool,
    /// The service of entries that come from no instance; `None` for what the process calls itself.
    pub service: Option<String>,
    /// The instance of these entries; `None` for what the process calls itself.
    pub instance: Option<String>,
    /// What every entry says of the process besides.
    pub resource: BTreeMap<String, String>,
}

/// The queue between those who log and the shipper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// How many entries it holds. Default 8,192: at a few hundred bytes each, a process whose Log is slow holds a few
    /// megabytes.
    pub entries_max: usize,
    /// What happens to an entry beyond.
    pub policy: QueuePolicy,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            entries_max: 8_192,
            policy: QueuePolicy::default(),
        }
    }
}

/// What happens to an entry that the queue has no room for. Whatever is dropped is counted, and reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QueuePolicy {
    /// It is dropped.
    #[default]
    DropNewest,
    /// It takes the place of the oldest one, which is dropped.
    DropOldest,
    /// Its thread waits for room, at most a second, and drops it then. Once that has happened nobody waits until there is
    /// room again, so that a Log that is stuck costs a thread a second and not one for each entry. On a runtime of one
    /// thread, where the shipper cannot run meanwhile, nobody waits.
    Block,
}

impl QueuePolicy {
    /// The policy of this name: `drop-newest`, `drop-oldest` or `block`.
    ///
    /// # Errors
    /// What is allowed.
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "drop-newest" => Ok(Self::DropNewest),
            "drop-oldest" => Ok(Self::DropOldest),
            "block" => Ok(Self::Block),
            _ => Err("must be drop-newest, drop-oldest or block".to_owned()),
        }
    }
}

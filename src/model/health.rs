//! How the registry learns of an instance's health, and what it knows of it.

use std::{
    borrow::Cow,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

/// How the registry learns that an instance is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheckMode {
    /// It probes it.
    Probe,
    /// The instance renews a lease.
    Lease,
}

/// How the registry learns of an instance's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Whether it is probed or holds a lease.
    pub mode: HealthCheckMode,
    /// The name asked of the instance's health service; empty for the whole server.
    pub service: String,
    /// The time between two probes.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// How many silent probes in a row hide the instance.
    pub attempts: u32,
    /// How long an instance may be unreachable before it is evicted.
    pub deregister_after: Duration,
    /// How long a lease lasts after each renewal.
    pub ttl: Duration,
}

impl HealthCheck {
    /// A health name is a gRPC service name.
    pub const SERVICE_BYTES_MAX: usize = 256;
    /// Below it, probes cost more than they tell; above it, nobody would call the view fresh.
    pub const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
    /// A probe is one small message.
    pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);
    /// More attempts than this are a longer interval.
    pub const ATTEMPTS: RangeInclusive<u32> = 1..=20;
    /// From a test's patience to a holiday's.
    pub const DEREGISTER_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);
    /// Below it, one late renewal hides an instance; above it, nobody would call the view fresh.
    pub const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            mode: HealthCheckMode::Probe,
            service: String::new(),
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(3),
            attempts: 3,
            deregister_after: Duration::from_secs(24 * 3600),
            ttl: Duration::from_secs(15),
        }
    }
}

/// What the registry knows of an instance's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// When the state was entered.
    pub since: SystemTime,
    /// Why it is in this state.
    pub reason: HealthReason,
    /// The reason in words, most often the same for many instances.
    pub detail: Cow<'static, str>,
    /// Whether the last probe was silent though the state still stands.
    pub suspect: bool,
    /// Whether a probe or a renewal has confirmed the state since the registry started.
    pub verified: bool,
}

impl Health {
    /// The health of an instance that no probe has seen yet.
    pub fn not_probed(now: SystemTime) -> Self {
        Self {
            state: HealthState::Unknown,
            since: now,
            reason: HealthReason::NotProbed,
            detail: "no probe has ended yet".into(),
            suspect: false,
            verified: false,
        }
    }
}

/// What an instance does with new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// No probe has ended yet.
    Unknown,
    /// It takes them.
    Serving,
    /// It answers that it takes none.
    NotServing,
    /// It refuses, or has been silent for all its attempts.
    Unreachable,
    /// It is being drained before it is deregistered.
    Draining,
}

/// Why an instance is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthReason {
    /// No probe has ended yet.
    NotProbed,
    /// The instance answered SERVING.
    Serving,
    /// The instance answered NOT_SERVING.
    NotServing,
    /// The connection was refused or reset.
    Refused,
    /// Nothing answered in time, or the host could not be reached or found.
    Timeout,
    /// What answers does not speak HTTP/2.
    NotHttp2,
    /// The server has no `grpc.health.v1.Health`.
    NoHealthService,
    /// The health service does not know the name asked for.
    HealthNameUnknown,
    /// The health service answered with an error.
    Error,
    /// A drain was asked for.
    Draining,
    /// The TLS handshake failed.
    TlsFailed,
    /// The instance holds a lease.
    LeaseHeld,
    /// The lease was not renewed in time.
    LeaseExpired,
    /// The address leads to a host that the registrant may not have probed.
    ProbeNotAllowed,
}

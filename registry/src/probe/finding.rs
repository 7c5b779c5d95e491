//! What a probe or a lease tells, and what that makes of an instance's health. Pure.

use std::{
    borrow::Cow,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use homeroom::model::{Health, HealthReason, HealthState};

/// What a probe or a lease tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// The instance answered SERVING.
    Serving,
    /// The instance answered NOT_SERVING.
    NotServing,
    /// The server has no health service.
    NoHealthService,
    /// The health service does not know the name asked for.
    HealthNameUnknown(String),
    /// The health service answered with an error.
    Error(String),
    /// The connection was refused or reset.
    Refused(String),
    /// What answers does not speak HTTP/2.
    NotHttp2(String),
    /// What answers speaks TLS.
    SpeaksTls(String),
    /// The address leads to this host, which the registrant may not have probed.
    NotAllowed(IpAddr),
    /// Nothing answered in time, or the host could not be reached or found.
    Silent(String),
    /// The instance holds a lease.
    LeaseHeld,
    /// The lease, which lasts that long, was not renewed.
    LeaseExpired(Duration),
}

impl Finding {
    /// Whether nothing was heard, which may be the fault of whoever listens.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::LeaseExpired(_))
    }

    /// Whether the instance was heard, whatever it said.
    pub(super) fn is_answer(&self) -> bool {
        use Finding::{Error, HealthNameUnknown, LeaseHeld, NoHealthService, NotServing, Serving};
        matches!(
            self,
            Serving | NotServing | NoHealthService | HealthNameUnknown(_) | Error(_) | LeaseHeld
        )
    }

    /// What it is called where findings are counted.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::NotServing => "not_serving",
            Self::NoHealthService => "no_health_service",
            Self::HealthNameUnknown(_) => "health_name_unknown",
            Self::Error(_) => "error",
            Self::Refused(_) => "refused",
            Self::NotHttp2(_) => "not_http2",
            Self::SpeaksTls(_) => "tls_failed",
            Self::NotAllowed(_) => "not_allowed",
            Self::Silent(_) => "timeout",
            Self::LeaseHeld => "lease_held",
            Self::LeaseExpired(_) => "lease_expired",
        }
    }

    /// What is known now. A refusal or an answer counts at once; silence makes suspect, and counts when it is the last
    /// of its attempts.
    pub(super) fn judge(&self, current: &Health, silent: u32, attempts: u32, now: SystemTime) -> Health {
        let (state, reason) = self.verdict();
        let waiting = self.is_silence() && silent < attempts;
        // Silence of one that is away already, or not seen yet, tells nothing new of its state.
        let state = if waiting { current.state } else { state };
        let alive = matches!(current.state, HealthState::Serving | HealthState::NotServing);
        let health = Health {
            state,
            since: if state == current.state { current.since } else { now },
            reason: if waiting && alive { current.reason } else { reason },
            detail: self.detail(silent, attempts),
            suspect: waiting && alive,
            verified: !waiting || current.verified,
        };
        unless_alike(health, current)
    }

    /// What is known of an instance that stays listed though this would hide it, and why it stays.
    pub(super) fn kept(&self, current: &Health, attempts: u32, why: &str, now: SystemTime) -> Health {
        let state = match current.state {
            HealthState::Unreachable => HealthState::Serving,
            state => state,
        };
        let health = Health {
            state,
            since: if state == current.state { current.since } else { now },
            reason: self.verdict().1,
            detail: format!("{}; {why}", self.detail(attempts, attempts)).into(),
            suspect: true,
            verified: current.verified,
        };
        unless_alike(health, current)
    }

    fn verdict(&self) -> (HealthState, HealthReason) {
        match self {
            Self::Serving => (HealthState::Serving, HealthReason::Serving),
            Self::NotServing => (HealthState::NotServing, HealthReason::NotServing),
            Self::NoHealthService => (HealthState::NotServing, HealthReason::NoHealthService),
            Self::HealthNameUnknown(_) => (HealthState::NotServing, HealthReason::HealthNameUnknown),
            Self::Error(_) => (HealthState::NotServing, HealthReason::Error),
            Self::Refused(_) => (HealthState::Unreachable, HealthReason::Refused),
            Self::NotHttp2(_) => (HealthState::Unreachable, HealthReason::NotHttp2),
            Self::SpeaksTls(_) => (HealthState::Unreachable, HealthReason::TlsFailed),
            Self::NotAllowed(_) => (HealthState::Unreachable, HealthReason::ProbeNotAllowed),
            Self::Silent(_) => (HealthState::Unreachable, HealthReason::Timeout),
            Self::LeaseHeld => (HealthState::Serving, HealthReason::LeaseHeld),
            Self::LeaseExpired(_) => (HealthState::Unreachable, HealthReason::LeaseExpired),
        }
    }

    fn detail(&self, silent: u32, attempts: u32) -> Cow<'static, str> {
        match self {
            Self::Serving => "it answered SERVING".into(),
            Self::NotServing => "it answered NOT_SERVING".into(),
            Self::NoHealthService => "its server has no grpc.health.v1.Health".into(),
            Self::HealthNameUnknown(name) => format!("its health service does not know the name `{name}`").into(),
            Self::Error(cause) => format!("its health service answered with an error: {cause}").into(),
            Self::Refused(cause) => format!("its connection failed: {cause}").into(),
            Self::NotHttp2(cause) => format!("what answers at its address does not speak HTTP/2: {cause}").into(),
            Self::SpeaksTls(cause) => format!("it speaks TLS, the instance is registered without: {cause}").into(),
            Self::NotAllowed(host) => format!(
                "its address leads to {host}, which its registrant may not have probed: see --probe-allow of the registry"
            )
            .into(),
            Self::LeaseHeld => "it holds a lease".into(),
            Self::LeaseExpired(ttl) => format!("its lease was not renewed in {ttl:?}").into(),
            Self::Silent(cause) => format!("silent in {} of {attempts} attempts: {cause}", silent.min(attempts)).into(),
        }
    }
}

/// A change of words alone is no change.
fn unless_alike(health: Health, current: &Health) -> Health {
    let facts = |health: &Health| (health.state, health.reason, health.suspect, health.verified);
    if facts(&health) == facts(current) {
        current.clone()
    } else {
        health
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn serving() -> Health {
        Finding::Serving.judge(&Health::not_probed(at(0)), 0, 3, at(1))
    }

    fn silent() -> Finding {
        Finding::Silent("no answer".to_owned())
    }

    #[test]
    fn the_first_answer_verifies() {
        let health = serving();
        assert_eq!((health.state, health.since), (HealthState::Serving, at(1)));
        assert!(health.verified && !health.suspect);
        assert_eq!(
            Finding::Serving.judge(&health, 0, 3, at(9)),
            health,
            "the same again is no change"
        );
    }

    #[test]
    fn a_refusal_hides_at_once() {
        for finding in [
            Finding::Refused(String::new()),
            Finding::NotHttp2(String::new()),
            Finding::SpeaksTls(String::new()),
            Finding::NotAllowed([10, 0, 0, 1].into()),
        ] {
            let health = finding.judge(&serving(), 0, 3, at(5));
            assert_eq!(
                (health.state, health.since),
                (HealthState::Unreachable, at(5)),
                "{finding:?}"
            );
        }
        for finding in [
            Finding::NotServing,
            Finding::NoHealthService,
            Finding::HealthNameUnknown(String::new()),
            Finding::Error(String::new()),
        ] {
            assert_eq!(
                finding.judge(&serving(), 0, 3, at(5)).state,
                HealthState::NotServing,
                "{finding:?}"
            );
        }
    }

    #[test]
    fn silence_makes_suspect_and_hides_with_its_last_attempt() {
        let mut health = serving();
        for attempt in [1, 2] {
            health = silent().judge(&health, attempt, 3, at(4));
            assert_eq!(
                (health.state, health.suspect),
                (HealthState::Serving, true),
                "attempt {attempt}"
            );
        }
        health = silent().judge(&health, 3, 3, at(5));
        assert_eq!(
            (health.state, health.reason),
            (HealthState::Unreachable, HealthReason::Timeout)
        );
        assert!(!health.suspect);
        assert_eq!(silent().judge(&health, 4, 3, at(6)), health, "it stays so");
    }

    #[test]
    fn an_answer_clears_the_suspicion() {
        let suspect = silent().judge(&serving(), 1, 3, at(4));
        let health = Finding::Serving.judge(&suspect, 0, 3, at(5));
        assert_eq!(
            (health.suspect, health.since),
            (false, at(1)),
            "it was serving all the time"
        );
    }

    #[test]
    fn silence_of_one_that_was_never_seen_says_so_at_once() {
        let health = silent().judge(&Health::not_probed(at(0)), 1, 3, at(3));
        assert_eq!(
            (health.state, health.reason),
            (HealthState::Unknown, HealthReason::Timeout)
        );
        assert!(!health.verified && !health.suspect);
    }

    #[test]
    fn what_the_brake_keeps_is_listed_as_suspect_with_the_reason_to_hide_it() {
        let why = "kept, because 12 of all 12 instances are silent";
        let kept = silent().kept(&serving(), 3, why, at(5));
        assert_eq!(
            (kept.state, kept.since, kept.reason, kept.suspect),
            (HealthState::Serving, at(1), HealthReason::Timeout, true)
        );
        assert!(kept.detail.ends_with(why), "{}", kept.detail);
        assert_eq!(silent().kept(&kept, 3, "other words", at(9)), kept, "it is no change");
        let hidden = silent().judge(&serving(), 3, 3, at(5));
        let restored = silent().kept(&hidden, 3, why, at(6));
        assert_eq!((restored.state, restored.since), (HealthState::Serving, at(6)));
    }
}

//! What some lines hold, as far as it tells what they cannot hold. Pure.

use std::{collections::BTreeSet, sync::Arc};

use crate::entry::{Head, Severity, Time, TraceId};

/// What there is to know of one line before it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) time: Time,
    pub(super) severity: Severity,
    pub(super) is_span: bool,
    pub(super) service: &'a str,
    pub(super) trace: Option<u32>,
}

impl<'a> From<&'a Head<'_>> for Facts<'a> {
    fn from(head: &'a Head<'_>) -> Self {
        Self {
            time: head.time,
            severity: head.severity,
            is_span: head.is_span,
            service: &head.service,
            trace: head.trace_id.as_ref().map(trace_hash),
        }
    }
}

/// The end of a trace id, which is random where any of it is (W3C Trace Context, section 3.2.2.3).
pub(super) fn trace_hash(id: &TraceId) -> u32 {
    id.low()
}

/// What some lines hold.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    /// The least time.
    pub(super) earliest: Time,
    /// The greatest time.
    pub(super) latest: Time,
    /// A bit for each [`Severity`].
    severities: u8,
    has_logs: bool,
    has_spans: bool,
    services: BTreeSet<Arc<str>>,
    /// Of the traces, as they come.
    traces: Vec<u32>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            earliest: Time::MAX,
            latest: Time::MIN,
            severities: 0,
            has_logs: false,
            has_spans: false,
            services: BTreeSet::new(),
            traces: Vec::new(),
        }
    }
}

impl Summary {
    /// Adds a line.
    pub(super) fn note(&mut self, facts: Facts<'_>) {
        self.earliest = self.earliest.min(facts.time);
        self.latest = self.latest.max(facts.time);
        self.severities |= bit(facts.severity);
        self.has_logs |= !facts.is_span;
        self.has_spans |= facts.is_span;
        // Most lines of a block are of one service.
        let is_known = self.services.first().is_some_and(|first| **first == *facts.service);
        if !is_known && !self.services.contains(facts.service) {
            self.services.insert(facts.service.into());
        }
        if let Some(trace) = facts.trace
            && self.traces.last() != Some(&trace)
        {
            self.traces.push(trace);
        }
    }

    /// Adds other lines.
    pub(super) fn join(&mut self, other: &Self) {
        self.earliest = self.earliest.min(other.earliest);
        self.latest = self.latest.max(other.latest);
        self.severities |= other.severities;
        self.has_logs |= other.has_logs;
        self.has_spans |= other.has_spans;
        if self.services != other.services {
            self.services.extend(other.services.iter().cloned());
        }
        self.traces.extend(&other.traces);
    }

    /// Takes no more room than it has to: no line is added from now on. `names` has the services of all that share them.
    pub(super) fn settle(&mut self, names: &mut BTreeSet<Arc<str>>) {
        self.traces.sort_unstable();
        self.traces.dedup();
        self.traces.shrink_to_fit();
        let shared = |name: Arc<str>| {
            let known = names.get(&name).cloned();
            known.unwrap_or_else(|| {
                names.insert(name.clone());
                name
            })
        };
        self.services = std::mem::take(&mut self.services).into_iter().map(shared).collect();
    }

    /// Whether a line has this severity or a worse one.
    pub(super) fn has_severity(&self, least: Severity) -> bool {
        self.severities >= bit(least)
    }

    /// Whether a line is a log record.
    pub(super) fn has_logs(&self) -> bool {
        self.has_logs
    }

    /// Whether a line is a span.
    pub(super) fn has_spans(&self) -> bool {
        self.has_spans
    }

    /// Whether a line is of this service.
    pub(super) fn has_service(&self, service: &str) -> bool {
        self.services.contains(service)
    }

    /// Whether a line may be of this trace.
    pub(super) fn may_have_trace(&self, id: &TraceId) -> bool {
        self.traces.contains(&trace_hash(id))
    }
}

/// The bits rise with the severity.
fn bit(severity: Severity) -> u8 {
    1 << severity as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_knows_each_trace_once_and_shares_the_names_of_services() {
        let mut names = BTreeSet::new();
        let [a, b] = [1, 2].map(|_| {
            let mut summary = Summary::default();
            for (service, trace) in [("a", 2), ("b", 1), ("a", 2), ("b", 1)] {
                summary.note(Facts {
                    time: Time::MIN,
                    severity: Severity::Info,
                    is_span: false,
                    service,
                    trace: Some(trace),
                });
            }
            summary.settle(&mut names);
            summary
        });
        assert_eq!((&a.traces, &b.traces), (&vec![1, 2], &vec![1, 2]));
        assert!(a.has_service("a") && a.has_service("b") && !a.has_service("c"));
        let shared = a.services.iter().zip(&b.services);
        assert_eq!(shared.filter(|(a, b)| Arc::ptr_eq(a, b)).count(), 2);
    }
}

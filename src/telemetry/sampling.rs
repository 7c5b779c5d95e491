//! Which traces are recorded: OpenTelemetry's samplers. Pure.

use super::trace::TraceContext;

/// What decides whether a call is recorded. Default: `parentbased_always_on`, as its caller says, and else always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Whether a caller's decision stands.
    parent_based: bool,
    /// How many of 2^63 traces are recorded.
    share: u64,
}

/// All of them.
const ALL: u64 = 1 << 63;

impl Default for Sampler {
    fn default() -> Self {
        Self {
            parent_based: true,
            share: ALL,
        }
    }
}

impl Sampler {
    /// The sampler of this name (`OTEL_TRACES_SAMPLER`): `always_on`, `always_off` or `traceidratio`, or one of them
    /// behind `parentbased_`. `ratio` is the share of all traces, from 0 to 1, and counts for `traceidratio` only.
    ///
    /// # Errors
    /// What is allowed.
    pub fn named(name: &str, ratio: f64) -> Result<Self, String> {
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let share = match root {
            "always_on" => ALL,
            "always_off" => 0,
            // The cast cuts off what is outside of the range.
            "traceidratio" => (ratio * ALL as f64) as u64,
            _ => {
                return Err(
                    "must be always_on, always_off or traceidratio, or parentbased_ and one of them".to_owned(),
                );
            }
        };
        Ok(Self { parent_based, share })
    }

    /// Whether a call at this position is recorded. It decides by the same bits of the trace id as every OpenTelemetry
    /// SDK, so that those who have the same share choose the same traces.
    pub(super) fn samples(self, parent: Option<TraceContext>, trace: TraceContext) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.is_sampled(),
            _ => trace.low_half() >> 1 < self.share,
        }
    }
}

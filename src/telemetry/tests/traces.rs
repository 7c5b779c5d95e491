use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::super::{
    Sampler, TraceContext,
    trace::{TRACEPARENT, TRACESTATE, trace_state},
};

#[test]
fn a_traceparent_is_read_and_written_as_the_standard_has_it() {
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace: TraceContext = text.parse().expect("the standard's own example");
    assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(trace.span_id(), "b7ad6b7169203331");
    assert_eq!(trace.to_string(), text);
    let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like";
    assert_eq!(later.parse(), Ok(trace));
    for nonsense in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert!(nonsense.parse::<TraceContext>().is_err(), "{nonsense}");
    }
}

#[test]
fn a_child_span_stays_in_its_trace() {
    let trace = TraceContext::start();
    let child = trace.child();
    assert_eq!(child.trace_id(), trace.trace_id());
    assert_ne!(child.span_id(), trace.span_id());
}

fn headers(states: &[&str]) -> HeaderMap {
    let states = states
        .iter()
        .map(|state| HeaderValue::from_str(state).expect("a header value"));
    states.map(|state| (TRACESTATE, state)).collect()
}

#[test]
fn a_tracestate_is_passed_on_as_it_came_and_its_headers_are_joined() {
    let state = |states: &[&str]| trace_state(&headers(states)).map(|state| state.to_str().expect("text").to_owned());
    assert_eq!(state(&[]), None);
    assert_eq!(state(&["a=1, b@c=2,"]).as_deref(), Some("a=1, b@c=2,"));
    assert_eq!(state(&["a=1", "b=2"]).as_deref(), Some("a=1,b=2"));
    let long = format!("a={}", "x".repeat(510));
    assert_eq!(state(&[&long]).as_deref(), Some(&*long));
    for refused in [String::new(), "a".to_owned(), long + "x", vec!["a=1"; 33].join(",")] {
        assert_eq!(state(&[&refused]), None, "{refused}");
    }
}

#[test]
fn of_two_traceparents_neither_counts() {
    let mut headers = HeaderMap::new();
    headers.append(TRACEPARENT, TraceContext::start().header());
    assert!(TraceContext::from_headers(&headers).is_some());
    headers.append(TRACEPARENT, TraceContext::start().header());
    assert_eq!(TraceContext::from_headers(&headers), None);
}

fn sampler(name: &str, ratio: f64) -> Sampler {
    Sampler::named(name, ratio).expect("a sampler")
}

proptest! {
    #[test]
    fn a_trace_context_is_read_as_it_was_written(trace_id in 1_u128.., span_id in 1_u64.., flags in 0_u8..4) {
        let text = format!("00-{trace_id:032x}-{span_id:016x}-{flags:02x}");
        let trace: TraceContext = text.parse().expect("a valid one");
        prop_assert_eq!(trace.to_string(), text.clone());
        prop_assert_eq!(trace.is_sampled(), flags & 1 == 1);
        prop_assert_eq!(trace.child().to_string()[..36].to_owned(), text[..36].to_owned());
        let headers = [(TRACEPARENT, trace.header())].into_iter().collect();
        prop_assert_eq!(TraceContext::from_headers(&headers), Some(trace));
    }

    #[test]
    fn what_is_read_of_any_text_is_written_as_its_beginning_but_for_unknown_flags(text in "[0-9a-f-]{0,60}|\\PC*") {
        if let Ok(trace) = text.parse::<TraceContext>() {
            prop_assert_eq!(&trace.to_string()[3..53], &text[3..53]);
        }
    }

    #[test]
    fn a_larger_share_samples_what_a_smaller_one_does(ratios: [f64; 2], seeds in prop::collection::vec(any::<u64>(), 50)) {
        let [a, b] = ratios.map(|ratio| ratio.abs().fract());
        prop_assume!(a.is_finite() && b.is_finite());
        let (less, more) = (sampler("traceidratio", a.min(b)), sampler("traceidratio", a.max(b)));
        for seed in seeds {
            let text = format!("00-{:032x}-00000000000000ff-00", u128::from(seed).max(1));
            let trace: TraceContext = text.parse().expect("a valid one");
            prop_assert!(!less.samples(None, trace) || more.samples(None, trace));
            prop_assert!(sampler("traceidratio", 1.0).samples(None, trace));
            prop_assert!(!sampler("traceidratio", 0.0).samples(None, trace));
            prop_assert_eq!(
                sampler("traceidratio", 0.5).samples(None, trace),
                seed < 1 << 63,
                "as the SDKs of other languages decide"
            );
        }
    }
}

#[test]
fn a_callers_decision_stands_where_the_sampler_is_based_on_it() {
    let trace = TraceContext::start();
    for caller in [trace.sampled(true), trace.sampled(false)] {
        for root in ["always_on", "always_off", "traceidratio"] {
            let (based, own) = (sampler(&format!("parentbased_{root}"), 1.0), sampler(root, 1.0));
            assert_eq!(based.samples(Some(caller), trace), caller.is_sampled(), "{root}");
            assert_eq!(based.samples(None, trace), root != "always_off");
            assert_eq!(own.samples(Some(caller), trace), root != "always_off");
        }
    }
    for unknown in ["", "on", "parentbased", "parentbased_", "jaeger_remote", "xray"] {
        assert!(Sampler::named(unknown, 1.0).is_err(), "{unknown}");
    }
}

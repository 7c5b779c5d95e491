use std::time::Duration;

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tonic::{Code, Status};

use super::{Call, CallMetrics, Format, Histogram, Metrics};
use crate::testing::Exposition;

fn look(metrics: &Metrics) -> Exposition {
    Exposition::parse(&metrics.text(Format::Prometheus))
}

#[test]
fn both_formats_say_the_same_each_in_its_way() {
    let metrics = Metrics::new();
    let labelled = Family::<[(&str, &str); 1], Counter>::default();
    labelled.get_or_create(&[("who", "a \"b\" \\ \n")]).inc_by(3);
    metrics.register(|registry| {
        registry.register("told", "What was told", labelled);
        registry.register("size", "A size", Gauge::<i64>::default());
    });
    let open = metrics.text(Format::OpenMetrics);
    assert!(
        open.contains("# HELP told What was told.\n# TYPE told counter\ntold_total{who="),
        "{open}"
    );
    assert!(
        open.contains("# TYPE homeroom_build info\nhomeroom_build_info{"),
        "{open}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");
    let plain = metrics.text(Format::Prometheus);
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"), "{plain}");
    let plain = Exposition::parse(&plain);
    assert_eq!(plain.value("told_total", &[("who", "a \"b\" \\ \n")]), 3.0);
    assert_eq!(plain.0["told_total"].help, "What was told.");
    assert_eq!(plain.0["told_total"].kind, "counter");
    assert_eq!(plain.0["size"].kind, "gauge");
    let build = &plain.0["homeroom_build_info"];
    assert_eq!(
        (build.kind.as_str(), build.samples[0].labels["version"].as_str()),
        ("gauge", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn open_metrics_is_for_those_who_ask_for_it() {
    let accepted = |value: &'static str| {
        let value = http::HeaderValue::from_static(value);
        Format::accepted(&[(http::header::ACCEPT, value)].into_iter().collect())
    };
    // What Prometheus 2 and 3 send.
    for asks in [
        "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3",
    ] {
        assert_eq!(accepted(asks), Format::OpenMetrics);
    }
    for does_not in ["*/*", "text/plain", "text/html,application/xhtml+xml"] {
        assert_eq!(accepted(does_not), Format::Prometheus);
    }
    assert_eq!(Format::accepted(&http::HeaderMap::new()), Format::Prometheus);
}

#[test]
fn a_histogram_counts_what_is_at_most_its_bound() {
    let metrics = Metrics::new();
    let histogram = Histogram::new(&[0.001, 1.0]);
    let registered = histogram.clone();
    metrics.register(|registry| registry.register("wait_seconds", "Waits", registered));
    for micros in [0, 1_000, 1_001, 1_000_000, 7_000_000] {
        histogram.observe(Duration::from_micros(micros));
    }
    let seen = look(&metrics);
    for (bound, count) in [("0.001", 2.0), ("1.0", 4.0), ("+Inf", 5.0)] {
        assert_eq!(seen.value("wait_seconds_bucket", &[("le", bound)]), count);
    }
    assert_eq!(seen.value("wait_seconds_count", &[]), 5.0);
    assert!((seen.value("wait_seconds_sum", &[]) - 8.002_001).abs() < 1e-9);
}

#[test]
fn a_gauge_may_be_asked_when_somebody_looks() {
    let metrics = Metrics::new();
    let queue = std::sync::Arc::new(std::sync::Mutex::new(vec![1]));
    let asked = queue.clone();
    metrics.register_gauge("waiting", "How many wait", move || {
        asked.lock().expect("no panic").len()
    });
    assert_eq!(look(&metrics).value("waiting", &[]), 1.0);
    queue.lock().expect("no panic").push(2);
    assert_eq!(look(&metrics).value("waiting", &[]), 2.0);
}

/// A service `a.B` with one method of each kind, and one `a.C` that is not served.
fn descriptors() -> Vec<u8> {
    let method = |name: &str, client: bool, server: bool| MethodDescriptorProto {
        name: Some(name.to_owned()),
        client_streaming: Some(client),
        server_streaming: Some(server),
        ..Default::default()
    };
    let service = |name: &str, method| ServiceDescriptorProto {
        name: Some(name.to_owned()),
        method,
        ..Default::default()
    };
    let methods = vec![
        method("Unary", false, false),
        method("Client", true, false),
        method("Server", false, true),
        method("Both", true, true),
    ];
    let file = FileDescriptorProto {
        package: Some("a".to_owned()),
        service: vec![service("B", methods.clone()), service("C", methods)],
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

fn end(mut call: Call, status: &Status) {
    call.note(&status.clone().into_http::<()>().into_parts().0.headers);
}

const KINDS: [(&str, &str); 4] = [
    ("Unary", "unary"),
    ("Client", "client_stream"),
    ("Server", "server_stream"),
    ("Both", "bidi_stream"),
];

#[test]
fn each_method_is_counted_by_its_name_and_kind_and_each_end_by_its_code() {
    let metrics = Metrics::new();
    // Two sets may describe the same.
    let calls = CallMetrics::register(&metrics, &["a.B"], &[&descriptors(), &descriptors()]);
    for (method, kind) in KINDS {
        let path = format!("/a.B/{method}");
        end(calls.start(&path), &Status::ok(""));
        end(calls.start(&path), &Status::new(Code::Unauthenticated, ""));
        let running = calls.start(&path);
        drop(calls.start(&path));
        calls.start(&path).note_end();
        let seen = look(&metrics);
        let labels = [("grpc_type", kind), ("grpc_service", "a.B"), ("grpc_method", method)];
        assert_eq!(seen.value("grpc_server_started_total", &labels), 5.0);
        assert_eq!(seen.value("grpc_server_handling_seconds_count", &labels), 4.0);
        let [kind, service, method] = labels;
        for (code, count) in [
            ("OK", 1.0),
            ("Unauthenticated", 1.0),
            ("Canceled", 1.0),
            ("Unknown", 1.0),
            ("Internal", 0.0),
        ] {
            let labels = [kind, service, method, ("grpc_code", code)];
            assert_eq!(seen.value("grpc_server_handled_total", &labels), count, "{code}");
        }
        drop(running);
    }
}

#[test]
fn no_caller_can_make_series_without_end() {
    let metrics = Metrics::new();
    let calls = CallMetrics::register(&metrics, &["a.B", "d.Undescribed"], &[&descriptors()]);
    for n in 0..1_000 {
        for path in [
            format!("/x/{n}"),
            format!("/a.B/{n}"),
            format!("/a.C/{n}"),
            format!("/d.Undescribed/{n}"),
            format!("a.B/Unary{n}"),
            String::new(),
        ] {
            drop(calls.start(&path));
        }
    }
    let seen = look(&metrics);
    let count = |service, method| {
        let labels = [
            ("grpc_type", "unknown"),
            ("grpc_service", service),
            ("grpc_method", method),
        ];
        seen.value("grpc_server_started_total", &labels)
    };
    assert_eq!(count("a.B", "unknown"), 1_000.0);
    assert_eq!(count("d.Undescribed", "unknown"), 1_000.0);
    assert_eq!(count("unknown", "unknown"), 4_000.0);
    assert_eq!(seen.0["grpc_server_started_total"].samples.len(), KINDS.len() + 3);
}

#[test]
fn the_codes_are_spelled_as_in_go() {
    let metrics = Metrics::new();
    let calls = CallMetrics::register(&metrics, &["a.B"], &[&descriptors()]);
    for code in 0..17 {
        for _ in 0..=code {
            end(calls.start("/a.B/Unary"), &Status::new(Code::from(code), ""));
        }
    }
    let seen = look(&metrics);
    let labels = [
        ("grpc_type", "unary"),
        ("grpc_service", "a.B"),
        ("grpc_method", "Unary"),
    ];
    for (code, spelled) in [
        (Code::Ok, "OK"),
        (Code::Cancelled, "Canceled"),
        (Code::DeadlineExceeded, "DeadlineExceeded"),
        (Code::Unimplemented, "Unimplemented"),
        (Code::Unauthenticated, "Unauthenticated"),
    ] {
        let [kind, service, method] = labels;
        let counted = seen.value(
            "grpc_server_handled_total",
            &[kind, service, method, ("grpc_code", spelled)],
        );
        assert_eq!(counted, f64::from(code as i32 + 1), "{spelled}");
    }
}

#[test]
fn a_call_carries_little() {
    assert!(size_of::<Option<Call>>() <= 32);
}

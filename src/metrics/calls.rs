//! What is counted of every call: by the names of go-grpc-prometheus, which dashboards and alerts know.
//!
//! On the path of every call, so a call costs one look-up, two readings of the clock and four atomic additions, and no
//! memory of its own. Names that nobody serves are counted together, so that callers cannot make series.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use http::HeaderMap;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
    registry::Unit,
};
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};
use tonic::{Code, Status};

use super::{Histogram, Metrics};

const UNKNOWN: &str = "unknown";
/// The codes in the order of their numbers, as gRPC's Go library spells them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// What is counted of the calls of a service.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    /// In the order of [`Method::rank`], which makes looking one up cheaper than hashing its path.
    methods: Vec<Arc<Method>>,
    /// One a service: calls of methods that it does not have, or that no descriptor tells of.
    services: Vec<Arc<Method>>,
    /// Calls of services that are not served.
    unknown: Arc<Method>,
}

#[derive(Debug)]
struct Method {
    /// `/package.Service/Method`.
    path: String,
    kind: &'static str,
    service: String,
    name: String,
    started: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    seconds: Histogram,
}

impl Method {
    fn new(kind: &'static str, service: &str, name: &str) -> Arc<Self> {
        Arc::new(Self {
            path: format!("/{service}/{name}"),
            kind,
            service: service.to_owned(),
            name: name.to_owned(),
            started: AtomicU64::new(0),
            handled: Default::default(),
            seconds: Histogram::new(Histogram::FAST),
        })
    }

    /// What methods are found by: most differ in the length of their path.
    fn rank(path: &str) -> (usize, &str) {
        (path.len(), path)
    }

    fn labels(&self) -> [(&str, &str); 3] {
        [
            ("grpc_type", self.kind),
            ("grpc_service", &self.service),
            ("grpc_method", &self.name),
        ]
    }
}

fn kind(method: &MethodDescriptorProto) -> &'static str {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => "unary",
        (true, false) => "client_stream",
        (false, true) => "server_stream",
        (true, true) => "bidi_stream",
    }
}

impl CallMetrics {
    /// Counts the calls of these services from now on. Encoded `FileDescriptorSet`s tell their methods; the calls of a
    /// service that none describes are counted together.
    pub(crate) fn register(metrics: &Metrics, services: &[&str], descriptors: &[&[u8]]) -> Arc<Self> {
        let together = |service: &&str| Method::new(UNKNOWN, service, UNKNOWN);
        let mut calls = Self {
            methods: Vec::new(),
            services: services.iter().map(together).collect(),
            unknown: Method::new(UNKNOWN, UNKNOWN, UNKNOWN),
        };
        for set in descriptors {
            // Reflection refuses a set that is not valid.
            let set = FileDescriptorSet::decode(*set).unwrap_or_default();
            calls.describe(&set);
        }
        calls
            .methods
            .sort_by(|a, b| Method::rank(&a.path).cmp(&Method::rank(&b.path)));
        // Sets may have files in common.
        calls.methods.dedup_by(|a, b| a.path == b.path);
        let calls = Arc::new(calls);
        metrics.register(|registry| registry.register_collector(Box::new(calls.clone())));
        calls
    }

    fn describe(&mut self, set: &FileDescriptorSet) {
        for file in &set.file {
            for service in &file.service {
                let name = match file.package() {
                    "" => service.name().to_owned(),
                    package => format!("{package}.{}", service.name()),
                };
                if self.service(&name).is_some() {
                    let methods = service.method.iter();
                    let methods = methods.map(|method| Method::new(kind(method), &name, method.name()));
                    self.methods.extend(methods);
                }
            }
        }
    }

    /// Counts a call that begins.
    pub(crate) fn start(&self, path: &str) -> Call {
        let method = self.method(path).clone();
        method.started.fetch_add(1, Relaxed);
        Call {
            method,
            started: Instant::now(),
            ended: false,
        }
    }

    fn method(&self, path: &str) -> &Arc<Method> {
        let rank = Method::rank(path);
        let found = self
            .methods
            .binary_search_by(|method| Method::rank(&method.path).cmp(&rank));
        if let Ok(index) = found {
            return &self.methods[index];
        }
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let service = service.and_then(|(service, _)| self.service(service));
        service.unwrap_or(&self.unknown)
    }

    fn service(&self, name: &str) -> Option<&Arc<Method>> {
        self.services.iter().find(|service| service.service == name)
    }

    /// All methods, in the order of their names; those that nobody should call only once somebody has.
    fn all(&self) -> Vec<&Method> {
        let unknown = self.services.iter().chain([&self.unknown]);
        let unknown = unknown.filter(|method| method.started.load(Relaxed) > 0);
        let mut all: Vec<_> = self.methods.iter().chain(unknown).map(Arc::as_ref).collect();
        all.sort_by_key(|method| (&method.service, &method.name));
        all
    }
}

impl Collector for CallMetrics {
    /// Every code of a method from the start, so that the first error is an increase.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.all();
        let mut started = encoder.encode_descriptor(
            "grpc_server_started",
            "Calls that have begun.",
            None,
            MetricType::Counter,
        )?;
        for method in &all {
            let count = ConstCounter::new(method.started.load(Relaxed));
            count.encode(started.encode_family(&method.labels())?)?;
        }
        let mut handled = encoder.encode_descriptor(
            "grpc_server_handled",
            "Calls that have ended, by the code that they ended with.",
            None,
            MetricType::Counter,
        )?;
        for method in &all {
            for (count, code) in method.handled.iter().zip(CODES) {
                let [kind, service, name] = method.labels();
                let count = ConstCounter::new(count.load(Relaxed));
                count.encode(handled.encode_family(&[kind, service, name, ("grpc_code", code)])?)?;
            }
        }
        let mut seconds = encoder.encode_descriptor(
            "grpc_server_handling",
            "How long calls took, from their beginning to their end.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for method in &all {
            method.seconds.encode(seconds.encode_family(&method.labels())?)?;
        }
        Ok(())
    }
}

/// A call that is counted once, as soon as it is known how it ends; as cancelled when this is dropped before.
#[derive(Debug)]
pub(crate) struct Call {
    method: Arc<Method>,
    started: Instant,
    ended: bool,
}

impl Call {
    /// Notes how the call ends, as the head of its answer or its trailers say. A head that does not say so has a body.
    pub(crate) fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.end(Code::from_bytes(code.as_bytes()));
        }
    }

    /// Notes that the answer has been given in full: one that did not say how it ends is none of gRPC's.
    pub(crate) fn note_end(&mut self) {
        self.end(Code::Unknown);
    }

    fn end(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            self.method.handled[code as usize].fetch_add(1, Relaxed);
            self.method.seconds.observe(self.started.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

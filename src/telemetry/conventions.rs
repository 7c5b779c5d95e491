//! How spans of gRPC calls are named, and what they say: OpenTelemetry's semantic conventions for RPC and gRPC
//! (release candidate, `rpc.system.name` and its siblings).

use tonic::Code;

use crate::proto::log::v1::SpanKind;

pub(super) const SYSTEM: &str = "rpc.system.name";
pub(super) const METHOD: &str = "rpc.method";
pub(super) const METHOD_ORIGINAL: &str = "rpc.method_original";
pub(super) const STATUS_CODE: &str = "rpc.response.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const CLIENT_ADDRESS: &str = "client.address";
pub(super) const CLIENT_PORT: &str = "client.port";
pub(super) const PEER_ADDRESS: &str = "network.peer.address";
pub(super) const PEER_PORT: &str = "network.peer.port";

/// The system, and the name of a span whose method is not known: what callers make up must not become names.
pub(super) const GRPC: &str = "grpc";
/// The method that the server does not have.
pub(super) const OTHER: &str = "_OTHER";

/// The methods that begin no trace, so that a mesh with nothing to do is quiet: they keep it going, carry what is traced,
/// and look at it. In a trace that somebody else has begun, and that is sampled, they make spans as any other.
const BEGIN_NONE: [&str; 5] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.",
    "/homeroom.registry.v1.Registry/",
    "/homeroom.log.v1.Log/",
    "/opentelemetry.proto.collector.",
];

/// Whether a call of this method that belongs to no trace begins one.
pub(super) fn begins_trace(path: &str) -> bool {
    !BEGIN_NONE.iter().any(|quiet| path.starts_with(quiet))
}

/// Whether a span ends in an error by this code: for who called, whatever is not OK; for who served, what is its fault.
pub(super) fn is_error(kind: SpanKind, code: Code) -> bool {
    match kind {
        SpanKind::Client => code != Code::Ok,
        _ => matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ),
    }
}

/// The code as the gRPC specification spells it.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

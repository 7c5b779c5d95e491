//! Compiles `proto/` to Rust and to one descriptor set, by protox: nobody needs protoc.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use prost::Message;
use tonic_prost_build::Config;

const REGISTRY: &str = "homeroom/registry/v1/registry.proto";
const LOG: &str = "homeroom/log/v1/log.proto";
const PROTOS: [&str; 7] = [
    REGISTRY,
    LOG,
    "homeroom/grades/v1/grades.proto",
    "grpc/health/v1/health.proto",
    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("homeroom.bin"), descriptors.encode_to_vec())?;
    // The registry's server whose messages have instances as bytes.
    let messages = [
        "RegisterRequest",
        "RegisterResponse",
        "GetInstanceResponse",
        "ListInstancesResponse",
        "WatchServicesResponse",
        "ListChangesResponse",
        "WatchChangesResponse",
    ];
    server_by_hand(REGISTRY, "homeroom.registry.v1", "ready", &messages, &out)?;
    // Log's server for those who leave entries as they are on the wire.
    let messages = ["WriteRequest", "IngestRequest", "QueryResponse", "TailResponse"];
    server_by_hand(LOG, "homeroom.log.v1", "in_place", &messages, &out)?;
    let mut config = Config::new();
    // Their examples are indented, which Rust's documentation takes for code.
    config.disable_comments([".opentelemetry"]);
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".homeroom.log.v1")
        .btree_map(".homeroom.registry.v1")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

/// A server some of whose messages are written by hand, in a module of their package.
fn server_by_hand(
    proto: &str,
    package: &str,
    module: &str,
    messages: &[&str],
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    let path = format!(
        "crate::proto::{}",
        package.trim_start_matches("homeroom.").replace('.', "::")
    );
    let out = out.join(module);
    fs::create_dir_all(&out)?;
    let mut server = tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .out_dir(&out)
        .extern_path(format!(".{package}"), &path);
    for message in messages {
        server = server.extern_path(format!(".{package}.{message}"), format!("{path}::{module}::{message}"));
    }
    Ok(server.compile_fds(protox::compile([proto], ["proto"])?)?)
}

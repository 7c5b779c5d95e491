//! Compiles `proto/` to Rust and to one descriptor set, by protox: nobody needs protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use tonic_prost_build::Config;

const LOG: &str = "homeroom/log/v1/log.proto";
const PROTOS: [&str; 7] = [
    "homeroom/registry/v1/registry.proto",
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
    // Log's server for those who leave entries as they are on the wire: the messages of them are written by hand.
    let in_place = out.join("in_place");
    fs::create_dir_all(&in_place)?;
    let mut log = tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .out_dir(&in_place)
        .extern_path(".homeroom.log.v1", "crate::proto::log::v1");
    for message in ["WriteRequest", "IngestRequest", "QueryResponse", "TailResponse"] {
        log = log.extern_path(
            format!(".homeroom.log.v1.{message}"),
            format!("crate::proto::log::v1::in_place::{message}"),
        );
    }
    log.compile_fds(protox::compile([LOG], ["proto"])?)?;
    let mut config = Config::new();
    // Their examples are indented, which Rust's documentation takes for code.
    config.disable_comments([".opentelemetry"]);
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".homeroom.log.v1")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}

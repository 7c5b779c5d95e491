//! Compiles the messages of the peers, by protox: nobody needs protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=../proto");
    let descriptors = protox::compile(["bare.proto", "etcd.proto"], ["proto", "../proto"])?;
    // The bare server speaks the registry's own messages, so that both are driven alike.
    let files = descriptors.file.into_iter();
    let own = files.filter(|file| matches!(file.name(), "bare.proto" | "etcd.proto"));
    let descriptors = tonic_prost_build::FileDescriptorSet { file: own.collect() };
    tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".homeroom.registry.v1", "::homeroom::proto::registry::v1")
        .compile_fds(descriptors)?;
    Ok(())
}

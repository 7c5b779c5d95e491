//! The code generated from `proto/`: the only door to it. Must never import anything of this crate.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// `homeroom.registry.v1`: the Registry.
pub mod registry {
    pub mod v1 {
        tonic::include_proto!("homeroom.registry.v1");
    }
}

/// `homeroom.log.v1`: the Log service.
pub mod log {
    pub mod v1 {
        tonic::include_proto!("homeroom.log.v1");
    }
}

/// `homeroom.grades.v1`: Grades.
pub mod grades {
    pub mod v1 {
        tonic::include_proto!("homeroom.grades.v1");
    }
}

/// `grpc.health.v1`: the gRPC health-checking protocol.
pub mod health {
    pub mod v1 {
        tonic::include_proto!("grpc.health.v1");
    }
}

/// All of `proto/`, as an encoded `google.protobuf.FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/homeroom.bin"));

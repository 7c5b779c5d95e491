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

/// `opentelemetry.proto`: the protocol that OpenTelemetry SDKs ship by (OTLP 1.x).
pub mod opentelemetry {
    pub mod proto {
        pub mod common {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.common.v1");
            }
        }
        pub mod resource {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.resource.v1");
            }
        }
        pub mod logs {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.logs.v1");
            }
        }
        pub mod trace {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.trace.v1");
            }
        }
        pub mod metrics {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.metrics.v1");
            }
        }
        pub mod collector {
            pub mod logs {
                pub mod v1 {
                    tonic::include_proto!("opentelemetry.proto.collector.logs.v1");
                }
            }
            pub mod trace {
                pub mod v1 {
                    tonic::include_proto!("opentelemetry.proto.collector.trace.v1");
                }
            }
            pub mod metrics {
                pub mod v1 {
                    tonic::include_proto!("opentelemetry.proto.collector.metrics.v1");
                }
            }
        }
    }
}

/// All of `proto/`, as an encoded `google.protobuf.FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/homeroom.bin"));

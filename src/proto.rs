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

        /// The server of the Registry whose messages have instances and changes as bytes: in answers as the model
        /// encodes them, in a registration to be read where they lie.
        pub mod ready {
            include!(concat!(env!("OUT_DIR"), "/ready/homeroom.registry.v1.rs"));

            /// A [`RegisterRequest`](super::RegisterRequest). Of an instance that is given twice the last one counts.
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct RegisterRequest {
                #[prost(bytes = "vec", optional, tag = "1")]
                pub instance: Option<Vec<u8>>,
                #[prost(bool, tag = "2")]
                pub verify: bool,
                #[prost(message, optional, tag = "3")]
                pub verify_timeout: Option<prost_types::Duration>,
                #[prost(uint64, tag = "4")]
                pub incarnation: u64,
            }

            /// A [`RegisterResponse`](super::RegisterResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct RegisterResponse {
                #[prost(bytes = "vec", tag = "1")]
                pub instance: Vec<u8>,
                #[prost(bytes = "vec", repeated, tag = "2")]
                pub required_instances: Vec<Vec<u8>>,
                #[prost(string, repeated, tag = "3")]
                pub cyclic_services: Vec<String>,
                #[prost(uint64, tag = "4")]
                pub revision: u64,
                #[prost(uint64, tag = "5")]
                pub epoch: u64,
            }

            /// A [`GetInstanceResponse`](super::GetInstanceResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct GetInstanceResponse {
                #[prost(bytes = "vec", tag = "1")]
                pub instance: Vec<u8>,
            }

            /// A [`ListInstancesResponse`](super::ListInstancesResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct ListInstancesResponse {
                #[prost(bytes = "vec", repeated, tag = "1")]
                pub instances: Vec<Vec<u8>>,
                #[prost(string, tag = "2")]
                pub next_page_token: String,
                #[prost(uint64, tag = "3")]
                pub revision: u64,
                #[prost(uint64, tag = "4")]
                pub epoch: u64,
            }

            /// A [`WatchServicesResponse`](super::WatchServicesResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct WatchServicesResponse {
                #[prost(uint64, tag = "1")]
                pub revision: u64,
                #[prost(uint64, tag = "2")]
                pub epoch: u64,
                #[prost(bool, tag = "3")]
                pub reset: bool,
                #[prost(bytes = "vec", repeated, tag = "4")]
                pub updated: Vec<Vec<u8>>,
                #[prost(message, repeated, tag = "5")]
                pub removed: Vec<super::InstanceKey>,
                #[prost(fixed64, tag = "6")]
                pub view_hash: u64,
                #[prost(message, optional, tag = "7")]
                pub server_time: Option<prost_types::Timestamp>,
                #[prost(string, tag = "8")]
                pub watch_id: String,
                #[prost(bool, tag = "9")]
                pub more: bool,
            }

            /// A [`ListChangesResponse`](super::ListChangesResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct ListChangesResponse {
                #[prost(bytes = "vec", repeated, tag = "1")]
                pub changes: Vec<Vec<u8>>,
                #[prost(string, tag = "2")]
                pub next_page_token: String,
                #[prost(uint64, tag = "3")]
                pub epoch: u64,
            }

            /// A [`WatchChangesResponse`](super::WatchChangesResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct WatchChangesResponse {
                #[prost(bytes = "vec", repeated, tag = "1")]
                pub changes: Vec<Vec<u8>>,
                #[prost(uint64, tag = "2")]
                pub epoch: u64,
                #[prost(bool, tag = "3")]
                pub gap: bool,
            }
        }
    }
}

/// `homeroom.log.v1`: the Log service.
pub mod log {
    pub mod v1 {
        tonic::include_proto!("homeroom.log.v1");

        /// The server of Log for who reads entries where they lie, and answers them as they are: in its requests and answers
        /// they are as they are on the wire.
        pub mod in_place {
            include!(concat!(env!("OUT_DIR"), "/in_place/homeroom.log.v1.rs"));

            /// A [`WriteRequest`](super::WriteRequest).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct WriteRequest {
                #[prost(bytes = "bytes", repeated, tag = "1")]
                pub entries: Vec<prost::bytes::Bytes>,
                #[prost(enumeration = "super::Durability", tag = "2")]
                pub durability: i32,
            }

            /// An [`IngestRequest`](super::IngestRequest).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct IngestRequest {
                #[prost(uint64, tag = "1")]
                pub batch: u64,
                #[prost(bytes = "bytes", repeated, tag = "2")]
                pub entries: Vec<prost::bytes::Bytes>,
                #[prost(enumeration = "super::Durability", tag = "3")]
                pub durability: i32,
                #[prost(string, tag = "4")]
                pub writer: String,
            }

            /// A [`QueryResponse`](super::QueryResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct QueryResponse {
                #[prost(bytes = "bytes", repeated, tag = "1")]
                pub entries: Vec<prost::bytes::Bytes>,
                #[prost(string, tag = "2")]
                pub next_page_token: String,
            }

            /// A [`TailResponse`](super::TailResponse).
            #[derive(Clone, PartialEq, prost::Message)]
            pub struct TailResponse {
                #[prost(bytes = "bytes", repeated, tag = "1")]
                pub entries: Vec<prost::bytes::Bytes>,
                #[prost(uint64, tag = "2")]
                pub sequence: u64,
                #[prost(message, optional, tag = "3")]
                pub dropped: Option<super::Dropped>,
            }
        }
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

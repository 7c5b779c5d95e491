//! The code generated from `proto/`: the bare server's messages, and the part of etcd's that is used.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// `bench.bare.v1`: the bare server.
pub mod bare {
    tonic::include_proto!("bench.bare.v1");
}

/// `etcdserverpb`: etcd.
pub mod etcd {
    tonic::include_proto!("etcdserverpb");
}

//! Homeroom takes attendance of your gRPC services: what every service and every Rust client of the mesh shares.
//!
//! In reading order: [`model`] has the words, [`proto`] the wire. A service is a [`Service`], which keeps itself
//! registered ([`registration`]) behind a hardened [`listener`]; a client is a [`Mesh`], which watches the registry
//! ([`discovery`]) and balances calls ([`balance`]) over connections ([`transport`]).

pub mod proto;

pub mod model;
pub mod page;
pub mod status;
pub mod text;

pub mod backoff;
pub mod config;
pub mod fields;
pub mod shutdown;

pub mod balance;
pub mod discovery;
pub mod health;
pub mod listener;
pub mod mesh;
pub mod metrics;
pub mod process;
pub mod registration;
pub mod server;
pub mod telemetry;
pub mod transport;

mod deadline;
mod first_bytes;
mod hash;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use self::{config::Config, mesh::Mesh, server::Service};

//! The registry: which instances of which services are alive, and every change to that.
//!
//! In reading order: [`catalog`] decides what a command changes, [`history`] holds the changes, [`journal`] keeps them on
//! disk, [`store`] is where a command takes effect, [`watch`] tells those who depend on it, [`probe`] finds out who is
//! alive, [`lease`] who says so itself, [`brake`] when not to believe it, [`engine`] takes them together, [`metrics`]
//! counts, [`grpc`] translates.

pub mod brake;
pub mod catalog;
pub mod config;
pub mod engine;
pub mod error;
pub mod grpc;
pub mod history;
pub mod journal;
pub mod lease;
pub mod metrics;
pub mod probe;
pub mod store;
pub mod watch;

mod run;
mod telling;

pub use self::{
    config::{Args, PORT, RegistryConfig, Settings},
    error::Error,
    run::{RunError, run},
};

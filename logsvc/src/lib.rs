//! The Log service: everybody's log entries, kept in plain JSON lines and found again.
//!
//! In reading order: [`entry`] is what an entry is and how it becomes one line (pure); [`store`] keeps the lines on
//! disk and hands out those that are acknowledged; [`query`] finds entries in them; [`tail`] follows them; [`grpc`]
//! translates between all that and the wire, [`otlp`] what OpenTelemetry sends; [`error`] is what can go wrong; [`run`] wires it all into a service.

pub mod config;
pub mod entry;
pub mod error;
pub mod grpc;
pub mod otlp;
pub mod query;
pub mod store;
pub mod tail;

mod run;

pub use self::{
    config::{Args, LogConfig, PORT, Settings},
    error::Error,
    grpc::LogApi,
    run::{RunError, run},
};

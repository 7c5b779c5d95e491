//! The Log service: everybody's log entries, kept in plain JSON lines and found again.
//!
//! In reading order: [`entry`] is what an entry is and how it becomes one line (pure); [`store`] keeps the lines on
//! disk and hands out those that are acknowledged; [`query`] finds entries in them; [`tail`] follows them; [`trace`] puts
//! the entries of a trace together (pure); [`native`] reads the entries that our own clients send, and [`otlp`] what
//! OpenTelemetry sends; [`forward`] sends entries on as OpenTelemetry has them; [`grpc`] translates between all that and
//! the wire; [`metrics`] is what is counted; [`error`] is what can go wrong; [`run`] wires it all into a service.

pub mod config;
pub mod entry;
pub mod error;
pub mod forward;
pub mod grpc;
pub mod metrics;
pub mod native;
pub mod otlp;
pub mod query;
pub mod store;
pub mod tail;
pub mod trace;

mod wire;

mod run;

pub use self::{
    config::{Args, LogConfig, PORT, Settings},
    error::Error,
    grpc::LogApi,
    run::{RunError, run},
};

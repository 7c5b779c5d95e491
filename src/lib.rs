//! x
pub mod backoff;
pub mod config;
pub mod model;
pub mod page;
pub mod proto;
pub mod shutdown;
pub mod status;

//! Log against rsyslog, a collector that keeps nothing, and the disk itself.
//!
//! In reading order: [`Plan`] says how much is done, [`Row`] what is measured. `entries` is what is written, `requests`
//! how each peer is told, `load` sends it; `server`, `rsyslog`, `discard` and `disk` are those that are measured.

mod codec;
pub(crate) mod discard;
mod disk;
mod entries;
mod load;
mod plan;
mod requests;
mod rows;
mod rsyslog;
mod server;

pub use self::{
    entries::Length,
    plan::Plan,
    rows::{Row, measure},
    server::Programs,
};

//! Load against Homeroom's servers and their peers, compared in one run.
//!
//! In reading order: [`plan`] says how much is done, [`rows`] what is measured, [`table`] how it is told. Under them,
//! `peer` starts the servers and knows how to ask each the same, `calls`, `watchers` and `deaf` are the load, over `wire`.
//! All that is Log's is in [`log`].

pub mod log;
pub mod machine;
pub mod plan;
pub mod rows;
pub mod serve;
pub mod table;

mod bare;
mod calls;
mod deaf;
mod message;
mod peer;
mod process;
mod proto;
mod run;
mod sample;
mod watchers;
mod wire;
mod workload;

pub use self::{
    peer::Programs,
    plan::Plan,
    run::{Args, run},
};

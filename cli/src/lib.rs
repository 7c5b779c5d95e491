//! The `homeroom` command: runs the mesh, and looks into one.
//!
//! In reading order: [`args`] is the command line, [`command`] has a module for each command, [`client`] reaches the
//! services, [`output`] writes tables or JSON, [`time`] tells how long ago, [`failure`] says how a command fails.

pub mod args;
pub mod client;
pub mod command;
pub mod failure;
pub mod output;
pub mod time;

mod run;

pub use self::run::run;

//! Several services together: real processes, real sockets.

mod crash;
mod harness;
mod liveness;
mod log_crash;
mod mesh;
mod restart;
mod rolling;
mod start;

//! Several services together: real processes, real sockets.

mod crash;
mod harness;
mod liveness;
mod mesh;
mod restart;
mod rolling;
mod start;

//! HTTP/1.1, for those who look at the metrics: one request a connection.
//!
//! Keeping connections would spare a scraper a round trip every few seconds, and need limits of its own for those that
//! pipeline, or do not read. One request has a deadline instead.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioTimer;
use tokio::time::timeout;
use tonic::body::Body;

use super::{Server, plain};
use crate::metrics::Metrics;

/// hyper's least.
const BUFFER_BYTES_MIN: usize = 8 * 1024;

/// Answers one request, and closes the connection. The request has to come within the time for handshakes, and the
/// answer be read within that for messages.
pub(super) async fn serve(server: &Server, io: impl hyper::rt::Read + hyper::rt::Write + Unpin) {
    let Ok(_slot) = server.plain_slots.try_acquire() else {
        return;
    };
    let limits = &server.limits;
    let asked = AtomicBool::new(false);
    let service = Answers {
        metrics: server.served.metrics(),
        asked: &asked,
    };
    let header_bytes = limits.header_list_size_bytes as usize;
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(limits.handshake_timeout)
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes.max(BUFFER_BYTES_MIN));
    let patience = limits.handshake_timeout + limits.message_timeout;
    let mut connection = std::pin::pin!(timeout(patience, http1.serve_connection(io, service)));
    tokio::select! {
        // Whoever is too slow has been cut off; what was wrong with a request has been answered.
        _ = &mut connection => {}
        () = server.shutdown.cancelled() => {
            // What has not been asked in full yet is lost with nothing.
            if asked.load(Relaxed) {
                let _ = connection.await;
            }
        }
    }
}

struct Answers<'a> {
    metrics: Option<&'a Metrics>,
    asked: &'a AtomicBool,
}

impl hyper::service::Service<Request<Incoming>> for Answers<'_> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Relaxed);
        ready(Ok(plain::answer(&request, self.metrics)))
    }
}

//! What is answered to those who do not speak gRPC: the metrics, and to everything else a word about what is spoken here.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::Semaphore;
use tonic::body::Body;

use crate::metrics::{Format, Metrics};

const METRICS: &str = "/metrics";
const NOT_FOUND: &str = "there is nothing here: this port speaks gRPC, over HTTP/2; GET /metrics has its metrics\n";
const NOT_ALLOWED: &str = "only GET and HEAD of /metrics are answered here: this port speaks gRPC, over HTTP/2\n";
/// The largest frame that every peer takes (RFC 9113, section 4.2).
const PIECE_BYTES: usize = 16 * 1024;

/// Whether a request is surely none of gRPC's, all of which are POSTs over HTTP/2.
pub(super) fn is_plain<B>(request: &Request<B>) -> bool {
    request.method() != Method::POST
}

/// The answer, which holds a slot until it is read; that there is none, when there is none.
pub(super) fn answer_if_free<B>(
    request: &Request<B>,
    metrics: Option<&Metrics>,
    slots: &Arc<Semaphore>,
) -> Response<Body> {
    let Ok(slot) = slots.clone().try_acquire_owned() else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    };
    answer(request, metrics).map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _until_the_body_is_dropped = &slot;
            frame
        }))
    })
}

/// The answer.
pub(super) fn answer<B>(request: &Request<B>, metrics: Option<&Metrics>) -> Response<Body> {
    let (status, content_type, text) = content(request.method(), request.uri().path(), request.headers(), metrics);
    let length = text.len();
    // The server leaves away the body of an answer to HEAD only in HTTP/1.1.
    let body = if request.method() == Method::HEAD {
        Body::empty()
    } else {
        in_pieces(text.into())
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, length.into());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// A body in pieces, since what is given to HTTP/2 in one piece waits there in full for its reader.
fn in_pieces(mut text: Bytes) -> Body {
    let pieces = std::iter::from_fn(move || {
        let length = text.len().min(PIECE_BYTES);
        (length > 0).then(|| Ok::<_, std::convert::Infallible>(Frame::data(text.split_to(length))))
    });
    Body::new(StreamBody::new(stream::iter(pieces)))
}

fn content(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    metrics: Option<&Metrics>,
) -> (StatusCode, &'static str, String) {
    const WORDS: &str = "text/plain; charset=utf-8";
    if !matches!(*method, Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, WORDS, NOT_ALLOWED.to_owned());
    }
    match metrics {
        Some(metrics) if path == METRICS => {
            let format = Format::accepted(headers);
            (StatusCode::OK, format.content_type(), metrics.text(format))
        }
        _ => (StatusCode::NOT_FOUND, WORDS, NOT_FOUND.to_owned()),
    }
}

//! Answers whose bytes are ready. A method of the generated trait can only answer with messages, which tonic encodes for
//! each caller: so it answers with an empty message, or stream, and attaches the body that is sent instead.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::Map};
use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tower_service::Service;

/// A body on its way through tonic: extensions have to be clonable, and the body is taken once.
#[derive(Clone)]
struct Attached(Arc<Mutex<Option<Body>>>);

/// An answer that is sent as `body`, which ends with the trailers of the call. `placeholder` is never seen.
pub(super) fn answer<T, B>(placeholder: T, body: B) -> tonic::Response<T>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let mut response = tonic::Response::new(placeholder);
    let body = Some(Body::new(body));
    response.extensions_mut().insert(Attached(Arc::new(Mutex::new(body))));
    response
}

/// A server some of whose answers are ready.
#[derive(Debug, Clone)]
pub struct ReadyAnswers<S> {
    server: S,
}

impl<S> ReadyAnswers<S> {
    pub(super) fn new(server: S) -> Self {
        Self { server }
    }
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for ReadyAnswers<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Map<S::Future, fn(Answer) -> Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.server.call(request).map(|answer| answer.map(exchanged))
    }
}

impl<S: NamedService> NamedService for ReadyAnswers<S> {
    const NAME: &'static str = S::NAME;
}

/// The response with the body that is attached to it.
fn exchanged(mut response: Response<Body>) -> Response<Body> {
    let Some(Attached(body)) = response.extensions_mut().remove() else {
        return response;
    };
    let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
    match body {
        Some(body) => response.map(|_| body),
        None => response,
    }
}

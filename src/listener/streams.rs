//! A connection with its calls, in one task.
//!
//! hyper gives each call to an executor. With a task for each, what they write is sent as soon as one of them has written:
//! thousands of watchers that are told something at once make a system call each. Here all calls of a connection that
//! have something to do are run first, and what they wrote goes out together. A handler that computes for long has to
//! leave that to another task, as it would on any task that it shares a thread with.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, StreamExt};

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the calls of a connection from hyper. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F> hyper::rt::Executor<F> for Calls
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        let call = Box::pin(async {
            future.await;
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// A connection with its calls. They end with it.
pub(super) struct WithCalls<C> {
    /// The connection.
    pub(super) connection: Pin<Box<C>>,
    started: Calls,
    running: FuturesUnordered<Call>,
}

impl<C: Future> WithCalls<C> {
    /// A connection that starts its calls by `started`.
    pub(super) fn new(connection: C, started: Calls) -> Self {
        Self {
            connection: Box::pin(connection),
            started,
            running: FuturesUnordered::new(),
        }
    }
}

impl<C: Future> Future for WithCalls<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        loop {
            while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
            // Sends what they have written, and starts new ones.
            if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            let started = self.started.take();
            if started.is_empty() {
                return Poll::Pending;
            }
            self.running.extend(started);
        }
    }
}

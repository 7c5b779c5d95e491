//! Where the calls of a connection run: each in a task of its own, or all in that of the connection.
//!
//! hyper gives each call to an executor. With a task for each, what they write is sent as soon as one of them has written:
//! thousands of watchers that are told something at once make a system call each. In the task of the connection, all
//! calls that have something to do are run first, and what they wrote goes out together; but then a handler that computes
//! for long holds up the others.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::rt::Write;

use super::gathered::Gathered;
use crate::telemetry::context::inherit;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the calls of a connection from hyper. Clones share them.
#[derive(Clone)]
pub(super) enum Calls {
    /// Each in its task.
    Apart,
    /// In that of the connection; here those that it has not begun.
    Together(Arc<Mutex<Vec<Call>>>),
}

impl Calls {
    pub(super) fn new(together: bool) -> Self {
        if together {
            Self::Together(Arc::default())
        } else {
            Self::Apart
        }
    }

    fn take(&self) -> Vec<Call> {
        match self {
            Self::Apart => Vec::new(),
            Self::Together(calls) => std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl<F> hyper::rt::Executor<F> for Calls
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        let call = async {
            future.await;
        };
        match self {
            // Detached: hyper ends these futures with their connection.
            Self::Apart => drop(tokio::spawn(inherit(call))),
            Self::Together(calls) => calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Box::pin(call)),
        }
    }
}

/// A connection with its calls. They end with it.
pub(super) struct WithCalls<C, T> {
    /// The connection.
    pub(super) connection: Pin<Box<C>>,
    io: Gathered<T>,
    started: Calls,
    running: FuturesUnordered<Call>,
}

impl<C: Future, T: Write + Unpin> WithCalls<C, T> {
    /// A connection over `io` that starts its calls by `started`.
    pub(super) fn new(connection: C, io: Gathered<T>, started: Calls) -> Self {
        Self {
            connection: Box::pin(connection),
            io,
            started,
            running: FuturesUnordered::new(),
        }
    }
}

impl<C: Future, T: Write + Unpin> Future for WithCalls<C, T> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        loop {
            while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
            // Takes what they have written, and starts new ones.
            if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            let started = self.started.take();
            if started.is_empty() {
                // What does not go out yet wakes this task when it can.
                let _ = self.io.poll_send(cx);
                return Poll::Pending;
            }
            self.running.extend(started);
        }
    }
}

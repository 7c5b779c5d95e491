//! What a task carries along: which instance it works for, and which trace it works in.
//!
//! A task-local, not a tracing span: it holds whatever the subscriber and its levels are.

use std::{future::Future, sync::Arc};

use http::HeaderValue;

use super::trace::TraceContext;

tokio::task_local! {
    static CONTEXT: Context;
}

/// What a task carries along.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The instance that the task works for.
    pub origin: Option<Arc<Origin>>,
    /// The call that the task answers.
    pub trace: Option<TraceContext>,
    /// What other tracing systems say of that trace: its `tracestate`, passed on as it came.
    pub trace_state: Option<HeaderValue>,
}

/// The instance that entries come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its service.
    pub service: String,
    /// Its id.
    pub instance: String,
}

impl Context {
    /// The context of the running task; empty where none was set.
    pub fn current() -> Self {
        CONTEXT.try_with(Clone::clone).unwrap_or_default()
    }

    /// The same context with a trace, of which no other system says anything.
    #[must_use]
    pub fn with_trace(self, trace: TraceContext) -> Self {
        Self {
            origin: self.origin,
            trace: Some(trace),
            trace_state: None,
        }
    }

    /// Runs a future in this context.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CONTEXT.scope(self, future)
    }
}

/// Gives a future that is about to be spawned the context of the running task.
pub fn inherit<F: Future>(future: F) -> impl Future<Output = F::Output> {
    Context::current().scope(future)
}

/// Gives a future that outlives the call that starts it the origin of the running task, and not its trace.
pub(crate) fn inherit_origin<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let origin = Context::current().origin;
    let context = Context {
        origin,
        ..Context::default()
    };
    context.scope(future)
}

/// Spawns hyper's futures with the context of the connection that they belong to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InheritingExecutor;

impl<F> hyper::rt::Executor<F> for InheritingExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// Detached: hyper ends these futures with their connection.
    fn execute(&self, future: F) {
        tokio::spawn(inherit(future));
    }
}

//! A thread for each processor, and connections that stay on one of them.
//!
//! The workers of tokio's shared runtime wake each other whenever a thread of somebody's own has something ready for them,
//! such as an answer that had to be synced to a disk first: that takes longer than the answer. Here nobody else is woken.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, available_parallelism},
};

use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
    task::JoinSet,
};

use crate::telemetry::context::inherit;

/// Threads that run connections. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Cores(Vec<Core>);

#[derive(Debug)]
struct Core {
    runtime: Handle,
    /// How many connections it has.
    connections: Arc<AtomicUsize>,
    /// Its thread ends with this.
    _running: oneshot::Sender<()>,
}

impl Cores {
    /// As many as the machine has processors for this process.
    pub(super) fn start() -> io::Result<Self> {
        let count = available_parallelism()?.get();
        (0..count).map(Core::start).collect::<io::Result<_>>().map(Self)
    }

    /// Runs a connection on the thread that has the fewest.
    pub(super) fn spawn<F>(
        &self,
        connections: &mut JoinSet<()>,
        stream: TcpStream,
        run: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let core = self
            .0
            .iter()
            .min_by_key(|core| core.connections.load(Ordering::Relaxed));
        let core = core.expect("there is a processor");
        let here = Here::new(&core.connections);
        // It belongs to the runtime that waits for it.
        let stream = stream.into_std();
        let connection = async move {
            // A connection that is gone already is nobody's.
            if let Ok(stream) = stream.and_then(TcpStream::from_std) {
                run(stream).await;
            }
            drop(here);
        };
        connections.spawn_on(inherit(connection), &core.runtime);
    }
}

impl Core {
    fn start(number: usize) -> io::Result<Self> {
        let (running, ended) = oneshot::channel::<()>();
        let (give, take) = mpsc::channel::<Runtime>();
        // First the thread: a runtime that cannot be given to one would be dropped within another, which panics.
        let thread = thread::Builder::new().name(format!("connections-{number}"));
        thread.spawn(move || {
            // None comes when there can be none.
            let Ok(runtime) = take.recv() else { return };
            // Nobody sends anything.
            let _ = runtime.block_on(ended);
            // What its connections have left behind, such as a scan of a disk, is not waited for.
            runtime.shutdown_background();
        })?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let core = Self {
            runtime: runtime.handle().clone(),
            connections: Arc::default(),
            _running: running,
        };
        give.send(runtime).expect("its thread waits for it");
        Ok(core)
    }
}

/// A connection that counts, until it is dropped.
struct Here(Arc<AtomicUsize>);

impl Here {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, thread::ThreadId};

    use tokio::{net::TcpListener, sync::mpsc::unbounded_channel};

    use super::*;
    use crate::testing::soon;

    /// Both ends of a connection.
    async fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let address = listener.local_addr().expect("it is bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.expect("it listens"), accepted.expect("a connection").0)
    }

    async fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a free port")
    }

    #[tokio::test]
    async fn each_thread_gets_as_many_connections_as_the_others_and_keeps_them() {
        let (cores, listener, mut running) = (Cores::start().expect("threads"), listen().await, JoinSet::new());
        let (say, mut said) = unbounded_channel::<(ThreadId, ThreadId)>();
        let mut clients = Vec::new();
        for _ in 0..3 * cores.0.len() {
            let (client, stream) = connect(&listener).await;
            let say = say.clone();
            cores.spawn(&mut running, stream, async move |stream: TcpStream| {
                let begun_on = thread::current().id();
                // Waits until the client hangs up, as any task would.
                let _ = stream.readable().await;
                let _ = say.send((begun_on, thread::current().id()));
            });
            clients.push(client);
        }
        drop((clients, say));
        let mut counts = HashMap::new();
        while let Some((begun_on, ended_on)) = soon("the end of a connection", said.recv()).await {
            assert_eq!(begun_on, ended_on);
            *counts.entry(ended_on).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), cores.0.len());
        assert!(counts.values().all(|count| *count == 3), "{counts:?}");
        assert!(!counts.contains_key(&thread::current().id()));
    }

    #[tokio::test]
    async fn what_runs_on_a_thread_ends_with_it() {
        let (cores, listener, mut running) = (Cores::start().expect("threads"), listen().await, JoinSet::new());
        let (_client, stream) = connect(&listener).await;
        let (held, ended) = oneshot::channel::<()>();
        cores.spawn(&mut running, stream, async move |_stream| {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(cores);
        assert!(soon("the end of the task", ended).await.is_err());
    }
}

//! Signals to a drain: the first SIGTERM or Ctrl-C asks everybody to stop, the second one stops the process.

use tokio::signal::unix::{Signal, SignalKind, signal};
pub use tokio_util::sync::CancellationToken as Shutdown;

/// The exit code after a second signal: 128 + SIGINT, as shells have it.
const EXIT_CODE_INTERRUPTED: i32 = 130;

/// Installs the signal handlers and returns what they cancel. For `main` only.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals() -> std::io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::new();
    let token = shutdown.clone();
    // Detached: it lives as long as the process, which it may end.
    tokio::spawn(async move {
        any(&mut terminate, &mut interrupt).await;
        token.cancel();
        any(&mut terminate, &mut interrupt).await;
        std::process::exit(EXIT_CODE_INTERRUPTED);
    });
    Ok(shutdown)
}

async fn any(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

//! How services fail to start: one clear line, and an exit code that says so.

use crate::harness::{PATIENCE, Process, closed_port, command};
use tokio::time::timeout;

/// The exit code and what was said on stderr.
async fn fails(args: &[&str]) -> (Option<i32>, String) {
    let output = timeout(PATIENCE, command(args).output())
        .await
        .expect("it ends in time")
        .expect("it starts");
    let said = String::from_utf8(output.stderr).expect("stderr is text");
    (output.status.code(), said)
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let registry = Process::registry().await;
    let (code, said) = fails(&["registry", "--listen", registry.address.as_str()]).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        format!("registry: cannot listen on {}: the port is taken\n", registry.address)
    );
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_one_clear_line() {
    let registry = Process::registry().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let below = file.path().join("data");
    for service in ["registry", "log", "grades"] {
        let below = below.to_str().expect("a temporary path is text");
        let registry = registry.address.as_str();
        let args = [
            service,
            "--listen",
            "127.0.0.1:0",
            "--registry",
            registry,
            "--data-dir",
            below,
        ];
        let (code, said) = fails(&args).await;
        assert_eq!(code, Some(1));
        let lines: Vec<_> = said.lines().filter(|line| !line.contains("listening on")).collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(
            lines[0].starts_with(&format!("{service}: ")) && lines[0].contains(below),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_cannot_be_reached_is_named() {
    let (_held, closed) = closed_port();
    let (code, said) = fails(&[
        "bare",
        "app",
        "--listen",
        "127.0.0.1:0",
        "--registry",
        &closed.to_string(),
    ])
    .await;
    assert_eq!(code, Some(1));
    let line = format!("app: cannot reach the registry: cannot connect to {closed}: connection refused");
    assert!(said.lines().any(|said| said.starts_with(&line)), "{said}");
}

#[tokio::test]
async fn all_configuration_errors_are_reported_together() {
    let (code, said) = fails(&["registry", "--listen", "nowhere", "--grace", "long", "--advertise", "x"]).await;
    assert_eq!(code, Some(2));
    for flag in ["--listen", "--grace", "--advertise"] {
        assert!(said.contains(flag), "{flag} in {said}");
    }
}

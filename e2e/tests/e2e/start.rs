//! How services fail to start: one clear line, and an exit code that says so.

use tokio::time::timeout;

use crate::harness::{PATIENCE, Process, closed_port, command};

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

#[tokio::test]
async fn a_damaged_or_taken_data_directory_of_the_registry_is_one_clear_line_and_stays_as_it_is() {
    let data = tempfile::tempdir().expect("a folder");
    let registry = Process::registry_in(data.path(), "127.0.0.1:0").await;
    let folder = data.path().to_str().expect("a temporary path is text");
    let args = ["registry", "--listen", "127.0.0.1:0", "--data-dir", folder];
    let (code, said) = fails(&args).await;
    assert_eq!(code, Some(1));
    let line = format!("registry: the data directory {folder} is in use by another registry");
    assert!(said.lines().any(|said| said.starts_with(&line)), "{said}");
    registry.kill().await;

    let files = std::fs::read_dir(data.path()).expect("a folder");
    let segment = files
        .map(|file| file.expect("a file").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[40] ^= 1;
    std::fs::write(&segment, &bytes).expect("it is ours");
    let (code, said) = fails(&args).await;
    assert_eq!(code, Some(1));
    let line = format!("registry: {} is damaged at byte 20: ", segment.display());
    let lines: Vec<_> = said.lines().filter(|said| said.starts_with(&line)).collect();
    assert!(lines.len() == 1 && lines[0].contains("move the folder away"), "{said}");
    assert_eq!(std::fs::read(&segment).expect("it is there"), bytes);
}

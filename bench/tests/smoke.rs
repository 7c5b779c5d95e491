//! The whole bench in small, on debug builds: whether it works, not how fast anything is.

use std::process::Command;

/// Runs it, and holds it against how many lines there are to be.
fn measures(what: &str, lines: usize) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let run = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([what, "--smoke", "--dir"])
        .arg(dir.path())
        .env_remove("ETCD_BIN")
        .env_remove("REGISTRY_BIN")
        .env_remove("LOGSVC_BIN")
        .output()
        .expect("the binary starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{stderr}");
    let told = stdout.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(told, 2 + lines, "a heading, a rule, and every line:\n{stdout}{stderr}");
    let left = std::fs::read_dir(dir.path()).expect("the folder is there").count();
    assert_eq!(left, 0, "servers leave nothing behind");
}

#[test]
fn every_row_of_the_registry_is_measured() {
    measures("registry", 17);
}

#[test]
fn every_row_of_log_is_measured() {
    measures("log", 14);
}

//! The whole bench in small, on debug builds: whether it works, not how fast anything is.

use std::process::Command;

#[test]
fn every_row_is_measured() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let run = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["registry", "--smoke", "--dir"])
        .arg(dir.path())
        .env_remove("ETCD_BIN")
        .env_remove("REGISTRY_BIN")
        .output()
        .expect("the binary starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{stderr}");
    let lines: Vec<_> = stdout.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(
        lines.len(),
        2 + 17,
        "a heading, a rule, and every line:\n{stdout}{stderr}"
    );
    let left = std::fs::read_dir(dir.path()).expect("the folder is there").count();
    assert_eq!(left, 0, "servers leave nothing behind");
}

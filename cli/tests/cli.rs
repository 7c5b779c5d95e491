//! The command as a person or a script uses it, against a mesh of its own.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
};

const HOMEROOM: &str = env!("CARGO_BIN_EXE_homeroom");

/// A running `homeroom up` on free ports; killed when it is dropped.
struct Mesh {
    child: Child,
    welcome: String,
    registry: String,
    _data: tempfile::TempDir,
}

impl Mesh {
    fn up() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(HOMEROOM)
            .args([
                "up",
                "--registry-port",
                "0",
                "--log-port",
                "0",
                "--grades-port",
                "0",
                "--data-dir",
            ])
            .arg(data.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let lines = BufReader::new(stdout).lines().map(|line| line.expect("text") + "\n");
        let mut welcome = String::new();
        for line in lines {
            welcome += &line;
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        let registry = welcome
            .lines()
            .find_map(|line| line.trim().strip_prefix("registry"))
            .expect("its address");
        let registry = registry.split_whitespace().next().expect("its address").to_owned();
        Self {
            child,
            welcome,
            registry,
            _data: data,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(HOMEROOM);
        command
            .args(["--registry", &self.registry])
            .args(args)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it starts")
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// Fails with this code, says this on stderr, and nothing on stdout.
    fn fails(&self, args: &[&str], code: i32, says: &str) {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // It may have ended with a failing test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON value a line"))
        .collect()
}

#[test]
fn every_command_answers_as_a_table_and_as_json() {
    let mesh = Mesh::up();
    let services = mesh.ok(&["services"]);
    let lines: Vec<_> = services
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(
        lines,
        [
            vec!["SERVICE", "SERVING", "REQUIRES"],
            vec!["grades", "1/1", "log"],
            vec!["log", "1/1"]
        ]
    );
    assert!(!services.contains('\x1b'), "no colour where nobody looks");
    let services = json(&mesh.ok(&["-o", "json", "services"]));
    assert_eq!(services[0]["service"], "grades");

    assert!(mesh.ok(&["instances"]).contains("SERVING"));
    let instances = json(&mesh.ok(&["instances", "log", "-o", "json"]));
    assert_eq!(instances.len(), 1);
    assert_eq!(instances[0]["health"]["state"], "HEALTH_STATE_SERVING");

    assert!(mesh.ok(&["students"]).contains("1   Averill Simen  85 94 88"));
    let students = json(&mesh.ok(&["students", "-o", "json"]));
    assert_eq!(students[1]["average"], 96.0);

    let given = mesh.run(&["grade", "1", "Quiz 3", "97"]);
    assert_eq!(stdout(&given), "Averill Simen has an average of 91.00\n");
    let repeated = ["grade", "1", "Quiz 4", "91", "--type", "test", "--request-id", "once"];
    assert_eq!(mesh.ok(&repeated), mesh.ok(&repeated));

    assert_eq!(
        mesh.ok(&["version"]),
        concat!("homeroom ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for hint in [
        "keeps ",
        "/registry",
        "services",
        "grpcurl -plaintext -d '{\"id\": 1}'",
        "GetStudent",
    ] {
        assert!(mesh.welcome.contains(hint), "{hint} in {}", mesh.welcome);
    }
}

#[test]
fn logs_are_found_and_followed() {
    let mesh = Mesh::up();
    let mut following = mesh.command(&["logs", "-f", "--service", "none", "--service", "grades", "added"]);
    let mut following = following.stdout(Stdio::piped()).spawn().expect("it starts");
    let given = mesh.run(&["grade", "2", "Quiz 3", "50"]);
    let hint = stderr(&given);
    let trace = hint.trim().rsplit(' ').next().expect("a trace id");
    // Until it is there: the entry is shipped after the answer.
    let stdout = following.stdout.take().expect("stdout is piped");
    let entry = BufReader::new(stdout).lines().next().expect("an entry").expect("text");
    assert!(entry.contains("grade added") && entry.contains(trace), "{entry}");
    following.kill().expect("it is ours");
    following.wait().expect("it is ours");

    assert!(mesh.ok(&["logs", "--trace", trace]).contains("grade added"));
    let entries = json(&mesh.ok(&["logs", "-n", "1", "--severity", "info", "-o", "json", "grade added"]));
    assert_eq!((entries.len(), entries[0]["traceId"].as_str()), (1, Some(trace)));
    mesh.fails(&["logs", "--service", "none", "grade added"], 1, "no entry matches");
    mesh.fails(&["logs", "no entry says this"], 1, "no entry matches");
    mesh.fails(&["logs", "--trace", "XYZ"], 2, "filter.trace_id");
}

#[test]
fn a_watch_shows_what_is_there_and_is_quiet_when_its_pipe_is_closed() {
    let mesh = Mesh::up();
    let mut watching = mesh
        .command(&["watch"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut reader = BufReader::new(watching.stdout.take().expect("stdout is piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("text");
    assert!(line.contains("a snapshot follows"), "{line}");
    watching.kill().expect("it is ours");
    watching.wait().expect("it is ours");

    let mut piped = mesh.command(&["instances"]);
    let mut piped = piped
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(piped.stdout.take());
    let mut said = String::new();
    piped
        .stderr
        .take()
        .expect("stderr is piped")
        .read_to_string(&mut said)
        .expect("text");
    assert_eq!((piped.wait().expect("it is ours").code(), said.as_str()), (Some(0), ""));
}

#[test]
fn exit_codes_tell_why() {
    let mesh = Mesh::up();
    mesh.fails(&["instances", "nobody"], 1, "`nobody` has no instances");
    mesh.fails(&["grade", "99", "Quiz 3", "1"], 1, "there is no student `99`");
    mesh.fails(&["grade", "1", "Quiz 3", "101"], 2, "grade.score");
    mesh.fails(&["instances", "NOT A NAME"], 2, "service");
    mesh.fails(&["logs", "--severity", "loud"], 2, "--severity");
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .to_string();
    let unreachable = Command::new(HOMEROOM)
        .args(["--registry", &closed, "students"])
        .output()
        .expect("it starts");
    assert_eq!(unreachable.status.code(), Some(3));
    assert!(
        stderr(&unreachable).contains(&format!("cannot connect to {closed}")),
        "{}",
        stderr(&unreachable)
    );
}

#[test]
fn taken_ports_are_reported_together() {
    let mesh = Mesh::up();
    let port = |n: usize| {
        mesh.welcome
            .lines()
            .nth(n)
            .and_then(|line| line.split_whitespace().nth(1))
            .expect("an address")
    };
    let (registry, log) = (port(2), port(3));
    let number = |address: &str| address.rsplit(':').next().expect("a port").to_owned();
    let output = Command::new(HOMEROOM)
        .args([
            "up",
            "--grades-port",
            "0",
            "--registry-port",
            &number(registry),
            "--log-port",
            &number(log),
        ])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(
        stderr(&output),
        format!(
            "homeroom: cannot listen on {registry}: the port is taken; cannot listen on {log}: the port is taken\n"
        )
    );
}

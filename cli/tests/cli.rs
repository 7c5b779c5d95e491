//! The command as a person or a script uses it, against a mesh of its own.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio},
};

use homeroom::proto::registry::v1::{Instance, RegisterRequest, registry_client::RegistryClient};

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
        Self::at("0")
    }

    /// With the registry on this port.
    fn at(port: &str) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(HOMEROOM)
            .args([
                "up",
                "--registry-port",
                port,
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

    /// Starts it, to be stopped when it is dropped.
    fn start(&self, args: &[&str]) -> Following {
        Following::start(&mut self.command(args))
    }

    fn port(&self) -> String {
        self.registry.rsplit(':').next().expect("a port").to_owned()
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

/// A command that goes on; killed when it is dropped.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    complaints: std::io::Lines<BufReader<ChildStderr>>,
}

impl Following {
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        Self {
            lines: BufReader::new(child.stdout.take().expect("stdout is piped")).lines(),
            complaints: BufReader::new(child.stderr.take().expect("stderr is piped")).lines(),
            child,
        }
    }

    /// The next change, which it writes as JSON.
    fn change(&mut self) -> serde_json::Value {
        let line = self.lines.next().expect("it goes on").expect("text");
        serde_json::from_str(&line).expect("a JSON value a line")
    }

    fn complaint(&mut self) -> String {
        self.complaints.next().expect("it complains").expect("text")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended with a failing test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Registers instances that nothing listens for.
fn register(registry: &str, service: &str, ids: std::ops::Range<u32>) {
    let registry = homeroom::Mesh::new(registry.parse().expect("an address"));
    let registering = async {
        let mut client = RegistryClient::new(registry.registry());
        for id in ids {
            let instance = Instance {
                service: service.to_owned(),
                id: id.to_string(),
                address: "127.0.0.1:1".to_owned(),
                ..Default::default()
            };
            let request = RegisterRequest {
                instance: Some(instance),
                ..Default::default()
            };
            client.register(request).await.expect("it is accepted");
        }
    };
    homeroom::process::block_on(registering).expect("a runtime");
}

fn revision(change: &serde_json::Value) -> u64 {
    change["revision"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a revision")
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
    let drawn = mesh.ok(&["trace", trace]);
    assert!(
        drawn.contains("homeroom grade") && drawn.contains("grade added"),
        "{drawn}"
    );
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
fn why_status_and_graph_answer_about_a_mesh() {
    let mesh = Mesh::up();
    let why = mesh.ok(&["why", "grades"]);
    assert!(
        why.starts_with("grades gets traffic: its only instance is serving\n"),
        "{why}"
    );
    assert!(
        why.contains("it requires log, which is there (1 of 1 serving)") && why.contains("RECOVERED"),
        "{why}"
    );

    register(&mesh.registry, "nothing", 0..1);
    let hidden = mesh.run(&["why", "nothing/0", "-o", "json"]);
    assert_eq!((hidden.status.code(), stderr(&hidden).as_str()), (Some(1), ""));
    let hidden = &json(&stdout(&hidden))[0];
    assert_eq!(
        (hidden["getsTraffic"].as_bool(), hidden["instances"][0]["id"].as_str()),
        (Some(false), Some("0"))
    );
    let unknown = mesh.run(&["why", "grade"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stdout(&unknown).starts_with("grade gets no traffic: it is not registered"));
    assert!(stdout(&unknown).contains("did you mean grades?"));

    let status = mesh.ok(&["status"]);
    assert!(status.contains("\nbrake      not engaged\n"), "{status}");
    let status = json(&mesh.ok(&["status", "-o", "json"]));
    assert_eq!(
        (status[0]["services"].as_u64(), status[0]["version"].as_str()),
        (Some(3), Some(env!("CARGO_PKG_VERSION")))
    );

    assert!(mesh.ok(&["graph"]).contains("grades  1/1\n  requires log\n"));
    assert!(mesh.ok(&["graph", "-o", "dot"]).contains("\"grades\" -> \"log\";\n"));
    assert!(mesh.ok(&["graph", "-o", "mermaid"]).contains("n0 --> n1\n"));
    assert_eq!(
        json(&mesh.ok(&["graph", "-o", "json"]))[0]["requires"][0]["service"],
        "log"
    );
    mesh.fails(&["services", "-o", "dot"], 2, "only `graph`");
}

#[test]
fn a_wait_outlasts_a_registry_that_is_not_there_yet_and_says_what_is_missing() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a port").to_string();
    let wait = ["--registry", &address, "wait", "grades", "log"];
    let mut waiting = Following::start(Command::new(HOMEROOM).args(wait));
    let none = Command::new(HOMEROOM)
        .args(wait)
        .args(["--timeout", "1ms"])
        .output()
        .expect("it starts");
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains(&format!("the registry cannot be asked: cannot connect to {address}")));

    let mesh = Mesh::at(address.rsplit(':').next().expect("a port"));
    assert_eq!(waiting.child.wait().expect("it is ours").code(), Some(0));
    assert_eq!(mesh.ok(&["wait", "grades"]), "");
    let missing = mesh.run(&["wait", "grades", "mail", "files", "--timeout", "50ms"]);
    assert_eq!((missing.status.code(), stdout(&missing).as_str()), (Some(1), ""));
    let said = stderr(&missing);
    let said: Vec<_> = said.lines().map(|line| line.split(" gets no traffic").next()).collect();
    assert_eq!(
        said,
        [
            Some("homeroom: waited 50ms for mail: mail"),
            Some("homeroom: waited 50ms for files: files")
        ]
    );
}

#[test]
fn events_have_no_hole_and_no_duplicate_between_the_list_and_the_stream() {
    let mesh = Mesh::up();
    let registry = mesh.registry.clone();
    let registering = std::thread::spawn(move || register(&registry, "many", 0..400));
    let mut following = mesh.start(&["events", "-f", "-n", "10000", "-o", "json"]);
    let mut of_service = mesh.start(&["events", "-f", "-n", "10000", "-o", "json", "many"]);
    registering.join().expect("it registers all");
    register(&mesh.registry, "last", 0..1);
    for expected in 1.. {
        let change = following.change();
        assert_eq!(revision(&change), expected);
        if change["service"] == "last" {
            break;
        }
    }
    let mut ids = Vec::new();
    while ids.len() < 400 {
        let change = of_service.change();
        if change["cause"] == "CHANGE_CAUSE_REGISTERED" {
            ids.push(change["id"].as_str().expect("an id").to_owned());
        }
    }
    assert_eq!(ids, (0..400).map(|id: u32| id.to_string()).collect::<Vec<_>>());

    let last = json(&mesh.ok(&["events", "-n", "2", "-o", "json", "many/399"]));
    assert!(last.iter().all(|change| change["id"] == "399") && !last.is_empty());
    mesh.fails(&["events", "none"], 1, "no such change");
}

#[test]
fn events_go_on_when_the_registry_comes_back() {
    let mesh = Mesh::up();
    let port = mesh.port();
    let mut following = mesh.start(&["events", "-f", "-o", "json", "back"]);
    register(&mesh.registry, "back", 0..1);
    assert_eq!(following.change()["id"], "0");
    drop(mesh);
    assert!(following.complaint().ends_with("coming back to it"));
    let mesh = Mesh::at(&port);
    assert!(
        following.complaint().contains("changes are missing here"),
        "its history starts over"
    );
    register(&mesh.registry, "back", 7..8);
    let registered = std::iter::repeat_with(|| following.change()).find(|change| change["id"] == "7");
    assert_eq!(registered.expect("it is found")["cause"], "CHANGE_CAUSE_REGISTERED");
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

//! The three services together: dependencies, traces, and what was acknowledged.

use std::io::Write;

use crate::harness::{PATIENCE, Process, Watch};
use homeroom::{
    proto::{
        grades::v1::{AddGradeRequest, Grade, GradeType, ListStudentsRequest, grades_client::GradesClient},
        log::v1::{Entry, EntryKind, Filter, QueryRequest, SpanKind, TailRequest, WriteRequest, log_client::LogClient},
        registry::v1::{GetInstanceRequest, HealthState},
    },
    telemetry::{TraceContext, context::Context},
};
use tokio::time::timeout;

#[tokio::test]
async fn grades_serves_only_once_log_does() {
    let registry = Process::registry().await;
    let data = tempfile::tempdir().expect("a folder");
    let mut watch = Watch::open(&registry, &[]).await;
    let grades = Process::grades(&data.path().join("grades"), &registry).await;
    let _log = Process::log(&data.path().join("log"), &registry).await;
    let log_came = watch.comes("log").await;
    let grades_came = watch.comes("grades").await;
    assert!(log_came.revision < grades_came.revision);
    assert_eq!(grades_came.address, grades.address.to_string());
    assert_eq!(grades_came.required_services, ["log"]);
}

#[tokio::test]
async fn a_dependency_that_is_lost_later_does_not_take_its_dependents_down() {
    let registry = Process::registry().await;
    let data = tempfile::tempdir().expect("a folder");
    let log = Process::log(&data.path().join("log"), &registry).await;
    let mut watch = Watch::open(&registry, &[]).await;
    let _grades = Process::grades(&data.path().join("grades"), &registry).await;
    let grades = watch.comes("grades").await;
    log.kill().await;
    watch.goes("log").await;
    let request = GetInstanceRequest {
        service: grades.service,
        id: grades.id,
    };
    let instance = registry
        .client()
        .get_instance(request)
        .await
        .expect("registered")
        .into_inner()
        .instance;
    let health = instance.and_then(|instance| instance.health).expect("health");
    assert_eq!(health.state(), HealthState::Serving);
}

#[tokio::test]
async fn what_a_call_causes_is_found_by_the_callers_trace() {
    let registry = Process::registry().await;
    let data = tempfile::tempdir().expect("a folder");
    let _log = Process::log(&data.path().join("log"), &registry).await;
    let _grades = Process::grades(&data.path().join("grades"), &registry).await;
    let mesh = registry.mesh();
    let mut log = LogClient::new(mesh.channel("log").expect("a name"));
    let mut grades = GradesClient::new(mesh.channel("grades").expect("a name"));

    let trace = TraceContext::start();
    let filter = Filter {
        trace_id: trace.trace_id(),
        kind: EntryKind::Any.into(),
        ..Default::default()
    };
    let tail = TailRequest {
        filter: Some(filter),
        after_sequence: Some(0),
        ..Default::default()
    };
    let mut entries = log.tail(tail).await.expect("the stream opens").into_inner();
    let grade = Grade {
        title: "Quiz 3".to_owned(),
        r#type: GradeType::Quiz.into(),
        score: Some(91.0),
    };
    let request = AddGradeRequest {
        student_id: 5,
        grade: Some(grade),
        request_id: String::new(),
    };
    Context::current()
        .with_trace(trace)
        .scope(grades.add_grade(request))
        .await
        .expect("it is added");

    let found = async {
        let mut found = Vec::new();
        while found.len() < 2 {
            let message = entries.message().await.expect("no error").expect("no end");
            found.extend(message.entries);
        }
        found
    };
    let found = timeout(PATIENCE, found).await.expect("the entries come in time");
    let [entry, served] = <[Entry; 2]>::try_from(found).expect("an entry and a span");
    assert_eq!(
        (entry.service.as_str(), entry.message.as_str()),
        ("grades", "grade added")
    );
    assert_ne!(entry.span_id, trace.span_id(), "the call has a span of its own");
    assert_eq!(
        (served.service.as_str(), served.message.as_str()),
        ("grades", "homeroom.grades.v1.Grades/AddGrade")
    );
    assert_eq!(served.span_id, entry.span_id);
    let span = served.span.expect("it is a span");
    assert_eq!((span.kind(), span.parent_span_id), (SpanKind::Server, trace.span_id()));
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_in_the_middle_of_a_line() {
    let registry = Process::registry().await;
    let data = tempfile::tempdir().expect("a folder");
    let log = Process::log(data.path(), &registry).await;
    let client = |process: &Process| LogClient::new(homeroom::balance::Channel::fixed(process.address.clone()));
    let entries = (0..100).map(|n| Entry {
        message: format!("entry {n}\nof a test"),
        ..Default::default()
    });
    let request = WriteRequest {
        entries: entries.collect(),
        durability: 0,
    };
    client(&log).write(request).await.expect("it is acknowledged");
    log.kill().await;

    let file = std::fs::read_dir(data.path())
        .expect("the folder")
        .map(|file| file.expect("a file").path());
    let file = file
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(file.expect("a log file"))
        .expect("it opens");
    file.write_all(b"{\"seq\":4711,\"message\":\"torn")
        .expect("it is written");

    let log = Process::log(data.path(), &registry).await;
    let filter = Filter {
        text: "of a test".to_owned(),
        ..Default::default()
    };
    let request = QueryRequest {
        filter: Some(filter),
        page_size: 1000,
        ..Default::default()
    };
    let page = client(&log).query(request).await.expect("a page").into_inner();
    let messages: Vec<_> = page.entries.iter().map(|entry| entry.message.clone()).collect();
    let expected: Vec<_> = (0..100).map(|n| format!("entry {n}\nof a test")).collect();
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn grades_that_were_acknowledged_are_there_after_a_kill() {
    let registry = Process::registry().await;
    let data = tempfile::tempdir().expect("a folder");
    let grades = Process::grades(data.path(), &registry).await;
    let client = |process: &Process| GradesClient::new(homeroom::balance::Channel::fixed(process.address.clone()));
    for n in 0..20 {
        let grade = Grade {
            title: format!("Test {n}"),
            r#type: GradeType::Test.into(),
            score: Some(f64::from(n)),
        };
        let request = AddGradeRequest {
            student_id: 2,
            grade: Some(grade),
            request_id: n.to_string(),
        };
        client(&grades).add_grade(request).await.expect("it is acknowledged");
    }
    grades.kill().await;
    let grades = Process::grades(data.path(), &registry).await;
    let students = client(&grades)
        .list_students(ListStudentsRequest::default())
        .await
        .expect("a page")
        .into_inner();
    let titles: Vec<_> = students.students[1]
        .grades
        .iter()
        .skip(3)
        .map(|grade| grade.title.clone())
        .collect();
    assert_eq!(titles, (0..20).map(|n| format!("Test {n}")).collect::<Vec<_>>());
}

use std::sync::{Arc, Mutex};

use homeroom::{
    proto::grades::v1::{Grade, GradeType, Student},
    status::reason,
};
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt;
use tracing_subscriber::{Layer, layer::SubscriberExt};

use super::*;

async fn fresh() -> (TempDir, GradesApi) {
    let dir = tempfile::tempdir().expect("a directory");
    let api = GradesApi::open(dir.path()).await.expect("a fresh store opens");
    (dir, api)
}

async fn list(api: &GradesApi, page_size: i32, page_token: &str) -> Result<ListStudentsResponse, Status> {
    let page_token = page_token.to_owned();
    let request = Request::new(ListStudentsRequest { page_size, page_token });
    api.list_students(request).await.map(Response::into_inner)
}

async fn all(api: &GradesApi) -> Vec<Student> {
    list(api, 0, "").await.expect("a list").students
}

async fn get(api: &GradesApi, id: u32) -> Result<Student, Status> {
    let response = api.get_student(Request::new(GetStudentRequest { id })).await?;
    Ok(response.into_inner().student.expect("an answer has a student"))
}

async fn add(api: &GradesApi, request: AddGradeRequest) -> Result<Student, Status> {
    let response = api.add_grade(Request::new(request)).await?;
    Ok(response.into_inner().student.expect("an answer has a student"))
}

fn grade(title: &str, r#type: GradeType, score: f64) -> Grade {
    Grade {
        title: title.to_owned(),
        r#type: r#type.into(),
        score: Some(score),
    }
}

fn addition(student_id: u32, title: &str, request_id: &str) -> AddGradeRequest {
    AddGradeRequest {
        student_id,
        grade: Some(grade(title, GradeType::Test, 72.5)),
        request_id: request_id.to_owned(),
    }
}

#[tokio::test]
async fn a_fresh_store_has_the_sample_students() {
    let (_dir, api) = fresh().await;
    let students = all(&api).await;
    let sample: [(&str, &str, [f64; 3], f64); 5] = [
        ("Averill", "Simen", [85.0, 94.0, 88.0], 89.0),
        ("Marge", "Garrard", [100.0, 100.0, 88.0], 96.0),
        ("Sydnie", "Barber", [77.0, 0.0, 65.0], 142.0 / 3.0),
        ("Louie", "Easton", [88.0, 93.0, 84.0], 265.0 / 3.0),
        ("Kylee", "Attwood", [95.0, 100.0, 97.0], 292.0 / 3.0),
    ];
    let expected = (1..)
        .zip(sample)
        .map(|(id, (first_name, last_name, scores, average))| Student {
            id,
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            grades: vec![
                grade("Quiz 1", GradeType::Quiz, scores[0]),
                grade("Week 1 Homework", GradeType::Homework, scores[1]),
                grade("Quiz 2", GradeType::Quiz, scores[2]),
            ],
            average: Some(average),
        });
    assert_eq!(students, expected.collect::<Vec<_>>());
    assert_eq!(get(&api, 3).await.expect("the third"), students[2]);
}

#[tokio::test]
async fn an_added_grade_is_answered_and_outlives_a_restart() {
    let (dir, api) = fresh().await;
    let added = add(&api, addition(1, "Finals ✓", "")).await.expect("added");
    assert_eq!(added.grades[3], grade("Finals ✓", GradeType::Test, 72.5));
    assert_eq!(added.average, Some((85.0 + 94.0 + 88.0 + 72.5) / 4.0));
    let before = all(&api).await;
    assert_eq!(before[0], added);
    api.close().await;
    let api = GradesApi::open(dir.path()).await.expect("it opens again");
    assert_eq!(all(&api).await, before, "nothing lost, nothing seeded twice");
}

#[tokio::test]
async fn a_repeat_adds_nothing_and_answers_as_the_first_call_did() {
    let (_dir, api) = fresh().await;
    let first = add(&api, addition(2, "Test 1", "r-1")).await.expect("added");
    let later = add(&api, addition(2, "Test 2", "r-2")).await.expect("added");
    assert_eq!(add(&api, addition(2, "Test 1", "r-1")).await.expect("a repeat"), first);
    assert_eq!(get(&api, 2).await.expect("the student"), later);
}

#[tokio::test]
async fn without_a_request_id_every_call_adds() {
    let (_dir, api) = fresh().await;
    add(&api, addition(2, "Test 1", "")).await.expect("added");
    let second = add(&api, addition(2, "Test 1", "")).await.expect("added");
    assert_eq!(second.grades.len(), 5);
}

#[tokio::test]
async fn a_request_id_is_refused_for_another_grade_or_student() {
    let (_dir, api) = fresh().await;
    add(&api, addition(2, "Test 1", "r-1")).await.expect("added");
    let mut other_score = addition(2, "Test 1", "r-1");
    other_score.grade = Some(grade("Test 1", GradeType::Test, 72.0));
    let mut other_type = addition(2, "Test 1", "r-1");
    other_type.grade = Some(grade("Test 1", GradeType::Quiz, 72.5));
    let others = [
        addition(2, "Test 2", "r-1"),
        addition(3, "Test 1", "r-1"),
        other_score,
        other_type,
    ];
    for other in others {
        let status = add(&api, other).await.expect_err("used for another grade");
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(reason(&status).as_deref(), Some("REQUEST_ID_REUSED"));
        assert_eq!(status.get_details_resource_info().expect("what").resource_name, "r-1");
    }
    assert_eq!(get(&api, 2).await.expect("the student").grades.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_additions_are_all_there_and_repeats_of_one_add_once() {
    let (_dir, api) = fresh().await;
    let calls: Vec<_> = (0..64)
        .map(|call| {
            let api = api.clone();
            // Half of the calls repeat the one before them.
            let request = addition(
                1 + call / 2 % 5,
                &format!("Test {}", call / 2),
                &format!("r-{}", call / 2),
            );
            tokio::spawn(async move { add(&api, request).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("added, or a repeat");
    }
    let mut titles: Vec<String> = all(&api)
        .await
        .into_iter()
        .flat_map(|student| student.grades.into_iter().skip(3).map(|grade| grade.title))
        .collect();
    titles.sort();
    let mut expected: Vec<String> = (0..32).map(|test| format!("Test {test}")).collect();
    expected.sort();
    assert_eq!(titles, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_additions_to_one_student_lose_nothing_while_others_read() {
    let (_dir, api) = fresh().await;
    let calls: Vec<_> = (0..64)
        .map(|call| {
            let api = api.clone();
            tokio::spawn(async move {
                let added = add(&api, addition(4, &format!("Test {call}"), ""))
                    .await
                    .expect("added");
                let read = get(&api, 4).await.expect("the student");
                assert!(read.grades.starts_with(&added.grades), "what was answered is read");
            })
        })
        .collect();
    for call in calls {
        call.await.expect("no failure");
    }
    assert_eq!(get(&api, 4).await.expect("the student").grades.len(), 3 + 64);
}

#[tokio::test]
async fn pages_add_up_to_the_whole_list() {
    let (_dir, api) = fresh().await;
    let mut students = Vec::new();
    let mut sizes = Vec::new();
    let mut token = String::new();
    loop {
        let page = list(&api, 2, &token).await.expect("a page");
        sizes.push(page.students.len());
        students.extend(page.students);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(students, all(&api).await);
    let exact = list(&api, 5, "").await.expect("a page");
    assert_eq!(exact.next_page_token, "", "the last page has no token");
}

#[tokio::test]
async fn an_invalid_field_is_named_with_what_it_allows() {
    let (_dir, api) = fresh().await;
    let mut refused = Vec::new();
    let with = |change: fn(&mut AddGradeRequest)| {
        let mut request = addition(1, "Test", "r");
        change(&mut request);
        request
    };
    let requests: [(&str, AddGradeRequest); 10] = [
        ("student_id", with(|request| request.student_id = 0)),
        ("grade", with(|request| request.grade = None)),
        ("grade.title", addition(1, "", "")),
        ("grade.title", addition(1, "a\u{1b}[31m", "")),
        (
            "grade.type",
            with(|request| request.grade.as_mut().expect("set").r#type = 0),
        ),
        (
            "grade.type",
            with(|request| request.grade.as_mut().expect("set").r#type = 9),
        ),
        (
            "grade.score",
            with(|request| request.grade.as_mut().expect("set").score = None),
        ),
        (
            "grade.score",
            with(|request| request.grade.as_mut().expect("set").score = Some(f64::NAN)),
        ),
        (
            "grade.score",
            with(|request| request.grade.as_mut().expect("set").score = Some(100.5)),
        ),
        ("request_id", addition(1, "Test", "with space")),
    ];
    for (field, request) in requests {
        refused.push((field, add(&api, request).await.expect_err(field)));
    }
    refused.push(("id", get(&api, 0).await.expect_err("id")));
    refused.push(("page_size", list(&api, -1, "").await.expect_err("page_size")));
    let other_list = Page::parse("other", 0, "")
        .expect("valid")
        .next_token(Some("1".to_owned()));
    let other_cursor = Page::parse(STUDENTS_LIST, 0, "")
        .expect("valid")
        .next_token(Some("x".to_owned()));
    for token in ["nonsense", &other_list, &other_cursor] {
        refused.push(("page_token", list(&api, 0, token).await.expect_err("page_token")));
    }
    for (field, status) in refused {
        assert_eq!(status.code(), Code::InvalidArgument, "{field}");
        assert_eq!(reason(&status).as_deref(), Some("INVALID_FIELD"), "{field}");
        let violations = status
            .get_details_bad_request()
            .expect("a bad request")
            .field_violations;
        assert_eq!(violations[0].field, field);
        assert!(violations[0].description.starts_with("must "), "{field}");
    }
    assert_eq!(get(&api, 1).await.expect("the student").grades.len(), 3);
}

#[tokio::test]
async fn a_student_that_does_not_exist_is_named() {
    let (_dir, api) = fresh().await;
    let got = get(&api, 6).await.expect_err("five students");
    let added = add(&api, addition(u32::MAX, "Test", "r"))
        .await
        .expect_err("five students");
    for (status, id) in [(got, "6"), (added, "4294967295")] {
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(reason(&status).as_deref(), Some("STUDENT_NOT_FOUND"));
        let resource = status.get_details_resource_info().expect("what");
        assert_eq!(
            (resource.resource_type.as_str(), resource.resource_name.as_str()),
            ("student", id)
        );
    }
}

#[tokio::test]
async fn a_closed_service_sends_its_callers_elsewhere() {
    let (_dir, api) = fresh().await;
    api.close().await;
    let status = get(&api, 1).await.expect_err("closed");
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::Unavailable, Some("DRAINING"))
    );
}

/// Keeps the level and the fields of our own events.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target().starts_with("grades") {
            let mut text = event.metadata().level().to_string();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                text.push_str(&format!(" {}={value:?}", field.name()));
            });
            self.0.lock().expect("no panic inside").push(text);
        }
    }
}

#[tokio::test]
async fn an_addition_is_told_once_and_its_repeat_only_to_those_who_debug() {
    let (_dir, api) = fresh().await;
    let events = Events::default();
    // Otherwise a test beside this one, where nobody listens, may decide that nobody ever does. Fails when it is set.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(events.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    for _ in 0..2 {
        add(&api, addition(1, "Test 1", "r-1")).await.expect("added");
    }
    let told = events.0.lock().expect("no panic inside").clone();
    assert_eq!(
        told,
        [
            "INFO message=grade added student.id=1 grade.title=Test 1",
            "DEBUG message=grade had been added before student.id=1 grade.title=Test 1",
        ]
    );
}

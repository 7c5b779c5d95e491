//! The statements, and what their rows mean. Each function is one statement.

use homeroom::model::InvalidField;
use sqlx::{SqliteConnection, query, query_as};

use crate::gradebook::{Grade, GradeKind, RequestId, Student, StudentId};

/// As the id of a grade: none is later.
pub(super) const LAST: i64 = i64::MAX;

/// What a grade takes on the wire at most, its title aside: tags, lengths, type and score.
const GRADE_SIZE_BYTES: i64 = 20;

/// A row of `grades`: title, kind and score.
type GradeRow = (String, String, f64);

/// An addition that was made under a request id.
pub(super) struct FirstAddition {
    pub(super) grade_id: i64,
    pub(super) student: StudentId,
    pub(super) grade: Grade,
}

/// Finds a student, without the grades.
pub(super) async fn student(connection: &mut SqliteConnection, id: StudentId) -> sqlx::Result<Option<Student>> {
    let row = query_as("SELECT id, first_name, last_name FROM students WHERE id = ?")
        .bind(id.get())
        .fetch_optional(connection)
        .await?;
    row.map(read_student).transpose()
}

/// The first students after an id, without the grades, each with the size that it has on the wire with them.
pub(super) async fn students_after(
    connection: &mut SqliteConnection,
    after: u32,
    limit: usize,
) -> sqlx::Result<Vec<(Student, usize)>> {
    let sql = "SELECT id, first_name, last_name,
            (SELECT coalesce(sum(octet_length(title) + ?), 0) FROM grades WHERE student_id = students.id)
        FROM students WHERE id > ? ORDER BY id LIMIT ?";
    let rows: Vec<(u32, String, String, i64)> = query_as(sql)
        .bind(GRADE_SIZE_BYTES)
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|(id, first_name, last_name, size_bytes)| {
            let size_bytes = usize::try_from(size_bytes).unwrap_or(usize::MAX);
            let size_bytes = size_bytes.saturating_add(first_name.len() + last_name.len());
            Ok((read_student((id, first_name, last_name))?, size_bytes))
        })
        .collect()
}

/// The grades of a student up to the one with the id `last`, in the order in which they were added.
pub(super) async fn grades(
    connection: &mut SqliteConnection,
    student: StudentId,
    last: i64,
) -> sqlx::Result<Vec<Grade>> {
    let rows = query_as("SELECT title, kind, score FROM grades WHERE student_id = ? AND id <= ? ORDER BY id")
        .bind(student.get())
        .bind(last)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(read_grade).collect()
}

/// Puts the grades into students that follow each other in the table.
pub(super) async fn fill_grades(connection: &mut SqliteConnection, students: &mut [Student]) -> sqlx::Result<()> {
    let [first, .., last] = students else {
        if let [only] = students {
            only.grades = grades(connection, only.id, LAST).await?;
        }
        return Ok(());
    };
    let sql = "SELECT student_id, title, kind, score FROM grades WHERE student_id BETWEEN ? AND ?
        ORDER BY student_id, id";
    let rows: Vec<(u32, String, String, f64)> = query_as(sql)
        .bind(first.id.get())
        .bind(last.id.get())
        .fetch_all(connection)
        .await?;
    let mut rows = rows.into_iter().peekable();
    for student in students {
        while let Some((_, title, kind, score)) = rows.next_if(|row| row.0 == student.id.get()) {
            student.grades.push(read_grade((title, kind, score))?);
        }
    }
    Ok(())
}

/// What was added under a request id.
pub(super) async fn addition(
    connection: &mut SqliteConnection,
    request_id: &RequestId,
) -> sqlx::Result<Option<FirstAddition>> {
    let row: Option<(i64, u32, String, String, f64)> =
        query_as("SELECT id, student_id, title, kind, score FROM grades WHERE request_id = ?")
            .bind(request_id.as_str())
            .fetch_optional(connection)
            .await?;
    row.map(|(grade_id, student, title, kind, score)| {
        Ok(FirstAddition {
            grade_id,
            student: StudentId::parse("student_id", student).map_err(broken)?,
            grade: read_grade((title, kind, score))?,
        })
    })
    .transpose()
}

/// Adds a student, without the grades.
pub(super) async fn insert_student(connection: &mut SqliteConnection, student: &Student) -> sqlx::Result<()> {
    query("INSERT INTO students (id, first_name, last_name) VALUES (?, ?, ?)")
        .bind(student.id.get())
        .bind(&student.first_name)
        .bind(&student.last_name)
        .execute(connection)
        .await
        .map(drop)
}

/// Adds a grade to a student.
pub(super) async fn insert_grade(
    connection: &mut SqliteConnection,
    student: StudentId,
    grade: &Grade,
    request_id: Option<&RequestId>,
) -> sqlx::Result<()> {
    query("INSERT INTO grades (student_id, title, kind, score, request_id) VALUES (?, ?, ?, ?, ?)")
        .bind(student.get())
        .bind(grade.title())
        .bind(kind_name(grade.kind()))
        .bind(grade.score())
        .bind(request_id.map(RequestId::as_str))
        .execute(connection)
        .await
        .map(drop)
}

fn read_student((id, first_name, last_name): (u32, String, String)) -> sqlx::Result<Student> {
    Ok(Student {
        id: StudentId::parse("id", id).map_err(broken)?,
        first_name,
        last_name,
        grades: Vec::new(),
    })
}

fn read_grade((title, kind, score): GradeRow) -> sqlx::Result<Grade> {
    let kind = match kind.as_str() {
        "TEST" => GradeKind::Test,
        "HOMEWORK" => GradeKind::Homework,
        "QUIZ" => GradeKind::Quiz,
        _ => return Err(broken(InvalidField::new("kind", "must be a kind of grade"))),
    };
    Grade::new(title, kind, score).map_err(broken)
}

fn kind_name(kind: GradeKind) -> &'static str {
    match kind {
        GradeKind::Test => "TEST",
        GradeKind::Homework => "HOMEWORK",
        GradeKind::Quiz => "QUIZ",
    }
}

/// A row that we could not have written.
fn broken(error: InvalidField) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

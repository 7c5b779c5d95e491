//! The gradebook on disk: one SQLite file. Must never import `grpc`.
//!
//! One connection writes, so additions queue in order instead of colliding; others read, each call in a transaction of
//! its own, so that it sees one state of the file. Every statement is in `rows`, everything about opening in `open`.

mod open;
mod rows;

use homeroom::{model::InvalidField, page::Page};
use sqlx::{SqliteConnection, SqlitePool};

use crate::{
    error::Error,
    gradebook::{Addition, Student, StudentId},
};

/// An open store. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// The one connection that writes.
    writer: SqlitePool,
    /// The connections that read; they cannot write.
    readers: SqlitePool,
}

/// How an addition went.
#[derive(Debug)]
pub(crate) struct Added {
    /// The student as of this addition.
    pub(crate) student: Student,
    /// Whether it had been added before, and nothing was added now.
    pub(crate) repeated: bool,
}

impl Store {
    /// Gets one student.
    ///
    /// # Errors
    /// [`Error::StudentNotFound`], and faults of the database.
    pub(crate) async fn get(&self, id: StudentId) -> Result<Student, Error> {
        let mut snapshot = self.readers.begin().await?;
        student(&mut snapshot, id, rows::LAST).await
    }

    /// Lists a page of students by id, and the cursor of the next page if there is one.
    ///
    /// # Errors
    /// A cursor that is none of ours, and faults of the database.
    pub(crate) async fn list(&self, page: &Page) -> Result<(Vec<Student>, Option<String>), Error> {
        let after = after(page)?;
        let mut snapshot = self.readers.begin().await?;
        let found = rows::students_after(&mut snapshot, after, page.size + 1).await?;
        // The sizes are known before the grades are read, so no more is read than is sent.
        let (taken, more) = page.take(found.into_iter(), |(_, size_bytes)| *size_bytes);
        let mut students: Vec<Student> = taken.into_iter().map(|(student, _)| student).collect();
        rows::fill_grades(&mut snapshot, &mut students).await?;
        let next = students.last().filter(|_| more).map(|last| last.id.to_string());
        Ok((students, next))
    }

    /// Adds a grade, unless the request id says that it was added before. When this returns, it is on disk.
    ///
    /// Dropping the call half-way adds the grade wholly or not at all.
    ///
    /// # Errors
    /// [`Error::StudentNotFound`], [`Error::RequestIdReused`], [`Error::GradesFull`], [`Error::DiskFull`],
    /// [`Error::Busy`], and other faults of the database.
    pub(crate) async fn add(&self, addition: &Addition) -> Result<Added, Error> {
        // Taking the write lock first: a transaction that reads before it writes could lose it to another process.
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut student = student(&mut transaction, addition.student, rows::LAST).await?;
        if let Some(student) = repeat(&mut transaction, addition).await? {
            return Ok(Added {
                student,
                repeated: true,
            });
        }
        if student.grades.len() >= Student::GRADES_MAX {
            return Err(Error::GradesFull(student.id));
        }
        let request_id = addition.request_id.as_ref();
        rows::insert_grade(&mut transaction, student.id, &addition.grade, request_id).await?;
        transaction.commit().await?;
        student.grades.push(addition.grade.clone());
        Ok(Added {
            student,
            repeated: false,
        })
    }

    /// Waits for the running calls, then closes the file; later calls fail with [`Error::Closed`].
    pub(crate) async fn close(&self) {
        // The writer last: the last connection tidies the log into the file, which a reader cannot.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Reads a student with the grades up to the one with the id `last`.
async fn student(connection: &mut SqliteConnection, id: StudentId, last: i64) -> Result<Student, Error> {
    let mut student = rows::student(connection, id).await?.ok_or(Error::StudentNotFound(id))?;
    student.grades = rows::grades(connection, id, last).await?;
    Ok(student)
}

/// What the first call answered, when this one repeats it; `None` when it is the first.
async fn repeat(connection: &mut SqliteConnection, addition: &Addition) -> Result<Option<Student>, Error> {
    let Some(request_id) = &addition.request_id else {
        return Ok(None);
    };
    let Some(first) = rows::addition(connection, request_id).await? else {
        return Ok(None);
    };
    if (first.student, &first.grade) != (addition.student, &addition.grade) {
        return Err(Error::RequestIdReused(request_id.clone()));
    }
    student(connection, addition.student, first.grade_id).await.map(Some)
}

/// The id that a page starts after.
fn after(page: &Page) -> Result<u32, InvalidField> {
    match &page.cursor {
        None => Ok(0),
        Some(cursor) => cursor
            .parse()
            .map_err(|_| InvalidField::new("page_token", "must be the `next_page_token` of a page, unchanged")),
    }
}

#[cfg(test)]
mod tests;

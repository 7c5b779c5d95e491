//! The API on the wire: decodes, calls the store, encodes. Must never decide anything.

use std::path::Path;

use homeroom::{
    page::Page,
    proto::grades::v1::{
        AddGradeRequest, AddGradeResponse, GetStudentRequest, GetStudentResponse, ListStudentsRequest,
        ListStudentsResponse, grades_server::Grades,
    },
};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    error::Error,
    gradebook::{Addition, StudentId},
    store::Store,
};

/// What the page tokens of `ListStudents` belong to. A new name refuses the old tokens.
const STUDENTS_LIST: &str = "grades.students";

/// The Grades API over one store. Clones share it.
#[derive(Debug, Clone)]
pub struct GradesApi {
    store: Store,
}

impl GradesApi {
    /// Opens the store in a directory; creates both, with the sample students, when they are missing.
    ///
    /// # Errors
    /// A directory or database that cannot be created, opened, written or brought up to date.
    pub async fn open(data_dir: &Path) -> Result<Self, Error> {
        let store = Store::open(data_dir).await?;
        Ok(Self { store })
    }

    /// Waits for the running calls, then closes the store; later calls fail as on a service that is stopping. What was
    /// answered is on disk with or without it.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

#[async_trait]
impl Grades for GradesApi {
    async fn list_students(
        &self,
        request: Request<ListStudentsRequest>,
    ) -> Result<Response<ListStudentsResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse(STUDENTS_LIST, request.page_size, &request.page_token)?;
        let (students, next) = self.store.list(&page).await?;
        Ok(Response::new(ListStudentsResponse {
            students: students.into_iter().map(Into::into).collect(),
            next_page_token: page.next_token(next),
        }))
    }

    async fn get_student(&self, request: Request<GetStudentRequest>) -> Result<Response<GetStudentResponse>, Status> {
        let id = StudentId::parse("id", request.into_inner().id)?;
        let student = self.store.get(id).await?;
        Ok(Response::new(GetStudentResponse {
            student: Some(student.into()),
        }))
    }

    /// A call dropped half-way has added the grade or not; repeating it with its `request_id` makes sure.
    async fn add_grade(&self, request: Request<AddGradeRequest>) -> Result<Response<AddGradeResponse>, Status> {
        let addition = Addition::try_from(request.into_inner())?;
        let (student, title) = (addition.student, addition.grade.title());
        let added = self.store.add(&addition).await?;
        if added.repeated {
            tracing::debug!(student.id = student.get(), grade.title = %title, "grade had been added before");
        } else {
            tracing::info!(student.id = student.get(), grade.title = %title, "grade added");
        }
        Ok(Response::new(AddGradeResponse {
            student: Some(added.student.into()),
        }))
    }
}

#[cfg(test)]
mod tests;

//! `students` and `grade`: the sample service.

use homeroom::{
    process::complain,
    proto::grades::v1::{self as grades, AddGradeRequest, ListStudentsRequest, Student},
};

use super::all_pages;
use crate::{
    args::Grade,
    client::Client,
    failure::Failure,
    output::{Cell, Output},
};

const STUDENT: &str = "homeroom.grades.v1.Student";

/// Lists the students.
///
/// # Errors
/// When Grades cannot be asked.
pub async fn students(client: &Client, output: &Output) -> Result<(), Failure> {
    let grades = client.grades().await?;
    let students = all_pages(|page_token| async {
        let request = client.request(ListStudentsRequest {
            page_token,
            page_size: 0,
        });
        let page = grades.clone().list_students(request).await?.into_inner();
        Ok((page.students, page.next_page_token))
    });
    let row = |student: &Student| -> [Cell; 4] {
        let scores: Vec<_> = student
            .grades
            .iter()
            .map(|grade| grade.score.unwrap_or_default().to_string())
            .collect();
        [
            student.id.to_string().into(),
            format!("{} {}", student.first_name, student.last_name).into(),
            scores.join(" ").into(),
            average(student).into(),
        ]
    };
    Ok(output.list(STUDENT, &students.await?, ["ID", "NAME", "SCORES", "AVERAGE"], row)?)
}

/// Gives a grade, and says in which trace.
///
/// # Errors
/// [`Failure::Negative`] when there is no such student; when Grades cannot be asked.
pub async fn grade(client: &Client, output: &Output, grade: Grade) -> Result<(), Failure> {
    let mut grades = client.grades().await?;
    let request = client.request(AddGradeRequest {
        student_id: grade.student,
        grade: Some(grades::Grade {
            title: grade.title,
            r#type: grade.grade_type.into(),
            score: Some(grade.score),
        }),
        request_id: grade
            .request_id
            .unwrap_or_else(|| format!("{:032x}", fastrand::u128(..))),
    });
    let (answer, trace) = client.traced("homeroom grade", grades.add_grade(request)).await;
    let student = answer?.into_inner().student.unwrap_or_default();
    output.item(STUDENT, &student, |student| {
        let text = format!(
            "{} {} has an average of {}",
            student.first_name,
            student.last_name,
            average(student)
        );
        vec![Cell::from(text).into()]
    })?;
    complain(&format!("homeroom: what this did: homeroom trace {}", trace.trace_id()));
    Ok(())
}

fn average(student: &Student) -> String {
    student
        .average
        .map_or_else(|| "-".to_owned(), |average| format!("{average:.2}"))
}

//! The sample students: the first data of a fresh database. Pure: `store` is what adds them, all or none.

use crate::gradebook::{Grade, GradeKind, Student, StudentId};

/// What each of them was graded for.
const WORK: [(&str, GradeKind); 3] = [
    ("Quiz 1", GradeKind::Quiz),
    ("Week 1 Homework", GradeKind::Homework),
    ("Quiz 2", GradeKind::Quiz),
];

/// Names and scores, in the order of the ids from 1, and of [`WORK`].
const STUDENTS: [(&str, &str, [f64; 3]); 5] = [
    ("Averill", "Simen", [85.0, 94.0, 88.0]),
    ("Marge", "Garrard", [100.0, 100.0, 88.0]),
    ("Sydnie", "Barber", [77.0, 0.0, 65.0]),
    ("Louie", "Easton", [88.0, 93.0, 84.0]),
    ("Kylee", "Attwood", [95.0, 100.0, 97.0]),
];

/// The five sample students with their grades.
pub(crate) fn students() -> impl Iterator<Item = Student> {
    (1..)
        .zip(STUDENTS)
        .map(|(id, (first_name, last_name, scores))| Student {
            id: StudentId::parse("id", id).expect("ids start at 1"),
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            grades: WORK.into_iter().zip(scores).map(grade).collect(),
        })
}

fn grade(((title, kind), score): ((&str, GradeKind), f64)) -> Grade {
    Grade::new(title.to_owned(), kind, score).expect("the sample grades are valid")
}

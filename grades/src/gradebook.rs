//! Students and grades: what is valid, and what follows from it. Pure: must never import the store or tonic.

mod convert;

use std::fmt;

use homeroom::model::InvalidField;

/// Names a student: 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StudentId(u32);

impl StudentId {
    /// Checks an id given in `field`.
    ///
    /// # Errors
    /// 0, which on the wire is an id left out.
    pub fn parse(field: &str, id: u32) -> Result<Self, InvalidField> {
        match id {
            0 => Err(InvalidField::new(field, "must be given: ids start at 1")),
            id => Ok(Self(id)),
        }
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StudentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names an addition, so that a repeat of it is seen as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// Room for a UUID with a prefix; every one is kept as long as its grade.
    pub const CHARS_MAX: usize = 128;

    /// Checks an id given in `field`; an empty one is `None`.
    ///
    /// # Errors
    /// What the field allows.
    pub fn parse(field: &str, text: String) -> Result<Option<Self>, InvalidField> {
        if text.len() > Self::CHARS_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let allowed = format!("must be at most {} visible ASCII characters", Self::CHARS_MAX);
            return Err(InvalidField::new(field, allowed));
        }
        Ok((!text.is_empty()).then_some(Self(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A kind of graded work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GradeKind {
    /// A test.
    Test,
    /// Homework.
    Homework,
    /// A quiz.
    Quiz,
}

/// One graded piece of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Grade {
    title: String,
    kind: GradeKind,
    score: f64,
}

impl Grade {
    /// A title is a line, not a document.
    pub const TITLE_CHARS_MAX: usize = 100;
    /// The best score.
    pub const SCORE_MAX: f64 = 100.0;

    /// Checks a grade.
    ///
    /// # Errors
    /// `title` or `score`, and what it allows.
    pub fn new(title: String, kind: GradeKind, score: f64) -> Result<Self, InvalidField> {
        let chars = title.chars().take(Self::TITLE_CHARS_MAX + 1).count();
        if chars == 0 || chars > Self::TITLE_CHARS_MAX || title.chars().any(char::is_control) {
            let allowed = "must be 1 to 100 characters, none of them a control character";
            return Err(InvalidField::new("title", allowed));
        }
        if !(0.0..=Self::SCORE_MAX).contains(&score) {
            return Err(InvalidField::new("score", "must be a number from 0 to 100"));
        }
        // Adding zero makes -0 the 0 that the database would make of it.
        let score = score + 0.0;
        Ok(Self { title, kind, score })
    }

    /// What was graded.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The kind of work.
    pub fn kind(&self) -> GradeKind {
        self.kind
    }

    /// The score: 0 to [`Grade::SCORE_MAX`].
    pub fn score(&self) -> f64 {
        self.score
    }
}

/// A student.
#[derive(Debug, Clone, PartialEq)]
pub struct Student {
    /// What names the student.
    pub id: StudentId,
    /// The first name.
    pub first_name: String,
    /// The last name.
    pub last_name: String,
    /// The grades, in the order in which they were added.
    pub grades: Vec<Grade>,
}

impl Student {
    /// Keeps a student with the longest titles (four bytes a character) near 2 MiB: below the 4 MiB that stock clients
    /// accept in one message.
    pub const GRADES_MAX: usize = 5_000;

    /// The mean of the scores; `None` without grades.
    pub fn average(&self) -> Option<f64> {
        let sum: f64 = self.grades.iter().map(Grade::score).sum();
        (!self.grades.is_empty()).then(|| sum / self.grades.len() as f64)
    }
}

/// A grade to be added.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Addition {
    /// Who gets it.
    pub(crate) student: StudentId,
    /// The grade.
    pub(crate) grade: Grade,
    /// What names the addition; `None` adds at every call.
    pub(crate) request_id: Option<RequestId>,
}

#[cfg(test)]
mod tests;

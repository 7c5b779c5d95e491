//! The gradebook's types from and to the wire.

use homeroom::{model::InvalidField, proto::grades::v1 as proto};

use super::{Addition, Grade, GradeKind, RequestId, Student, StudentId};

impl TryFrom<proto::GradeType> for GradeKind {
    type Error = InvalidField;

    fn try_from(kind: proto::GradeType) -> Result<Self, InvalidField> {
        match kind {
            proto::GradeType::Unspecified => Err(invalid_type()),
            proto::GradeType::Test => Ok(Self::Test),
            proto::GradeType::Homework => Ok(Self::Homework),
            proto::GradeType::Quiz => Ok(Self::Quiz),
        }
    }
}

impl From<GradeKind> for proto::GradeType {
    fn from(kind: GradeKind) -> Self {
        match kind {
            GradeKind::Test => Self::Test,
            GradeKind::Homework => Self::Homework,
            GradeKind::Quiz => Self::Quiz,
        }
    }
}

fn invalid_type() -> InvalidField {
    InvalidField::new("type", "must be given: test, homework or quiz")
}

impl TryFrom<proto::Grade> for Grade {
    type Error = InvalidField;

    fn try_from(grade: proto::Grade) -> Result<Self, InvalidField> {
        let kind = proto::GradeType::try_from(grade.r#type).map_err(|_| invalid_type())?;
        let score = grade
            .score
            .ok_or_else(|| InvalidField::new("score", "must be given: a number from 0 to 100"))?;
        Self::new(grade.title, kind.try_into()?, score)
    }
}

impl From<Grade> for proto::Grade {
    fn from(grade: Grade) -> Self {
        Self {
            title: grade.title,
            r#type: proto::GradeType::from(grade.kind).into(),
            score: Some(grade.score),
        }
    }
}

impl From<Student> for proto::Student {
    fn from(student: Student) -> Self {
        Self {
            average: student.average(),
            id: student.id.get(),
            first_name: student.first_name,
            last_name: student.last_name,
            grades: student.grades.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::AddGradeRequest> for Addition {
    type Error = InvalidField;

    fn try_from(request: proto::AddGradeRequest) -> Result<Self, InvalidField> {
        let student = StudentId::parse("student_id", request.student_id)?;
        let grade = request
            .grade
            .ok_or_else(|| InvalidField::new("grade", "must be given"))?;
        Ok(Self {
            student,
            grade: Grade::try_from(grade).map_err(|error| error.within("grade"))?,
            request_id: RequestId::parse("request_id", request.request_id)?,
        })
    }
}

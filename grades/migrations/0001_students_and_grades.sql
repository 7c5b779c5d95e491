-- Students and their grades. Grades are only ever added, so a higher id is a later grade.
CREATE TABLE students (
    id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 4294967295),
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL
) STRICT;

CREATE TABLE grades (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    student_id INTEGER NOT NULL REFERENCES students (id),
    title TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('TEST', 'HOMEWORK', 'QUIZ')),
    score REAL NOT NULL CHECK (score BETWEEN 0 AND 100),
    -- What the caller named the addition; NULL when it gave no name.
    request_id TEXT UNIQUE
) STRICT;

CREATE INDEX grades_by_student ON grades (student_id);

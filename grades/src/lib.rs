//! Grades: students and their grades, the sample of a business service.
//!
//! In reading order: [`gradebook`](Student) says what a student and a grade are, and what is valid; `seed` holds the
//! sample students; `store` keeps them all in one SQLite file; `grpc` translates between the wire and the store;
//! `error` says what can go wrong, and what the caller does next; `run` wires it all into a service.

mod config;
mod error;
mod gradebook;
mod grpc;
mod run;
mod seed;
mod store;

pub use self::{
    config::{Args, PORT},
    error::Error,
    gradebook::{Grade, GradeKind, RequestId, Student, StudentId},
    grpc::GradesApi,
    run::{RunError, run},
};

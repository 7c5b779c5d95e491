//! The command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use homeroom::{
    config::{DATA_DIR_DEFAULT, REGISTRY_DEFAULT, address, duration},
    model::Address,
    proto::{grades::v1::GradeType, log::v1::Severity},
};

/// Runs a mesh of gRPC services, and looks into one.
#[derive(Debug, Clone, Parser)]
#[command(name = "homeroom", version, about)]
pub struct Args {
    /// What all commands share.
    #[command(flatten)]
    pub shared: Shared,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands share.
#[derive(Debug, Clone, clap::Args)]
pub struct Shared {
    /// The registry
    #[arg(long, global = true, env = "HOMEROOM_REGISTRY", value_name = "HOST:PORT", value_parser = address,
        default_value = REGISTRY_DEFAULT)]
    pub registry: Address,
    /// How long one call may take
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub timeout: Duration,
    /// How to write what was found
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// How to write what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// A JSON value a line, as protobuf's JSON mapping has it
    Json,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Runs the registry, Log and Grades in this process
    Up(Up),
    /// Lists the services
    Services,
    /// Lists instances, whatever their health
    Instances {
        /// The service [default: all]
        service: Option<String>,
    },
    /// Follows changes until it is stopped
    Watch {
        /// The services [default: all]
        services: Vec<String>,
    },
    /// Shows log entries, the newest last
    Logs(Logs),
    /// Lists the students and their averages
    Students,
    /// Gives a student a grade
    Grade(Grade),
    /// Tells the version of this command
    Version,
}

/// What `up` runs, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct Up {
    /// The address of this machine to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The registry's port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = registry::PORT)]
    pub registry_port: u16,
    /// Log's port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = logsvc::PORT)]
    pub log_port: u16,
    /// Grades' port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = grades::PORT)]
    pub grades_port: u16,
    /// Where the data is kept: a folder for each service
    #[arg(long, env = "HOMEROOM_DATA_DIR", value_name = "DIR", default_value = DATA_DIR_DEFAULT)]
    pub data_dir: PathBuf,
    /// Has the registry keep nothing: it starts empty, and those who run register again
    #[arg(long, env = "HOMEROOM_EPHEMERAL")]
    pub ephemeral: bool,
}

/// Which log entries to show.
#[derive(Debug, Clone, clap::Args)]
pub struct Logs {
    /// Goes on with new entries until it is stopped
    #[arg(short, long)]
    pub follow: bool,
    /// Entries of this service; may be given several times [default: all]
    #[arg(long = "service", value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Entries of this severity or worse
    #[arg(long, value_parser = severity, value_name = "trace|debug|info|warn|error|fatal")]
    pub severity: Option<Severity>,
    /// Entries of this trace
    #[arg(long, value_name = "ID")]
    pub trace: Option<String>,
    /// How many entries at most
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: u32,
    /// Entries whose message contains this text
    pub text: Option<String>,
}

/// The grade to give.
#[derive(Debug, Clone, clap::Args)]
pub struct Grade {
    /// The student's id
    pub student: u32,
    /// What was graded
    pub title: String,
    /// The score, 0 to 100
    #[arg(allow_negative_numbers = true)]
    pub score: f64,
    /// The kind of work
    #[arg(long = "type", value_parser = grade_type, default_value = "quiz", value_name = "test|homework|quiz")]
    pub grade_type: GradeType,
    /// What names this addition, so that repeating it is harmless [default: a random one]
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
}

fn severity(text: &str) -> Result<Severity, String> {
    let name = format!("SEVERITY_{}", text.to_uppercase());
    let severity = Severity::from_str_name(&name).filter(|severity| *severity != Severity::Unspecified);
    severity.ok_or_else(|| "must be trace, debug, info, warn, error or fatal".to_owned())
}

fn grade_type(text: &str) -> Result<GradeType, String> {
    let name = format!("GRADE_TYPE_{}", text.to_uppercase());
    let grade_type = GradeType::from_str_name(&name).filter(|grade_type| *grade_type != GradeType::Unspecified);
    grade_type.ok_or_else(|| "must be test, homework or quiz".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn names_of_enums_are_those_of_the_api() {
        assert_eq!(severity("warn"), Ok(Severity::Warn));
        assert!(severity("unspecified").is_err() && severity("loud").is_err());
        assert_eq!(grade_type("Homework"), Ok(GradeType::Homework));
        assert!(grade_type("essay").is_err());
    }
}

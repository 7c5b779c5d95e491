//! The command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use homeroom::{
    config::{DATA_DIR_DEFAULT, REGISTRY_DEFAULT, TelemetryArgs, address, duration},
    model::{Address, InstanceId, ServiceName},
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
    /// How long one call may take, or all of `wait` [default: 10s, `wait`: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
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
    /// Graphviz, for `graph`
    Dot,
    /// Mermaid, for `graph`
    Mermaid,
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
    /// Tells why a service or an instance gets traffic or doesn't; the exit code is 1 when it doesn't
    Why {
        /// The service, or one instance of it
        #[arg(value_name = "SERVICE[/ID]", value_parser = target)]
        target: Target,
    },
    /// Shows changes with their causes, the newest last
    Events(Events),
    /// Tells how the registry and Log are; the exit code is 1 when something keeps them from working as they should
    Status,
    /// Waits until each service has a serving instance; the exit code is 1 when one has none in time
    Wait {
        /// The services
        #[arg(required = true, value_name = "SERVICE", value_parser = service)]
        services: Vec<ServiceName>,
    },
    /// Shows which service requires which, those that are missing, and cycles
    Graph,
    /// Follows the instances of services until it is stopped
    Watch {
        /// The services [default: all]
        services: Vec<String>,
    },
    /// Shows log entries, the newest last
    Logs(Logs),
    /// Draws what a call has caused: the spans of a trace over time, with the log entries between them
    Trace {
        /// The trace id: 32 hex digits
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Lists traces, those written last first
    Traces(Traces),
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
    /// What goes to Log
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// A service, or one instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The service.
    pub service: ServiceName,
    /// The instance's id.
    pub id: Option<InstanceId>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}/{id}", self.service),
            None => self.service.fmt(f),
        }
    }
}

/// Which changes to show.
#[derive(Debug, Clone, clap::Args)]
pub struct Events {
    /// Goes on with new changes until it is stopped, also when the registry is away for a while
    #[arg(short, long)]
    pub follow: bool,
    /// How many changes at most
    #[arg(short = 'n', long, default_value_t = 20)]
    pub lines: u32,
    /// The service, or one instance of it [default: all]
    #[arg(value_name = "SERVICE[/ID]", value_parser = target)]
    pub target: Option<Target>,
}

/// Which log entries to show.
#[derive(Debug, Clone, clap::Args)]
pub struct Logs {
    /// Goes on with new entries until it is stopped
    #[arg(short, long)]
    pub follow: bool,
    /// Entries of the last 15m, 2h, ... [default: whatever their time]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Entries from before 15m, 2h, ... ago
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "follow")]
    pub until: Option<Duration>,
    /// Entries of this service; may be given several times [default: all]
    #[arg(long = "service", value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Entries of this instance
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,
    /// Entries of this severity or worse
    #[arg(long, value_parser = severity, value_name = "trace|debug|info|warn|error|fatal")]
    pub severity: Option<Severity>,
    /// Entries whose message this regular expression matches
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Entries with this attribute; may be given several times
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
    pub attributes: Vec<(String, String)>,
    /// Entries of this trace
    #[arg(long, value_name = "ID")]
    pub trace: Option<String>,
    /// Shows spans, too
    #[arg(long)]
    pub spans: bool,
    /// How many entries at most
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: u32,
    /// Entries whose message contains this text
    pub text: Option<String>,
}

/// Which traces to list: those with a span that matches all of it.
#[derive(Debug, Clone, clap::Args)]
pub struct Traces {
    /// Spans that started in the last 15m, 2h, ... [default: whenever]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Spans of this service; may be given several times [default: all]
    #[arg(long = "service", value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Spans of this name, such as package.Service/Method
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Spans that took at least so long
    #[arg(long = "min", value_name = "DURATION", value_parser = duration)]
    pub min_duration: Option<Duration>,
    /// Spans that ended in an error
    #[arg(long)]
    pub errors: bool,
    /// How many traces at most
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: u32,
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

fn service(text: &str) -> Result<ServiceName, String> {
    ServiceName::parse("it", text).map_err(|error| error.allowed)
}

fn target(text: &str) -> Result<Target, String> {
    let (name, id) = match text.split_once('/') {
        Some((name, id)) => (name, Some(id)),
        None => (text, None),
    };
    let id = id.map(|id| InstanceId::parse("id", id)).transpose();
    Ok(Target {
        service: service(name)?,
        id: id.map_err(|error| format!("the id {}", error.allowed))?,
    })
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
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
    fn a_target_is_a_service_or_an_instance_of_it() {
        let parsed = |text| target(text).map(|target| (target.to_string(), target.id.is_some()));
        assert_eq!(parsed("grades"), Ok(("grades".to_owned(), false)));
        assert_eq!(parsed("grades/[::1]:3002"), Ok(("grades/[::1]:3002".to_owned(), true)));
        for bad in ["", "Not a name", "grades/", "grades/a/b", "/a"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_enums_are_those_of_the_api() {
        assert_eq!(severity("warn"), Ok(Severity::Warn));
        assert!(severity("unspecified").is_err() && severity("loud").is_err());
        assert_eq!(grade_type("Homework"), Ok(GradeType::Homework));
        assert!(grade_type("essay").is_err());
    }
}

//! From the command line to the exit code.

use std::process::ExitCode;

use homeroom::process::{block_on, complain};

use crate::{
    args::{Args, Command, Format},
    client::Client,
    command,
    failure::Failure,
    output::Output,
};

/// Runs a command: data on stdout, messages on stderr. The exit code is 0, 1 for a no, 2 for what makes no sense, 3 when
/// nobody could be asked, 4 for a fault.
pub fn run(args: Args) -> ExitCode {
    match block_on(dispatch(args)).unwrap_or_else(|error| Err(Failure::Server(error))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (text, code) = failure.report();
            if let Some(text) = text {
                text.lines().for_each(|line| complain(&format!("homeroom: {line}")));
            }
            code
        }
    }
}

async fn dispatch(args: Args) -> Result<(), Failure> {
    let format = args.shared.output;
    if matches!(format, Format::Dot | Format::Mermaid) && !matches!(args.command, Command::Graph) {
        return Err(Failure::Usage(
            "only `graph` has the formats dot and mermaid".to_owned(),
        ));
    }
    let output = Output::new(format);
    let client = Client::new(&args.shared);
    match args.command {
        Command::Up(up) => command::up::run(&up, &output).await,
        Command::Services => command::services::services(&client, &output).await,
        Command::Instances { service } => command::services::instances(&client, &output, service).await,
        Command::Why { target } => command::why::run(&client, &output, &target).await,
        Command::Events(events) => command::events::run(&client, &output, &events).await,
        Command::Status => command::status::run(&client, &output).await,
        Command::Wait { services } => command::wait::run(&args.shared, &services).await,
        Command::Graph => command::graph::run(&client, &output, format).await,
        Command::Watch { services } => command::watch::run(&client, &output, services).await,
        Command::Logs(logs) => command::logs::run(&client, &output, &logs).await,
        Command::Trace { id } => command::trace::trace(&client, &output, &id).await,
        Command::Traces(traces) => command::trace::traces(&client, &output, &traces).await,
        Command::Students => command::students::students(&client, &output).await,
        Command::Grade(grade) => command::students::grade(&client, &output, grade).await,
        Command::Version => Ok(output.write(concat!("homeroom ", env!("CARGO_PKG_VERSION"), "\n"))?),
    }
}

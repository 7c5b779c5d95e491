//! What all binaries share: flags and environment variables (strings), and what they mean (checked).

mod size;
mod telemetry;

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

pub use self::{size::size, telemetry::TelemetryArgs};
use crate::{
    model::{Address, Registration},
    telemetry::Settings,
};

/// The flags of every service. `#[command(flatten)]` puts them into a service's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServiceArgs {
    /// Where to listen, as IP:PORT; port 0 takes a free one [default: the service's own port on 127.0.0.1]
    #[arg(long, env = "HOMEROOM_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// The address that others reach this instance at, as HOST:PORT [default: where it listens]
    #[arg(long, env = "HOMEROOM_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The registry [default: 127.0.0.1:3000]
    #[arg(long, env = "HOMEROOM_REGISTRY", value_name = "HOST:PORT")]
    pub registry: Option<String>,
    /// Where this instance runs, such as a rack or a data centre: calls go to instances in the same zone first
    #[arg(long, env = "HOMEROOM_ZONE", value_name = "ZONE")]
    pub zone: Option<String>,
    /// How long running calls may take to finish when the service is stopped [default: 10s]
    #[arg(long, env = "HOMEROOM_GRACE", value_name = "DURATION")]
    pub grace: Option<String>,
    /// What goes to Log.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// What a service needs to know to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The address that others reach this instance at; `None` for where it listens.
    pub advertise: Option<Address>,
    /// The registry.
    pub registry: Address,
    /// Where this instance runs; empty when not given.
    pub zone: String,
    /// How long running calls may take to finish.
    pub grace: Duration,
    /// What goes to Log, and how.
    pub telemetry: Settings,
}

impl AsRef<Self> for Config {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// The flags of a service that keeps data.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoringArgs {
    /// The flags of every service.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// Where the data is kept [default: homeroom-data/ and the service's name]
    #[arg(long, env = "HOMEROOM_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What a service that keeps data needs to know to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoringConfig {
    /// What every service needs to know.
    pub service: Config,
    /// Where the data is kept.
    pub data_dir: PathBuf,
}

/// The folder that services keep their data in when nobody says.
pub const DATA_DIR_DEFAULT: &str = "homeroom-data";

impl StoringConfig {
    /// Checks the flags of the service `name`, which listens on `port` when they don't say.
    ///
    /// # Errors
    /// Everything that is wrong with them, together.
    pub fn parse(args: StoringArgs, name: &str, port: u16) -> Result<Self, ConfigErrors> {
        Ok(Self {
            service: Config::parse(&args.service, port)?,
            data_dir: args
                .data_dir
                .unwrap_or_else(|| PathBuf::from(DATA_DIR_DEFAULT).join(name)),
        })
    }
}

impl AsRef<Config> for StoringConfig {
    fn as_ref(&self) -> &Config {
        &self.service
    }
}

/// Where the registry is when nobody says.
pub const REGISTRY_DEFAULT: &str = "127.0.0.1:3000";
/// How long a drain takes at most when nobody says.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(10);

impl Config {
    /// Checks the flags of a service that listens on `port` when they don't say.
    ///
    /// # Errors
    /// Everything that is wrong with them, together.
    pub fn parse(args: &ServiceArgs, port: u16) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let config = Self {
            listen: errors.check(
                "--listen",
                args.listen.as_deref(),
                listen,
                ([127, 0, 0, 1], port).into(),
            ),
            advertise: errors.check(
                "--advertise",
                args.advertise.as_deref(),
                |text| address(text).map(Some),
                None,
            ),
            registry: errors.check("--registry", args.registry.as_deref(), address, registry_default()),
            zone: errors.check("--zone", args.zone.as_deref(), zone, String::new()),
            grace: errors.check("--grace", args.grace.as_deref(), duration, GRACE_DEFAULT),
            telemetry: args.telemetry.check(&mut errors),
        };
        errors.into_result(config)
    }
}

/// The address of [`REGISTRY_DEFAULT`].
///
/// # Panics
/// Never: the constant is an address.
pub fn registry_default() -> Address {
    REGISTRY_DEFAULT.parse().expect("the default is an address")
}

/// All that is wrong with a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    /// Checks one setting: what it parses to, or `default` when it is not given. What is wrong is kept.
    pub fn check<T>(
        &mut self,
        name: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
        default: T,
    ) -> T {
        let Some(text) = text else {
            return default;
        };
        parse(text).unwrap_or_else(|allowed| {
            self.0.push(format!("{name} `{text}` {allowed}"));
            default
        })
    }

    /// Takes over what is wrong with a part, and returns the part if it is sound.
    pub fn part<T>(&mut self, part: Result<T, Self>) -> Option<T> {
        part.map_err(|errors| self.0.extend(errors.0)).ok()
    }

    /// The value, if nothing is wrong.
    ///
    /// # Errors
    /// What is wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads an IP:PORT to listen on; `localhost` is 127.0.0.1.
///
/// # Errors
/// What is allowed.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse()
        .map_err(|_| "must be IP:PORT, such as 127.0.0.1:3000 or 0.0.0.0:0".to_owned())
}

/// Reads a HOST:PORT to dial.
///
/// # Errors
/// What is allowed.
pub fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: crate::model::InvalidField| error.allowed)
}

/// Reads the name of a zone.
///
/// # Errors
/// What is allowed.
pub fn zone(text: &str) -> Result<String, String> {
    let max = Registration::LABEL_CHARS_MAX;
    if text.chars().count() > max || text.chars().any(char::is_control) {
        return Err(format!(
            "must be at most {max} characters, none of them a control character"
        ));
    }
    Ok(text.to_owned())
}

/// Reads a duration such as `500ms`, `10s` or `1m 30s`.
///
/// # Errors
/// What is allowed.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "must be a duration, such as 500ms or 10s".to_owned())
}

/// Reads a number within bounds. The error says what is allowed.
pub fn number<T>(bounds: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    move |text| match text.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => Err(format!("must be {} to {}", bounds.start(), bounds.end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_the_documented_default() {
        let config = Config::parse(&ServiceArgs::default(), 3002).expect("the defaults are sound");
        assert_eq!(config.listen, "127.0.0.1:3002".parse().expect("an address"));
        assert_eq!(config.registry.as_str(), REGISTRY_DEFAULT);
        assert_eq!(config.grace, Duration::from_secs(10));
    }

    #[test]
    fn all_errors_are_reported_together() {
        let args = ServiceArgs {
            listen: Some("here".to_owned()),
            advertise: Some("0.0.0.0:1".to_owned()),
            registry: Some("localhost".to_owned()),
            zone: Some("z".repeat(65)),
            grace: Some("long".to_owned()),
            telemetry: TelemetryArgs {
                log_level: Some("a=b=c".to_owned()),
                ..TelemetryArgs::default()
            },
        };
        let errors = Config::parse(&args, 1).expect_err("nothing of it is sound").to_string();
        for name in [
            "--listen `here`",
            "--advertise",
            "--registry `localhost`",
            "--zone `zz",
            "--grace `long`",
            "--log-level `a=b=c`",
        ] {
            assert!(errors.contains(name), "{name} in: {errors}");
        }
    }
}

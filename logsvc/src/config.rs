//! The service's flags, and what they mean.

use std::time::Duration;

use homeroom::{
    config::{Config, ConfigErrors, StoringArgs, StoringConfig, address, duration, size},
    model::Address,
};

/// Where Log listens when nobody says.
pub const PORT: u16 = 3001;

const MIB: u64 = 1024 * 1024;
/// No disk needs more than this, and sums of sizes must not overflow.
const SIZE_BYTES_MAX: u64 = 1 << 50;

/// The flags of the `logsvc` binary.
#[derive(Debug, Clone, Default, clap::Parser)]
#[command(
    name = "logsvc",
    version,
    about = "Keeps everybody's log entries and spans and finds them again"
)]
pub struct Args {
    #[command(flatten)]
    storing: StoringArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Sends all entries and spans on to this OTLP/gRPC endpoint, at least once; one that sends them back would have them go
    /// round for ever [default: nowhere]
    #[arg(long, env = "HOMEROOM_FORWARD", value_name = "[http://]HOST:PORT")]
    forward: Option<String>,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "What is kept")]
struct StoreArgs {
    /// A segment of this size is sealed: compressed, with an index [default: 64MiB]
    #[arg(long, env = "HOMEROOM_SEGMENT_SIZE", value_name = "SIZE")]
    segment_size: Option<String>,
    /// A segment of this age is sealed, too [default: 1 day]
    #[arg(long, env = "HOMEROOM_SEGMENT_AGE", value_name = "DURATION")]
    segment_age: Option<String>,
    /// With more than this on disk the oldest segments are deleted; 0 for no limit [default: 10GiB]
    #[arg(long, env = "HOMEROOM_RETENTION_SIZE", value_name = "SIZE")]
    retention_size: Option<String>,
    /// Segments all of whose entries are older are deleted [default: never]
    #[arg(long, env = "HOMEROOM_RETENTION_AGE", value_name = "DURATION")]
    retention_age: Option<String>,
    /// With less room than this on the disk the oldest segments are deleted, and with less than half of it entries are
    /// refused [default: 256MiB]
    #[arg(long, env = "HOMEROOM_RETENTION_FREE", value_name = "SIZE")]
    retention_free: Option<String>,
}

/// What Log needs to know to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// What every service needs to know that keeps data.
    pub storing: StoringConfig,
    /// What only Log needs to know.
    pub settings: Settings,
}

impl AsRef<Config> for LogConfig {
    fn as_ref(&self) -> &Config {
        &self.storing.service
    }
}

/// How Log works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What is kept, and how.
    pub store: StoreSettings,
    /// Where entries and spans are sent on to.
    pub forward: Option<Address>,
}

/// What is kept, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// A segment that has reached this many bytes is sealed.
    pub segment_size_bytes: u64,
    /// A segment whose first entry was written so long ago is sealed.
    pub segment_age: Duration,
    /// With more than this many bytes on disk the oldest segments are deleted; 0 for no limit.
    pub retention_size_bytes: u64,
    /// Segments all of whose entries are older are deleted; `None` for never.
    pub retention_age: Option<Duration>,
    /// With less room than this many bytes on the disk the oldest segments are deleted, and with less than half of it
    /// entries are refused: a full disk would take everybody else down, too.
    pub retention_free_bytes: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            segment_size_bytes: 64 * MIB,
            segment_age: Duration::from_secs(24 * 3600),
            retention_size_bytes: 10 * 1024 * MIB,
            retention_age: None,
            retention_free_bytes: 256 * MIB,
        }
    }
}

impl Args {
    /// Checks the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them, together.
    pub fn check(self) -> Result<LogConfig, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let storing = errors.part(StoringConfig::parse(self.storing, "log", PORT));
        let settings = Settings {
            store: self.store.check(&mut errors),
            forward: errors.check(
                "--forward",
                self.forward.as_deref(),
                |text| endpoint(text).map(Some),
                None,
            ),
        };
        let storing = errors.into_result(storing)?.expect("it has no errors");
        Ok(LogConfig { storing, settings })
    }
}

/// Reads where OTLP/gRPC is spoken without TLS: an address, or a URL of one as OpenTelemetry's settings have it.
fn endpoint(text: &str) -> Result<Address, String> {
    let bare = text
        .strip_prefix("http://")
        .map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let allowed = |_| "must be host:port or http://host:port, such as `collector:4317`".to_owned();
    address(bare.unwrap_or(text)).map_err(allowed)
}

impl StoreArgs {
    fn check(self, errors: &mut ConfigErrors) -> StoreSettings {
        let default = StoreSettings::default();
        StoreSettings {
            segment_size_bytes: errors.check(
                "--segment-size",
                self.segment_size.as_deref(),
                size(MIB..=1024 * MIB),
                default.segment_size_bytes,
            ),
            segment_age: errors.check(
                "--segment-age",
                self.segment_age.as_deref(),
                duration,
                default.segment_age,
            ),
            retention_size_bytes: errors.check(
                "--retention-size",
                self.retention_size.as_deref(),
                size(0..=SIZE_BYTES_MAX),
                default.retention_size_bytes,
            ),
            retention_age: errors.check(
                "--retention-age",
                self.retention_age.as_deref(),
                |text| duration(text).map(Some),
                default.retention_age,
            ),
            retention_free_bytes: errors.check(
                "--retention-free",
                self.retention_free.as_deref(),
                size(0..=SIZE_BYTES_MAX),
                default.retention_free_bytes,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn check(flags: &[&str]) -> Result<Settings, String> {
        let args = Args::parse_from(["logsvc"].iter().chain(flags));
        let config = args.check().map_err(|errors| errors.to_string())?;
        Ok(config.settings)
    }

    #[test]
    fn nothing_given_is_the_documented_default() {
        Args::command().debug_assert();
        assert_eq!(check(&[]), Ok(Settings::default()));
    }

    #[test]
    fn every_setting_is_taken_over() {
        let flags = [
            "--segment-size=1MiB",
            "--segment-age=1h",
            "--retention-size=0",
            "--retention-age=7d",
            "--retention-free=1kB",
            "--forward=collector:4317",
        ];
        let store = StoreSettings {
            segment_size_bytes: MIB,
            segment_age: Duration::from_secs(3600),
            retention_size_bytes: 0,
            retention_age: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_free_bytes: 1_000,
        };
        let forward = Some("collector:4317".parse().expect("an address"));
        assert_eq!(check(&flags), Ok(Settings { store, forward }));
    }

    #[test]
    fn an_endpoint_is_an_address_or_a_url_of_one_without_tls() {
        let forward = |text: &str| check(&[&format!("--forward={text}")]).map(|settings| settings.forward);
        let expected = Some("collector:4317".parse().expect("an address"));
        for text in ["collector:4317", "http://collector:4317", "http://collector:4317/"] {
            assert_eq!(forward(text), Ok(expected.clone()), "{text}");
        }
        for text in [
            "https://collector:4317",
            "http://collector",
            "http://collector:4317/v1/logs",
            "http://",
            "",
        ] {
            assert!(forward(text).is_err(), "{text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_together() {
        let wrong = [
            "--segment-size=1048575",
            "--segment-age=old",
            "--retention-size=-",
            "--retention-age=never",
            "--retention-free=x",
            "--forward=nowhere",
        ];
        let errors = check(&wrong).expect_err("nothing of it is sound");
        for flag in wrong {
            let (name, value) = flag.split_once('=').expect("a flag and its value");
            assert!(errors.contains(&format!("{name} `{value}`")), "{flag} in: {errors}");
        }
    }
}

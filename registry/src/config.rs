//! The registry's flags, and what they mean.

use std::{net::IpAddr, time::Duration};

use homeroom::{
    config::{Config, ConfigErrors, StoringArgs, StoringConfig, duration, number, size},
    model::Registration,
};
use ipnet::IpNet;

/// Where the registry listens when nobody says.
pub const PORT: u16 = 3000;

/// The flags of the `registry` binary.
#[derive(Debug, Clone, Default, clap::Parser)]
#[command(
    name = "registry",
    version,
    about = "Knows which instances of which services are alive"
)]
pub struct Args {
    #[command(flatten)]
    storing: StoringArgs,
    /// Keeps nothing: a restarted registry starts empty
    #[arg(long, env = "HOMEROOM_EPHEMERAL")]
    ephemeral: bool,
    #[command(flatten)]
    probe: ProbeArgs,
    #[command(flatten)]
    brake: BrakeArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Probing")]
struct ProbeArgs {
    /// Networks that anybody may have probed, besides their own address; may be given several times
    #[arg(long, env = "HOMEROOM_PROBE_ALLOW", value_name = "CIDR", value_delimiter = ',')]
    probe_allow: Vec<String>,
    /// How many signs of life to ask for in a second; with more instances than that allows, each is asked less often
    /// [default: 200]
    #[arg(long, env = "HOMEROOM_PROBE_RATE", value_name = "NUMBER")]
    probe_rate: Option<String>,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Brake: keeps instances listed when so many go silent at once that the cause is here")]
struct BrakeArgs {
    /// More than this share of all instances engages it [default: 15]
    #[arg(long, env = "HOMEROOM_BRAKE_PERCENT", value_name = "PERCENT")]
    brake_percent: Option<String>,
    /// Fewer silent instances than this never engage it [default: 10]
    #[arg(long, env = "HOMEROOM_BRAKE_INSTANCES", value_name = "NUMBER")]
    brake_instances: Option<String>,
    /// More than this share of a service's instances engages it for the service [default: 50]
    #[arg(long, env = "HOMEROOM_BRAKE_SERVICE_PERCENT", value_name = "PERCENT")]
    brake_service_percent: Option<String>,
    /// A service of fewer instances than this never engages it [default: 4]
    #[arg(long, env = "HOMEROOM_BRAKE_SERVICE_INSTANCES", value_name = "NUMBER")]
    brake_service_instances: Option<String>,
    /// The time in which silences count as one event [default: 30s]
    #[arg(long, env = "HOMEROOM_BRAKE_WINDOW", value_name = "DURATION")]
    brake_window: Option<String>,
    /// How many instances a second may be evicted, and hidden for their silence after it was released [default: 10]
    #[arg(long, env = "HOMEROOM_EVICTION_RATE", value_name = "NUMBER")]
    eviction_rate: Option<String>,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// How many instances may be registered [default: 100000]
    #[arg(long, env = "HOMEROOM_INSTANCES_MAX", value_name = "NUMBER")]
    instances_max: Option<String>,
    /// How much one instance may take in a message [default: 64KiB]
    #[arg(long, env = "HOMEROOM_INSTANCE_SIZE_MAX", value_name = "SIZE")]
    instance_size_max: Option<String>,
    /// How much its metadata may be [default: 16KiB]
    #[arg(long, env = "HOMEROOM_METADATA_SIZE_MAX", value_name = "SIZE")]
    metadata_size_max: Option<String>,
    /// How many watches may be open [default: 20000]
    #[arg(long, env = "HOMEROOM_WATCHERS_MAX", value_name = "NUMBER")]
    watchers_max: Option<String>,
    /// How many services one watch may name [default: 1000]
    #[arg(long, env = "HOMEROOM_WATCH_SERVICES_MAX", value_name = "NUMBER")]
    watch_services_max: Option<String>,
    /// How many changes are held for watchers that come back, and for `ListChanges` [default: 100000]
    #[arg(long, env = "HOMEROOM_HISTORY_MAX", value_name = "NUMBER")]
    history_max: Option<String>,
    /// How old a change gets before newer ones replace it [default: 7 days]
    #[arg(long, env = "HOMEROOM_HISTORY_AGE_MAX", value_name = "DURATION")]
    history_age_max: Option<String>,
}

/// What the registry needs to know to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// What every service needs to know that keeps data.
    pub storing: StoringConfig,
    /// What only the registry needs to know.
    pub settings: Settings,
}

impl AsRef<Config> for RegistryConfig {
    fn as_ref(&self) -> &Config {
        &self.storing.service
    }
}

/// How the registry works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether nothing is kept on disk.
    pub ephemeral: bool,
    /// How it probes.
    pub probe: ProbeSettings,
    /// When it suspects itself.
    pub brake: BrakeSettings,
    /// How much it holds.
    pub limits: Limits,
}

/// How the registry probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The networks that anybody may have probed, besides their own address.
    pub allow: Vec<IpNet>,
    /// How many signs of life of idle connections are asked for in a second, which is what thousands of them cost. The
    /// default asks 600 instances every 3 s, and 5,000 every 25 s.
    pub rate: u32,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            rate: 200,
        }
    }
}

/// When the registry suspects itself rather than the instances that went silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrakeSettings {
    /// More than this share of the catalog, in percent.
    pub percent: u32,
    /// At least this many instances.
    pub instances: u32,
    /// More than this share of one service, in percent.
    pub service_percent: u32,
    /// Only services of at least this many instances.
    pub service_instances: u32,
    /// Silences within this time count together.
    pub window: Duration,
    /// How many instances a second are evicted, and hidden for their silence after a release.
    pub eviction_rate: u32,
}

impl Default for BrakeSettings {
    fn default() -> Self {
        Self {
            percent: 15,
            instances: 10,
            service_percent: 50,
            service_instances: 4,
            window: Duration::from_secs(30),
            eviction_rate: 10,
        }
    }
}

/// How much the registry holds. Each is refused beyond with RESOURCE_EXHAUSTED and a `QuotaFailure`, but for the history,
/// which forgets its oldest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Instances: at some 2.5 KiB each besides large metadata, their history included, the default takes 250 MiB.
    pub instances: usize,
    /// Bytes of an instance in a message: a page and a part of a snapshot hold several.
    pub instance_size_bytes: usize,
    /// Bytes of an instance's metadata, keys and values: every watcher holds all of it.
    pub metadata_size_bytes: usize,
    /// Open watches: at some 4 KiB each, the default takes 80 MiB.
    pub watchers: usize,
    /// Services that one watch names: more is better watched as all.
    pub watch_services: usize,
    /// Changes that are held: an hour of 28 changes a second.
    pub history: usize,
    /// How old a change gets before newer ones replace it.
    pub history_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 100_000,
            instance_size_bytes: 64 * 1024,
            metadata_size_bytes: 16 * 1024,
            watchers: 20_000,
            watch_services: 1_000,
            history: 100_000,
            history_age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// No setting needs more than this, and sums of them must not overflow.
const NUMBER_MAX: usize = 1_000_000_000;
/// A message that holds one instance has to stay below the 4 MiB that stock clients accept.
const INSTANCE_SIZE_BYTES_MAX: u64 = 2 * 1024 * 1024;

impl Args {
    /// Checks the flags.
    ///
    /// # Errors
    /// Everything that is wrong with them, together.
    pub fn check(self) -> Result<RegistryConfig, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let storing = errors.part(StoringConfig::parse(self.storing, "registry", PORT));
        let settings = Settings {
            ephemeral: self.ephemeral,
            probe: self.probe.check(&mut errors),
            brake: self.brake.check(&mut errors),
            limits: self.limits.check(&mut errors),
        };
        let storing = errors.into_result(storing)?.expect("it has no errors");
        Ok(RegistryConfig { storing, settings })
    }
}

impl ProbeArgs {
    fn check(self, errors: &mut ConfigErrors) -> ProbeSettings {
        let default = ProbeSettings::default();
        let networks = self.probe_allow.iter();
        let networks =
            networks.map(|text| errors.check("--probe-allow", Some(text), |text| network(text).map(Some), None));
        ProbeSettings {
            allow: networks.collect::<Vec<_>>().into_iter().flatten().collect(),
            rate: errors.check(
                "--probe-rate",
                self.probe_rate.as_deref(),
                number(1..=1_000_000),
                default.rate,
            ),
        }
    }
}

impl BrakeArgs {
    fn check(self, errors: &mut ConfigErrors) -> BrakeSettings {
        let default = BrakeSettings::default();
        let percent = number(1..=100);
        let count = number(1..=1_000_000);
        BrakeSettings {
            percent: errors.check(
                "--brake-percent",
                self.brake_percent.as_deref(),
                &percent,
                default.percent,
            ),
            instances: errors.check(
                "--brake-instances",
                self.brake_instances.as_deref(),
                &count,
                default.instances,
            ),
            service_percent: errors.check(
                "--brake-service-percent",
                self.brake_service_percent.as_deref(),
                &percent,
                default.service_percent,
            ),
            service_instances: errors.check(
                "--brake-service-instances",
                self.brake_service_instances.as_deref(),
                &count,
                default.service_instances,
            ),
            window: errors.check("--brake-window", self.brake_window.as_deref(), duration, default.window),
            eviction_rate: errors.check(
                "--eviction-rate",
                self.eviction_rate.as_deref(),
                &count,
                default.eviction_rate,
            ),
        }
    }
}

impl LimitArgs {
    fn check(self, errors: &mut ConfigErrors) -> Limits {
        let default = Limits::default();
        let instance_size_bytes = errors.check(
            "--instance-size-max",
            self.instance_size_max.as_deref(),
            size(1..=INSTANCE_SIZE_BYTES_MAX),
            default.instance_size_bytes,
        );
        let metadata_size_bytes = errors.check(
            "--metadata-size-max",
            self.metadata_size_max.as_deref(),
            size(1..=Registration::METADATA_SIZE_BYTES_MAX as u64),
            default.metadata_size_bytes,
        );
        let mut limit =
            |name, text: Option<String>, default| errors.check(name, text.as_deref(), number(1..=NUMBER_MAX), default);
        Limits {
            instances: limit("--instances-max", self.instances_max, default.instances),
            instance_size_bytes,
            metadata_size_bytes,
            watchers: limit("--watchers-max", self.watchers_max, default.watchers),
            watch_services: limit("--watch-services-max", self.watch_services_max, default.watch_services),
            history: limit("--history-max", self.history_max, default.history),
            history_age: errors.check(
                "--history-age-max",
                self.history_age_max.as_deref(),
                duration,
                default.history_age,
            ),
        }
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<IpAddr>().map(IpNet::from).ok();
    let network = text.parse().ok().or_else(single);
    network.ok_or_else(|| "must be a network or an address, such as 10.0.0.0/8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_the_documented_default() {
        let config = Args::default().check().expect("the defaults are sound");
        assert_eq!(config.settings, Settings::default());
        assert_eq!(config.storing.service.listen.port(), PORT);
    }

    #[test]
    fn all_errors_are_reported_together() {
        let args = Args {
            probe: ProbeArgs {
                probe_allow: vec!["10.0.0.0/8".to_owned(), "10.0.0.0/40".to_owned()],
                probe_rate: Some("0".to_owned()),
            },
            brake: BrakeArgs {
                brake_percent: Some("101".to_owned()),
                ..Default::default()
            },
            limits: LimitArgs {
                watchers_max: Some("many".to_owned()),
                metadata_size_max: Some("1048577".to_owned()),
                ..Default::default()
            },
            ..Default::default()
        };
        let errors = args.check().expect_err("nothing of it is sound").to_string();
        for name in [
            "--probe-allow `10.0.0.0/40`",
            "--probe-rate `0`",
            "--brake-percent `101`",
            "--watchers-max `many`",
            "--metadata-size-max `1048577`",
        ] {
            assert!(errors.contains(name), "{name} in: {errors}");
        }
    }
}

//! The flags and environment variables of telemetry. `docs/telemetry.md` says which of OpenTelemetry's are heeded.

use std::collections::BTreeMap;

use super::{ConfigErrors, number};
use crate::telemetry::{QueuePolicy, QueueSettings, Sampler, Settings};

/// Of attributes, what Log takes: so many, so long their names and values in bytes.
const ATTRIBUTES_MAX: usize = 128;
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// The flags of telemetry. `#[command(flatten)]` puts them into a program's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TelemetryArgs {
    /// What goes to Log, as a level or a list such as `info,grades=debug` [default: info]
    #[arg(long, env = "HOMEROOM_LOG_LEVEL", value_name = "LEVELS")]
    pub log_level: Option<String>,
    /// How many entries and spans may wait for Log [default: 8192]
    #[arg(long, env = "HOMEROOM_LOG_QUEUE_ENTRIES", value_name = "COUNT")]
    pub log_queue_entries: Option<String>,
    /// What happens beyond: drop-newest, drop-oldest or block (for at most a second) [default: drop-newest]
    #[arg(long, env = "HOMEROOM_LOG_QUEUE_POLICY", value_name = "POLICY")]
    pub log_queue_policy: Option<String>,
    /// Which calls are recorded: always_on, always_off or traceidratio, or parentbased_ and one of them
    /// [default: parentbased_always_on]
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_name = "SAMPLER")]
    pub otel_traces_sampler: Option<String>,
    /// The share of all traces that traceidratio records, from 0 to 1 [default: 1]
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE")]
    pub otel_traces_sampler_arg: Option<String>,
    /// What every entry says of the process besides, as in `deployment.environment.name=test,host.name=a`
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "KEY=VALUE,...")]
    pub otel_resource_attributes: Option<String>,
    /// The service of entries that come from no instance [default: what the process is called]
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otel_service_name: Option<String>,
    /// `true` for no telemetry: nothing goes to Log, and no spans are made [default: false]
    #[arg(long, env = "OTEL_SDK_DISABLED", value_name = "BOOL")]
    pub otel_sdk_disabled: Option<String>,
}

impl TelemetryArgs {
    /// Checks the flags of a program that has no others to check.
    ///
    /// # Errors
    /// Everything that is wrong with them, together.
    pub fn parse(&self) -> Result<Settings, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let settings = self.check(&mut errors);
        errors.into_result(settings)
    }

    /// Checks the flags. What is wrong with them is kept in `errors`.
    pub fn check(&self, errors: &mut ConfigErrors) -> Settings {
        let default = QueueSettings::default();
        let queue = QueueSettings {
            entries_max: errors.check(
                "--log-queue-entries",
                given(&self.log_queue_entries),
                number(1..=1_000_000),
                default.entries_max,
            ),
            policy: errors.check(
                "--log-queue-policy",
                given(&self.log_queue_policy),
                QueuePolicy::named,
                default.policy,
            ),
        };
        let mut resource = errors.check(
            "OTEL_RESOURCE_ATTRIBUTES",
            given(&self.otel_resource_attributes),
            attributes,
            BTreeMap::new(),
        );
        let service = resource.remove("service.name");
        Settings {
            levels: errors.check(
                "--log-level",
                given(&self.log_level),
                |text| levels(text).map(Some),
                None,
            ),
            queue,
            sampler: self.sampler(errors),
            disabled: given(&self.otel_sdk_disabled).is_some_and(|text| text.eq_ignore_ascii_case("true")),
            service: errors.check(
                "OTEL_SERVICE_NAME",
                given(&self.otel_service_name),
                |text| label(text).map(Some),
                service,
            ),
            instance: resource.remove("service.instance.id"),
            resource,
        }
    }

    fn sampler(&self, errors: &mut ConfigErrors) -> Sampler {
        let name = given(&self.otel_traces_sampler);
        // As OpenTelemetry has it, the share counts only for a sampler that takes one.
        let share = given(&self.otel_traces_sampler_arg).filter(|_| name.is_some_and(|name| name.ends_with("ratio")));
        let share = errors.check("OTEL_TRACES_SAMPLER_ARG", share, number(0.0..=1.0), 1.0);
        let named = |name: &str| Sampler::named(name, share);
        errors.check("OTEL_TRACES_SAMPLER", name, named, Sampler::default())
    }
}

/// OpenTelemetry takes an empty variable for one that is not set.
fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn levels(text: &str) -> Result<String, String> {
    text.parse::<tracing_subscriber::filter::Targets>()
        .map(|_| text.to_owned())
        .map_err(|_| "must be a level or a list, such as info or info,grades=debug".to_owned())
}

/// The name of a service or an instance, as Log takes it.
fn label(text: &str) -> Result<String, String> {
    if text.len() > 253 {
        return Err("must be at most 253 bytes".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads `key=value,key=value`, percent-encoded where need be, as W3C Baggage without properties.
fn attributes(text: &str) -> Result<BTreeMap<String, String>, String> {
    let allowed = || {
        format!(
            "must be key=value,key=value, percent-encoded in UTF-8: at most {ATTRIBUTES_MAX}, keys of 1 to \
             {KEY_BYTES_MAX} bytes, values of at most {VALUE_BYTES_MAX}, names of services and instances of at most 253"
        )
    };
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let pairs = members.map(|member| {
        let (key, value) = member.split_once('=')?;
        let (key, value) = (decoded(key.trim())?, decoded(value.trim())?);
        let fits = !key.is_empty() && key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX;
        let fits = fits && (!matches!(&*key, "service.name" | "service.instance.id") || label(&value).is_ok());
        fits.then_some((key, value))
    });
    let pairs: Option<BTreeMap<_, _>> = pairs.collect();
    pairs.filter(|pairs| pairs.len() <= ATTRIBUTES_MAX).ok_or_else(allowed)
}

/// Undoes the percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(args: TelemetryArgs) -> (Settings, String) {
        let mut errors = ConfigErrors::default();
        let settings = args.check(&mut errors);
        (settings, errors.to_string())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn nothing_given_or_only_empty_variables_are_the_defaults() {
        let empty = TelemetryArgs {
            log_level: some(""),
            log_queue_entries: some(""),
            log_queue_policy: some(""),
            otel_traces_sampler: some(""),
            otel_traces_sampler_arg: some(""),
            otel_resource_attributes: some(""),
            otel_service_name: some(""),
            otel_sdk_disabled: some(""),
        };
        for args in [TelemetryArgs::default(), empty] {
            assert_eq!(checked(args), (Settings::default(), String::new()));
        }
    }

    #[test]
    fn the_resource_is_read_as_baggage_and_names_service_and_instance() {
        let (settings, errors) = checked(TelemetryArgs {
            otel_resource_attributes: some("service.name=a, host.name = h%20%C3%BC ,service.instance.id=a:1,,empty="),
            ..TelemetryArgs::default()
        });
        assert_eq!(errors, "");
        assert_eq!((settings.service, settings.instance), (some("a"), some("a:1")));
        let expected = [("host.name", "h ü"), ("empty", "")];
        assert_eq!(
            settings.resource,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        );
    }

    #[test]
    fn the_name_of_the_service_goes_before_that_of_the_resource() {
        let (settings, _) = checked(TelemetryArgs {
            otel_resource_attributes: some("service.name=a"),
            otel_service_name: some("b"),
            ..TelemetryArgs::default()
        });
        assert_eq!(settings.service, some("b"));
    }

    #[test]
    fn a_share_counts_only_for_a_sampler_that_takes_one() {
        let sampler = |name, share| {
            checked(TelemetryArgs {
                otel_traces_sampler: some(name),
                otel_traces_sampler_arg: some(share),
                ..TelemetryArgs::default()
            })
        };
        assert_eq!(sampler("always_on", "all").1, "");
        let (settings, errors) = sampler("parentbased_traceidratio", "0.25");
        assert_eq!(
            (Ok(settings.sampler), errors),
            (Sampler::named("parentbased_traceidratio", 0.25), String::new())
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_together() {
        let (_, errors) = checked(TelemetryArgs {
            log_level: some("a=b=c"),
            log_queue_entries: some("0"),
            log_queue_policy: some("drop"),
            otel_traces_sampler: some("ratio"),
            otel_traces_sampler_arg: some("1.5"),
            otel_resource_attributes: some("a=%zz"),
            otel_service_name: some(&"s".repeat(254)),
            otel_sdk_disabled: some("perhaps"),
        });
        for name in [
            "--log-level `a=b=c`",
            "--log-queue-entries `0` must be 1 to 1000000",
            "--log-queue-policy `drop` must be drop-newest",
            "OTEL_TRACES_SAMPLER `ratio` must be always_on",
            "OTEL_TRACES_SAMPLER_ARG `1.5` must be 0 to 1",
            "OTEL_RESOURCE_ATTRIBUTES `a=%zz` must be",
            "OTEL_SERVICE_NAME `sss",
        ] {
            assert!(errors.contains(name), "{name} in: {errors}");
        }
    }
}

//! What the process takes of its machine, by the names that Prometheus' client libraries use. Only where there is a
//! `/proc`.

use std::{fmt, fs, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
    registry::Unit,
};

/// Reads `/proc` whenever somebody looks.
#[derive(Debug)]
pub(super) struct Process;

/// One look at `/proc`.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    start_time_seconds: f64,
    virtual_memory_bytes: u64,
    resident_memory_bytes: u64,
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        Self::parse(&stat, &boot)
    }

    /// Reads `/proc/self/stat` and `/proc/stat` (proc(5)).
    fn parse(stat: &str, boot: &str) -> Option<Self> {
        // The second field is the name of the program in parentheses, which may have anything in it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        // proc(5) counts from one, and the first field here is its third.
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        let boot_time = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
        let boot_time = Duration::from_secs(boot_time.parse().ok()?);
        let seconds = |ticks: u64| Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second());
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?).as_secs_f64(),
            start_time_seconds: (boot_time + seconds(field(22)?)).as_secs_f64(),
            virtual_memory_bytes: field(23)?,
            resident_memory_bytes: field(24)? * u64::try_from(rustix::param::page_size()).ok()?,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(usage) = Usage::read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(usage.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "User and system time that the process has used.",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?)?;
        gauge(
            &mut encoder,
            ("process_start_time", Unit::Seconds),
            "When the process started, since the epoch.",
            &usage.start_time_seconds,
        )?;
        gauge(
            &mut encoder,
            ("process_virtual_memory", Unit::Bytes),
            "Address space of the process.",
            &usage.virtual_memory_bytes,
        )?;
        gauge(
            &mut encoder,
            ("process_resident_memory", Unit::Bytes),
            "Memory of the machine that the process takes.",
            &usage.resident_memory_bytes,
        )
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    (name, unit): (&str, Unit),
    help: &str,
    value: &impl EncodeGaugeValue,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
    metric.encode_gauge(value)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194304 90 0 0 0 150 50 0 0 20 0 1 0 1000 4096 3 18446744073709551615\n";
        let usage = Usage::parse(stat, "cpu 1 2 3\nbtime 100\nprocesses 9\n").expect("it is what proc(5) says");
        let (ticks, page) = (
            rustix::param::clock_ticks_per_second(),
            rustix::param::page_size() as u64,
        );
        let seconds = |count: u64| Duration::from_millis(count * 1_000 / ticks).as_secs_f64();
        assert_eq!(
            usage,
            Usage {
                cpu_seconds: seconds(200),
                start_time_seconds: 100.0 + seconds(1000),
                virtual_memory_bytes: 4096,
                resident_memory_bytes: 3 * page,
            }
        );
    }

    #[test]
    fn what_proc_says_of_this_process_can_be_true() {
        let usage = Usage::read().expect("there is a /proc");
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("it is after 1970");
        // The kernel tells the time of its start in whole seconds.
        assert!(usage.start_time_seconds > 0.0 && usage.start_time_seconds < now.as_secs_f64() + 1.0);
        assert!(usage.resident_memory_bytes > 0 && usage.resident_memory_bytes <= usage.virtual_memory_bytes);
    }
}

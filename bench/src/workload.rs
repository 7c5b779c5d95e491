//! Whom the load registers: services of instances whose content changes with every registration.

use std::ops::Range;

use homeroom::proto::registry::v1::{HealthCheck, HealthCheckMode, Instance};

/// How many services there are.
pub(crate) const SERVICES: usize = 100;
/// How many instances a service has.
pub(crate) const INSTANCES: usize = 100;

/// Stands in a message where the number of the registration goes, so that each is other content.
const STAMP: &str = "##########";

/// The name of a service.
pub(crate) fn service(number: usize) -> String {
    format!("service-{number:03}")
}

/// An instance that holds a lease, so that nobody probes it while it is measured.
pub(crate) fn instance(of: usize, number: usize) -> Instance {
    let metadata = [("build", STAMP), ("protocol", "grpc")];
    Instance {
        service: service(of),
        id: format!("instance-{number:04}"),
        address: format!("127.0.0.1:{}", 1024 + (of * INSTANCES + number) % 60_000),
        version: "1.4.2".to_owned(),
        zone: "rack-07".to_owned(),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        health_check: Some(HealthCheck {
            mode: HealthCheckMode::Lease.into(),
            ttl: Some(prost_types::Duration {
                seconds: 3600,
                nanos: 0,
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The messages of a load, one after the other and over again.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    templates: Vec<Template>,
    next: usize,
    stamp: u64,
}

#[derive(Debug, Clone)]
struct Template {
    bytes: Vec<u8>,
    stamp_at: Option<usize>,
}

impl Requests {
    /// Encoded messages.
    pub(crate) fn new(messages: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let templates = messages.into_iter().map(|bytes| Template {
            stamp_at: bytes.windows(STAMP.len()).position(|window| window == STAMP.as_bytes()),
            bytes,
        });
        Self {
            templates: templates.collect(),
            next: 0,
            stamp: 0,
        }
    }

    /// One message for each instance.
    pub(crate) fn of_instances(
        services: Range<usize>,
        instances: usize,
        message: impl Fn(Instance) -> Vec<u8>,
    ) -> Self {
        let all = services.flat_map(|of| (0..instances).map(move |number| instance(of, number)));
        Self::new(all.map(message))
    }

    /// How many different ones there are.
    pub(crate) fn len(&self) -> usize {
        self.templates.len()
    }

    /// Shares of them for connections that do not get into each other's way.
    pub(crate) fn split(self, parts: usize) -> Vec<Self> {
        let part = |part| Self {
            templates: self.templates.iter().skip(part).step_by(parts).cloned().collect(),
            next: 0,
            stamp: self.stamp,
        };
        (0..parts).map(part).filter(|part| part.len() > 0).collect()
    }

    /// The next message, with other content than the time before.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.stamp += 1;
        let (at, count) = (self.next, self.templates.len());
        self.next = (at + 1) % count;
        let template = &mut self.templates[at];
        if let Some(at) = template.stamp_at {
            // Digit by digit: the load has to be cheap.
            let mut rest = self.stamp;
            for digit in template.bytes[at..at + STAMP.len()].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
                rest /= 10;
            }
        }
        &template.bytes
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn every_request_is_another_content_of_the_next_instance() {
        let mut requests = Requests::of_instances(0..2, 2, |instance| instance.encode_to_vec());
        let mut seen = Vec::new();
        for _ in 0..6 {
            let instance = Instance::decode(requests.next()).expect("an instance");
            seen.push(format!(
                "{} {} {}",
                instance.service, instance.id, instance.metadata["build"]
            ));
        }
        assert_eq!(seen[0], "service-000 instance-0000 0000000001");
        assert_eq!(seen[3], "service-001 instance-0001 0000000004");
        assert_eq!(seen[5], "service-000 instance-0001 0000000006");
    }

    #[test]
    fn shares_have_no_instance_in_common() {
        let requests = Requests::of_instances(0..3, 5, |instance| instance.encode_to_vec());
        let shares = requests.split(4);
        assert_eq!(shares.iter().map(Requests::len).collect::<Vec<_>>(), [4, 4, 4, 3]);
    }
}

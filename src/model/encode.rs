//! From the model to the bytes of a message: the only way that a registry's instances and changes leave it, over the wire
//! as to the disk.
//!
//! Not by way of the generated messages: they own each text that they are made of, which is some thirty allocations an
//! instance. The fields are in the order and form that prost gives them, which the tests hold it to.

use std::{io::Write, net::IpAddr};

use super::{Change, Health, HealthCheck, Instance, Registration};
use crate::{fields::Fields, proto::registry::v1 as proto};

/// What an instance without much metadata takes, and a change of it.
const USUAL_BYTES: usize = 512;

impl Instance {
    /// The bytes of its message.
    pub fn encode_to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        instance(self, &mut Fields::behind(&mut bytes));
        bytes
    }
}

impl Change {
    /// The bytes of its message.
    pub fn encode_to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        let mut fields = Fields::behind(&mut bytes);
        let key = self.key();
        fields.number(1, self.revision.0);
        fields.time(2, self.time);
        fields.text(3, key.service.as_str());
        fields.text(4, key.id.as_str());
        fields.enumeration(5, proto::ChangeCause::from(self.cause));
        fields.text(6, &self.detail());
        fields.text(7, &self.actor);
        if let Some(after) = &self.after {
            fields.message(8, |fields| instance(after, fields));
        }
        bytes
    }
}

fn instance(instance: &Instance, fields: &mut Fields<'_>) {
    registration(&instance.registration, fields);
    fields.number(11, instance.incarnation.0);
    fields.number(12, instance.revision.0);
    fields.message(13, |fields| health(&instance.health, fields));
    if let Some(registrant) = instance.registrant {
        fields.put(14, |bytes| put_ip(bytes, registrant));
    }
}

fn registration(registration: &Registration, fields: &mut Fields<'_>) {
    fields.text(1, registration.key.service.as_str());
    fields.text(2, registration.key.id.as_str());
    fields.text(3, registration.address.as_str());
    fields.flag(4, registration.tls);
    fields.text(5, &registration.version);
    fields.text(6, &registration.zone);
    fields.given_number(7, registration.weight.into());
    for (key, value) in registration.metadata.iter() {
        fields.message(8, |fields| {
            fields.text(1, key);
            fields.text(2, value);
        });
    }
    for service in registration.required_services.iter() {
        fields.text(9, service.as_str());
    }
    fields.message(10, |fields| health_check(&registration.health_check, fields));
}

fn health_check(check: &HealthCheck, fields: &mut Fields<'_>) {
    fields.text(1, &check.service);
    fields.duration(2, check.interval);
    fields.duration(3, check.timeout);
    fields.number(4, check.attempts.into());
    fields.duration(5, check.deregister_after);
    fields.enumeration(6, proto::HealthCheckMode::from(check.mode));
    fields.duration(7, check.ttl);
}

fn health(health: &Health, fields: &mut Fields<'_>) {
    fields.enumeration(1, proto::HealthState::from(health.state));
    fields.time(2, health.since);
    fields.enumeration(3, proto::HealthReason::from(health.reason));
    fields.text(4, &health.detail);
    fields.flag(5, health.suspect);
    fields.flag(6, health.verified);
}

/// The usual kind digit by digit: formatting it takes six times as many instructions.
fn put_ip(bytes: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (n, octet) in ip.octets().into_iter().enumerate() {
                if n > 0 {
                    bytes.push(b'.');
                }
                put_decimal(bytes, octet);
            }
        }
        IpAddr::V6(ip) => write!(bytes, "{ip}").expect("a vector takes everything"),
    }
}

fn put_decimal(bytes: &mut Vec<u8>, octet: u8) {
    if octet >= 100 {
        bytes.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        bytes.push(b'0' + octet / 10 % 10);
    }
    bytes.push(b'0' + octet % 10);
}

#[cfg(test)]
mod tests;

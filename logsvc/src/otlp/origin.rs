//! What all records of a process and a part of its program share: read once, written once.

use std::borrow::Cow;

use homeroom::model::InvalidField;

use super::{
    pairs::Pairs,
    value::{Unfit, utf8},
    wire::{Fields, Value},
};
use crate::entry::{self, NAME_BYTES_MAX, SCOPE_BYTES_MAX, Scope, json::Object, line};

/// A process.
#[derive(Debug, Default)]
pub(super) struct Resource<'a> {
    service: Cow<'a, str>,
    instance: Cow<'a, str>,
    attributes: Pairs<'a>,
}

impl<'a> Resource<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, InvalidField> {
        let (mut attributes, mut dropped) = (Pairs::default(), 0);
        for field in Fields::of(message) {
            match field.map_err(|error| Unfit::from(error).at("resource"))? {
                (1, Value::Bytes(pair)) => attributes.read("resource.attributes", pair)?,
                (2, Value::Varint(count)) => dropped = count,
                _ => {}
            }
        }
        let service = attributes.take("service.name").unwrap_or_default();
        let instance = attributes.take("service.instance.id").unwrap_or_default();
        attributes.note_dropped("otel.dropped_attributes_count", dropped);
        attributes.settle("resource.attributes")?;
        Ok(Self {
            service: entry::text("resource.attributes[service.name]", service, 0, NAME_BYTES_MAX)?,
            instance: entry::text("resource.attributes[service.instance.id]", instance, 0, NAME_BYTES_MAX)?,
            attributes,
        })
    }
}

/// A process and a part of its program, as they are in a line.
#[derive(Debug)]
pub(super) struct Origin<'r> {
    pub(super) service: &'r str,
    pub(super) instance: &'r str,
    pub(super) names: Vec<u8>,
    pub(super) surroundings: Vec<u8>,
}

impl<'r> Origin<'r> {
    pub(super) fn new(resource: &'r Resource<'_>, scope: &[u8]) -> Result<Self, InvalidField> {
        let scope = read_scope(scope).map_err(|error| error.within("scope"))?;
        let (mut names, mut surroundings) = (Vec::new(), Vec::new());
        line::names(&mut Object::part(&mut names), &resource.service, &resource.instance);
        line::surroundings(
            &mut Object::part(&mut surroundings),
            resource.attributes.iter(),
            scope.as_ref(),
        );
        Ok(Self {
            service: &resource.service,
            instance: &resource.instance,
            names,
            surroundings,
        })
    }
}

/// Reads an `InstrumentationScope`; `None` when it says nothing.
fn read_scope(message: &[u8]) -> Result<Option<Scope>, InvalidField> {
    let (mut name, mut version, mut attributes, mut dropped) = ("", "", Pairs::default(), 0);
    for field in Fields::of(message) {
        match field.map_err(|error| Unfit::from(error).at("name"))? {
            (1, Value::Bytes(text)) => name = utf8(text).map_err(|unfit| unfit.at("name"))?,
            (2, Value::Bytes(text)) => version = utf8(text).map_err(|unfit| unfit.at("version"))?,
            (3, Value::Bytes(pair)) => attributes.read("attributes", pair)?,
            (4, Value::Varint(count)) => dropped = count,
            _ => {}
        }
    }
    attributes.note_dropped("otel.dropped_attributes_count", dropped);
    attributes.settle("attributes")?;
    let scope = Scope {
        name: entry::text("name", name, 0, SCOPE_BYTES_MAX)?.to_owned(),
        version: entry::text("version", version, 0, SCOPE_BYTES_MAX)?.to_owned(),
        attributes: attributes.to_attributes(),
    };
    Ok((scope != Scope::default()).then_some(scope))
}

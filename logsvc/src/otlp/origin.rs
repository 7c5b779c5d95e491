//! What all records of a process and a part of its program share: read once, written once.

use homeroom::model::InvalidField;

use super::value::attribute;
use crate::{
    entry::{self, NAME_BYTES_MAX, SCOPE_BYTES_MAX, Scope, json::Object, line},
    wire::{Fields, Pairs, Unfit, Value, utf8},
};

/// A process, and how it is in a line.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) service: String,
    pub(super) instance: String,
    pub(super) names: Vec<u8>,
    pub(super) attributes: Vec<u8>,
}

impl Resource {
    pub(super) fn read(message: &[u8]) -> Result<Self, InvalidField> {
        let (mut attributes, mut dropped) = (Pairs::default(), 0);
        for field in Fields::of(message) {
            match field.map_err(|error| Unfit::from(error).at("resource"))? {
                (1, Value::Bytes(pair)) => attributes.read("resource.attributes", attribute(pair))?,
                (2, Value::Varint(count)) => dropped = count,
                _ => {}
            }
        }
        let mut name = |key: &str| {
            let field = format!("resource.attributes[{key}]");
            let name = attributes.take(key).unwrap_or_default().into_bytes();
            let name = String::from_utf8(name).map_err(|_| Unfit::NotUtf8.at(&field))?;
            entry::text(&field, name, 0, NAME_BYTES_MAX)
        };
        let (service, instance) = (name("service.name")?, name("service.instance.id")?);
        attributes.note_dropped("otel.dropped_attributes_count", dropped);
        attributes.settle("resource.attributes")?;
        attributes.check_utf8("resource.attributes")?;
        let (mut names, mut rest) = (Vec::new(), Vec::new());
        line::names(&mut Object::part(&mut names), &service, &instance);
        line::surroundings(&mut Object::part(&mut rest), attributes.iter(), None);
        Ok(Self {
            service,
            instance,
            names,
            attributes: rest,
        })
    }
}

/// A process and a part of its program, and how that is in a line: apart, since a request may have a great many scopes of
/// one large resource.
#[derive(Debug)]
pub(super) struct Origin<'r> {
    pub(super) resource: &'r Resource,
    pub(super) scope: Vec<u8>,
}

impl<'r> Origin<'r> {
    /// How much of it is in each line.
    pub(super) fn size_bytes(&self) -> usize {
        self.resource.names.len() + self.resource.attributes.len() + self.scope.len()
    }

    /// Reads an `InstrumentationScope`.
    pub(super) fn new(resource: &'r Resource, scope: &[u8]) -> Result<Self, InvalidField> {
        let scope = read_scope(scope).map_err(|error| error.within("scope"))?;
        let (mut text, no_resource) = (Vec::new(), std::iter::empty::<(&str, &str)>());
        line::surroundings(&mut Object::part(&mut text), no_resource, scope.as_ref());
        Ok(Self { resource, scope: text })
    }
}

/// The scope; `None` when it says nothing.
fn read_scope(message: &[u8]) -> Result<Option<Scope>, InvalidField> {
    let (mut name, mut version, mut attributes, mut dropped) = ("", "", Pairs::default(), 0);
    for field in Fields::of(message) {
        match field.map_err(|error| Unfit::from(error).at("name"))? {
            (1, Value::Bytes(text)) => name = utf8(text).map_err(|unfit| unfit.at("name"))?,
            (2, Value::Bytes(text)) => version = utf8(text).map_err(|unfit| unfit.at("version"))?,
            (3, Value::Bytes(pair)) => attributes.read("attributes", attribute(pair))?,
            (4, Value::Varint(count)) => dropped = count,
            _ => {}
        }
    }
    attributes.note_dropped("otel.dropped_attributes_count", dropped);
    attributes.settle("attributes")?;
    let scope = Scope {
        name: entry::text("name", name, 0, SCOPE_BYTES_MAX)?.to_owned(),
        version: entry::text("version", version, 0, SCOPE_BYTES_MAX)?.to_owned(),
        attributes: attributes.to_attributes("attributes")?,
    };
    Ok((scope != Scope::default()).then_some(scope))
}

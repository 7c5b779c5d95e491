//! The tracing layer: an event becomes an entry in the queue. Never waits, never writes anywhere itself.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context as LayerContext};

use super::{context::Context, recorder::Recorder};
use crate::proto::log::v1::{Entry, Severity};

/// Longer messages and values are cut here, so that no single event can fill the queue's memory.
pub(super) const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Puts events into the queue, and is where the spans of calls find it.
pub(super) struct Queueing {
    recorder: Recorder,
}

impl Queueing {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }

    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl<S: Subscriber> Layer<S> for Queueing {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let context = Context::current();
        let origin = context.origin.as_deref();
        let metadata = event.metadata();
        fields
            .attributes
            .insert("target".to_owned(), metadata.target().to_owned());
        self.recorder.queue().push(Entry {
            time: Some(SystemTime::now().into()),
            severity: severity(*metadata.level()).into(),
            service: origin.map(|origin| origin.service.clone()).unwrap_or_default(),
            instance: origin.map(|origin| origin.instance.clone()).unwrap_or_default(),
            message: match fields.message {
                message if message.is_empty() => metadata.name().to_owned(),
                message => message,
            },
            attributes: fields.attributes,
            trace_id: context.trace.map(|trace| trace.trace_id()).unwrap_or_default(),
            span_id: context.trace.map(|trace| trace.span_id()).unwrap_or_default(),
            ..Entry::default()
        });
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::TRACE => Severity::Trace,
        Level::DEBUG => Severity::Debug,
        Level::INFO => Severity::Info,
        Level::WARN => Severity::Warn,
        Level::ERROR => Severity::Error,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    attributes: BTreeMap<String, String>,
}

impl Fields {
    fn put(&mut self, field: &Field, mut value: String) {
        value.truncate(value.floor_char_boundary(TEXT_BYTES_MAX));
        match field.name() {
            "message" => self.message = value,
            name => {
                self.attributes.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

//! What is looked for. Pure.

use std::{borrow::Cow, collections::BTreeSet, sync::LazyLock};

use homeroom::{model::InvalidField, proto::log::v1 as proto};
use memchr::{memchr2, memmem::Finder};
use serde::Deserialize;

use super::{FromLine, needle::Needle, pattern::Pattern, spans::SpanFilter};
use crate::{
    entry::{
        Attributes, Entry, KEY_BYTES_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Severity, Time, TraceId, VALUE_BYTES_MAX,
        escaped, head, text,
    },
    store::{Kind, Trigrams, Wanted},
};

/// Each entry is looked up among them, and a request stays small; a mesh with more services is looked at as a whole.
pub(super) const SERVICES_MAX: usize = 100;
/// Each entry is looked through for all of them.
pub(super) const ATTRIBUTES_MAX: usize = 16;

/// What a message starts with in its line, and what is in front of it in that of a span.
static MESSAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b",\"message\":\""));
static SPAN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b",\"span\":{"));

/// What to look for: entries that match every part that is given. A filter has one form, however it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// What the store can look for by itself.
    pub(super) wanted: Wanted,
    pub(super) instance: String,
    pub(super) text: String,
    pub(super) pattern: Option<Pattern>,
    pub(super) attributes: Attributes,
    pub(super) span: SpanFilter,
    /// What the lines of all entries have that match: made of the parts above.
    pub(super) needles: Vec<Needle>,
}

impl TryFrom<proto::Filter> for Filter {
    type Error = InvalidField;

    fn try_from(message: proto::Filter) -> Result<Self, InvalidField> {
        let (start, end) = times(message.start_time, message.end_time)?;
        let wanted = Wanted {
            start,
            end,
            services: services(message.services)?,
            min_severity: Severity::parse("min_severity", message.min_severity)?,
            kind: kind("kind", message.kind)?,
            trace_id: TraceId::parse_optional("trace_id", &message.trace_id)?,
            trigrams: Vec::new(),
        };
        let filter = Self {
            wanted,
            instance: text("instance", message.instance, 0, NAME_BYTES_MAX)?,
            text: text("text", message.text, 0, MESSAGE_BYTES_MAX)?,
            pattern: Pattern::parse("regex", &message.regex)?,
            attributes: attributes(message.attributes)?,
            ..Self::default()
        };
        Ok(filter.with_needles())
    }
}

impl Filter {
    /// Looks for the entries of a trace, spans and log records.
    pub fn trace(id: TraceId) -> Self {
        let wanted = Wanted {
            kind: Kind::Any,
            ..Wanted::default()
        };
        let all = Self {
            wanted,
            ..Self::default()
        };
        all.within_trace(id)
    }

    /// Looks for the same within a trace.
    pub(super) fn within_trace(mut self, id: TraceId) -> Self {
        self.wanted.trace_id = Some(id);
        self.with_needles()
    }

    /// Makes the needles of the other parts, and the trigrams.
    pub(super) fn with_needles(mut self) -> Self {
        let wanted = &self.wanted;
        let only_service = wanted.services.first().filter(|_| wanted.services.len() == 1);
        let required = self.pattern.as_ref().and_then(|pattern| pattern.required.as_ref());
        let texts = [Some(&self.text), required].into_iter().flatten();
        let ids = wanted.trace_id.iter().map(|id| Needle::pair("trace_id", id.as_str()));
        let named = [("service", only_service), ("instance", Some(&self.instance))];
        let named = named.into_iter().filter_map(|(key, name)| Some((key, name?)));
        let named = named.filter(|(_, name)| !name.is_empty());
        self.needles = (ids.chain(texts.filter(|text| !text.is_empty()).map(|text| Needle::text(text))))
            .chain(self.attributes.iter().map(|(key, value)| Needle::pair(key, value)))
            .chain(self.span.needles())
            .chain(named.map(|(key, name)| Needle::pair(key, name)))
            .collect();
        self.wanted.trigrams = self.trigrams();
        self
    }

    /// What messages have that are looked for.
    fn trigrams(&self) -> Vec<Trigrams> {
        let texts = [&self.text, self.span.name()].map(escaped);
        let of_texts = || vec![Trigrams::of(&texts)];
        let pattern = self.pattern.as_ref();
        pattern.map_or_else(of_texts, |pattern| pattern.trigrams(&texts))
    }

    /// Whether an entry is what is looked for.
    pub fn matches(&self, entry: &Entry) -> bool {
        let has = |(key, value)| entry.attributes.get(key) == Some(value) || entry.resource.get(key) == Some(value);
        self.wanted.matches(entry)
            && (self.instance.is_empty() || entry.instance == self.instance)
            && entry.message.contains(&self.text)
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&entry.message))
            && self.attributes.iter().all(has)
            && self.span.matches(entry)
    }

    /// Whether some lines may hold it.
    pub(super) fn may_be_in(&self, text: &[u8]) -> bool {
        self.needles.iter().all(|needle| needle.is_in(text))
    }

    /// Reads a line when it is what is looked for; of others as little as shows that they are not.
    pub(super) fn read<T: FromLine>(&self, line: &[u8]) -> Option<T> {
        if !self.may_be_in(line) {
            return None;
        }
        if let Some(pattern) = &self.pattern
            && !pattern.matches(&message(line)?)
        {
            return None;
        }
        let head = head(line)?;
        let is_of_instance = self.instance.is_empty() || head.instance == self.instance;
        if !is_of_instance || !self.wanted.matches_head(&head) {
            return None;
        }
        T::read(line, self)
    }

    /// Whether the head of a line tells whether it is what is looked for.
    pub(super) fn is_told_by_heads(&self) -> bool {
        // Each part by its name: one that is new and forgotten here would not be asked.
        let Self {
            wanted: _,
            instance: _,
            text,
            pattern,
            attributes,
            span,
            needles: _,
        } = self;
        text.is_empty() && pattern.is_none() && attributes.is_empty() && *span == SpanFilter::default()
    }
}

/// The message of a line. Most lines do not match a pattern, and it is the only part of them that needs to be kept.
fn message(line: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        message: Cow<'a, str>,
    }
    if let Some(plain) = plain_message(line) {
        return Some(Cow::Borrowed(plain));
    }
    let line: Message<'_> = serde_json::from_slice(line).ok()?;
    Some(line.message)
}

/// The message of a log record, where it has no escapes. Of a span, the attributes of an event come first, which may have
/// such a key.
fn plain_message(line: &[u8]) -> Option<&str> {
    let (front, rest) = line.split_at(MESSAGE.find(line)?);
    if SPAN.find(front).is_some() {
        return None;
    }
    let rest = &rest[MESSAGE.needle().len()..];
    let end = memchr2(b'"', b'\\', rest).filter(|end| rest[*end] == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

fn kind(field: &str, number: i32) -> Result<Kind, InvalidField> {
    let refused = |_| InvalidField::new(field, "must be one of the values of `EntryKind`");
    Ok(match proto::EntryKind::try_from(number).map_err(refused)? {
        proto::EntryKind::Unspecified | proto::EntryKind::Log => Kind::Log,
        proto::EntryKind::Span => Kind::Span,
        proto::EntryKind::Any => Kind::Any,
    })
}

/// Reads `start_time` and `end_time`.
pub(super) fn times(
    start: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
) -> Result<(Option<Time>, Option<Time>), InvalidField> {
    let time = |field, time: Option<_>| time.map(|time| Time::parse(field, time)).transpose();
    let (start, end) = (time("start_time", start)?, time("end_time", end)?);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(InvalidField::new("end_time", "must not be before `start_time`"));
    }
    Ok((start, end))
}

/// Reads `services`.
pub(super) fn services(names: Vec<String>) -> Result<BTreeSet<String>, InvalidField> {
    if names.len() > SERVICES_MAX {
        let allowed = format!("must be at most {SERVICES_MAX} names");
        return Err(InvalidField::new("services", allowed));
    }
    let numbered = names.into_iter().enumerate();
    numbered
        .map(|(n, name)| text(&format!("services[{n}]"), name, 0, NAME_BYTES_MAX))
        .collect()
}

/// Reads `attributes`: what none can have is refused rather than looked for.
fn attributes(pairs: Attributes) -> Result<Attributes, InvalidField> {
    let refused = |allowed: String| Err(InvalidField::new("attributes", allowed));
    if pairs.len() > ATTRIBUTES_MAX {
        return refused(format!("must have at most {ATTRIBUTES_MAX} pairs"));
    }
    if pairs.keys().any(|key| !(1..=KEY_BYTES_MAX).contains(&key.len())) {
        return refused(format!("must have keys of 1 to {KEY_BYTES_MAX} bytes"));
    }
    if pairs.values().any(|value| value.len() > VALUE_BYTES_MAX) {
        return refused(format!("must have values of at most {VALUE_BYTES_MAX} bytes"));
    }
    Ok(pairs)
}

//! OTLP's requests as lines: what OpenTelemetry SDKs and collectors send. Pure. Must never import `grpc`.
//!
//! The requests are read in place, off the wire: most of what a line is made of is in them as it is, and the generated
//! types would take several times the memory of a request whose records are small or empty.
//!
//! A record that is not valid costs itself alone. What an entry has no field for becomes an attribute with a name of
//! OpenTelemetry's `otel.` namespace.

mod metrics;
mod origin;
mod record;
mod span;
mod value;

use homeroom::model::InvalidField;

pub use self::metrics::data_points;
use self::origin::{Origin, Resource};
use crate::{
    entry::{self, ENTRIES_MAX, Time, line::Parts},
    store::Batch,
    wire::{Malformed, Pairs, Unfit, check_utf8, repeated},
};

/// How much text the records of a request become together. It has the resource once, and each line has it: a request of
/// 4 MiB could ask for thousands of times as much.
pub const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a request becomes.
#[derive(Debug, Default)]
pub struct Converted {
    /// The entries, in batches of at most [`ENTRIES_MAX`].
    pub batches: Vec<Batch>,
    /// How many records were refused.
    pub rejected: u64,
    /// Why the first of them was.
    pub first_error: Option<InvalidField>,
}

/// Reads an `ExportLogsServiceRequest`, received at `now`.
///
/// # Errors
/// When it is none. Records that are not valid are counted in what is returned.
pub fn logs(request: &[u8], now: Time) -> Result<Converted, InvalidField> {
    convert(
        request,
        now,
        ["resource_logs", "scope_logs", "log_records"],
        record::add,
    )
}

/// Reads an `ExportTraceServiceRequest`, received at `now`.
///
/// # Errors
/// When it is none. Spans that are not valid are counted in what is returned.
pub fn spans(request: &[u8], now: Time) -> Result<Converted, InvalidField> {
    convert(request, now, ["resource_spans", "scope_spans", "spans"], span::add)
}

/// Goes through a request: logs and spans are in the same places.
fn convert<'a>(
    request: &'a [u8],
    now: Time,
    names: [&str; 3],
    add: impl Fn(&'a [u8], &mut Target<'a, '_>) -> Result<(), InvalidField>,
) -> Result<Converted, InvalidField> {
    let malformed = |error: Malformed| Unfit::from(error).at(names[0]);
    let (mut converted, mut pairs, mut text_bytes) = (Converted::default(), Pairs::default(), 0);
    for (r, group) in repeated(request, 1).enumerate() {
        let group = group.map_err(malformed)?;
        let resource = last(group).map_err(malformed).map(Resource::read)?;
        for (s, group) in repeated(group, 2).enumerate() {
            let group = group.map_err(malformed)?;
            let scope = last(group).map_err(malformed)?;
            let origin = match &resource {
                Ok(resource) => Origin::new(resource, scope),
                Err(error) => Err(error.clone()),
            };
            if let Ok(origin) = &origin {
                make_room(&mut converted.batches, group, origin);
            }
            for (n, record) in repeated(group, 2).enumerate() {
                let record = record.map_err(malformed)?;
                let added = origin.as_ref().map_err(Clone::clone).and_then(|origin| {
                    let mut target = Target {
                        now,
                        origin,
                        pairs: &mut pairs,
                        batches: &mut converted.batches,
                        text_bytes: &mut text_bytes,
                    };
                    add(record, &mut target)
                });
                if let Err(error) = added {
                    let path = || format!("{}[{r}].{}[{s}].{}[{n}]", names[0], names[1], names[2]);
                    converted.reject(|| error.within(&path()));
                }
            }
        }
    }
    // When all that it was for is refused.
    converted.batches.pop_if(|batch| batch.is_empty());
    Ok(converted)
}

/// Has a batch, with room for the records of a scope, or as many of them as it may have.
fn make_room(batches: &mut Vec<Batch>, group: &[u8], origin: &Origin<'_>) {
    let batch = last_batch(batches);
    let entries = repeated(group, 2).count().min(ENTRIES_MAX - batch.len());
    let size_bytes = group.len() + entries * origin.size_bytes();
    batch.make_room(entries, size_bytes.min(TEXT_BYTES_MAX));
}

/// The batch that takes the next line.
fn last_batch(batches: &mut Vec<Batch>) -> &mut Batch {
    if batches.last().is_none_or(|batch| batch.len() == ENTRIES_MAX) {
        batches.push(Batch::default());
    }
    batches.last_mut().expect("there is a batch now")
}

/// The resource or scope of a group: the last field 1.
fn last(group: &[u8]) -> Result<&[u8], Malformed> {
    repeated(group, 1).last().unwrap_or(Ok(&[]))
}

impl Converted {
    fn reject(&mut self, error: impl FnOnce() -> InvalidField) {
        self.rejected += 1;
        self.first_error.get_or_insert_with(error);
    }
}

/// Where a record goes.
struct Target<'a, 't> {
    now: Time,
    origin: &'t Origin<'t>,
    /// The attributes of the record.
    pairs: &'t mut Pairs<'a>,
    batches: &'t mut Vec<Batch>,
    /// How much text all batches have.
    text_bytes: &'t mut usize,
}

impl Target<'_, '_> {
    /// Adds the line of a record that has been read, with its attributes.
    ///
    /// # Errors
    /// When these, the whole line, or all lines together are beyond the limits.
    fn push(&mut self, parts: &Parts<'_>) -> Result<(), InvalidField> {
        if *self.text_bytes >= TEXT_BYTES_MAX {
            let allowed = format!("must be within the first {TEXT_BYTES_MAX} bytes that the request becomes");
            return Err(InvalidField::new("", allowed));
        }
        self.pairs.settle("attributes")?;
        let resource = self.origin.resource;
        last_batch(self.batches).push(&parts.head(&resource.service, &resource.instance), |out| {
            let start = out.len();
            entry::line::write(
                parts,
                |line| line.append(&resource.names),
                self.pairs.iter(),
                |line| {
                    line.append(&resource.attributes);
                    line.append(&self.origin.scope);
                },
                out,
            );
            let line = &out[start..];
            *self.text_bytes += line.len();
            check_utf8(line).map_err(|unfit| {
                // What else is in it was asked when it was read: the name of a span, a resource, a scope.
                let pairs = self.pairs.check_utf8("attributes");
                pairs.err().unwrap_or_else(|| unfit.at("body"))
            })?;
            entry::line::check_size(line)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;

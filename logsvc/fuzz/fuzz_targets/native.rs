//! Whatever a client sends as an entry: it is refused, or becomes a line that says what generated code reads in it.
#![no_main]

use homeroom::proto::log::v1 as proto;
use libfuzzer_sys::fuzz_target;
use logsvc::{
    entry::{Time, encode, number, parse},
    native,
};
use prost::Message;

fuzz_target!(|message: &[u8]| {
    let Ok(batch) = native::batch(&[bytes::Bytes::copy_from_slice(message)], Time::MIN) else { return };
    let (mut numbered, mut again) = (Vec::new(), Vec::new());
    number(1, None, batch.text(), &mut numbered);
    let entry = parse(&numbered).expect("it is the line of an entry");
    encode(&entry, &mut again);
    assert_eq!(again, batch.text(), "it is what its entry is encoded as");
    // Generated code is stricter: a field of a number that it knows, but of another type, is an error to it.
    let Ok(read) = proto::Entry::decode(message) else { return };
    let entry = proto::Entry::from(entry);
    assert_eq!(entry.time, read.time.or(Some(Time::MIN.into())));
    assert_eq!((entry.service, entry.instance, entry.message), (read.service, read.instance, read.message));
    assert_eq!((entry.attributes, entry.resource), (read.attributes, read.resource));
    assert_eq!((entry.trace_id, entry.span_id), (read.trace_id, read.span_id));
    assert_eq!((entry.span.is_some(), entry.scope), (read.span.is_some(), read.scope));
});

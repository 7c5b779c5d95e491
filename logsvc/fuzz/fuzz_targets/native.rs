//! Whatever a client sends as an entry: it is refused, or becomes the line of an entry. What generated code writes is read
//! as generated code reads it.
#![no_main]

use homeroom::proto::log::v1 as proto;
use libfuzzer_sys::fuzz_target;
use logsvc::{
    entry::{Entry, Time, encode, number, parse},
    native,
};
use prost::Message;

fuzz_target!(|message: &[u8]| {
    read(message.to_vec());
    let Ok(sent) = proto::Entry::decode(message) else { return };
    let Some(entry) = read(sent.encode_to_vec()) else { return };
    let entry = proto::Entry::from(entry);
    assert_eq!(entry.time, sent.time.or(Some(Time::MIN.into())));
    assert_eq!((entry.service, entry.instance, entry.message), (sent.service, sent.instance, sent.message));
    assert_eq!((entry.attributes, entry.resource), (sent.attributes, sent.resource));
    assert_eq!((entry.trace_id, entry.span_id), (sent.trace_id, sent.span_id));
    assert_eq!((entry.span.is_some(), entry.scope), (sent.span.is_some(), sent.scope));
});

fn read(message: Vec<u8>) -> Option<Entry> {
    let batch = native::batch(&[message.into()], Time::MIN).ok()?;
    let (mut numbered, mut again) = (Vec::new(), Vec::new());
    number(1, None, batch.text(), &mut numbered);
    let entry = parse(&numbered).expect("it is the line of an entry");
    encode(&entry, &mut again);
    assert_eq!(again, batch.text(), "it is what its entry is encoded as");
    Some(entry)
}

//! Whatever stands in a file: a line that can be read is written again the same once it was written by us, and its head
//! tells what the whole of it does. Its message is that of the entry, where it is written straight from the line.
#![no_main]

use homeroom::proto::log::v1 as proto;
use libfuzzer_sys::fuzz_target;
use logsvc::entry::{Encoded, encode, head, number, parse, sequence};
use prost::Message;

fuzz_target!(|line: &[u8]| {
    let front = head(line);
    let encoded = Encoded::of_line(line);
    let Ok(entry) = parse(line) else {
        return assert_eq!(encoded, None);
    };
    if let Some(encoded) = encoded {
        assert_eq!(encoded.sequence, entry.sequence);
        assert_eq!(proto::Entry::decode(encoded.message), Ok(entry.clone().into()));
    }
    let (mut text, mut again) = (Vec::new(), Vec::new());
    encode(&entry, &mut text);
    // No writer has another name, so that it is written as it is.
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
    let batch = front.as_ref().and_then(|head| head.batch.clone());
    let batch = batch.filter(|batch| is_name(&batch.writer));
    number(entry.sequence, batch.as_ref(), &text, &mut again);
    let text = std::str::from_utf8(&again).expect("a line is text");
    assert_eq!(
        text.matches(char::is_control).count(),
        1,
        "one line break and no other control character"
    );
    assert_eq!(parse(&again).expect("what was written can be read"), entry);
    if again == line {
        let front = front.expect("a line of ours has a head");
        assert_eq!(sequence(line), Some(entry.sequence));
        assert_eq!(
            (front.sequence, front.time, front.severity),
            (entry.sequence, entry.time, entry.severity)
        );
        assert_eq!((&*front.service, &*front.instance), (&*entry.service, &*entry.instance));
        assert_eq!((front.trace_id, front.is_span), (entry.trace_id, entry.span.is_some()));
    }
});

//! What an entry costs on its way into a line and out of it, without a server: `cargo bench -p logsvc`.
//!
//! The entry is the one that the store is measured with: a message of about 100 bytes, three attributes and both ids,
//! 180 bytes in all; a batch has a thousand of them.

use divan::{Bencher, counter::ItemsCount};
use homeroom::proto::log::v1 as proto;
use logsvc::entry::{Entry, Time, batch, encode, head, number, parse};
use prost::Message;

const ENTRIES: usize = 1_000;

fn main() {
    divan::main();
}

fn message(n: usize) -> proto::Entry {
    let text = |text: &str| text.to_owned();
    proto::Entry {
        time: Some(prost_types::Timestamp {
            seconds: 1_790_000_000,
            nanos: 123_456_789,
        }),
        service: text("grades"),
        message: format!("request {n} has been answered, and this is what there is to say of it"),
        attributes: [
            ("rpc.method", "homeroom.grades.v1.Grades/List"),
            ("peer", "10.0.0.1:5555"),
            ("n", "17"),
        ]
        .map(|(key, value)| (text(key), text(value)))
        .into(),
        trace_id: format!("{:032x}", n + 1),
        span_id: format!("{:016x}", n + 1),
        ..Default::default()
    }
}

fn entries() -> Vec<Entry> {
    let messages = (0..ENTRIES).map(message).collect();
    batch(messages, Time::MIN).expect("valid entries")
}

fn lines() -> Vec<Vec<u8>> {
    let line = |(n, entry): (usize, &Entry)| {
        let (mut text, mut line) = (Vec::new(), Vec::new());
        encode(entry, &mut text);
        number(n as u64 + 1, None, &text, &mut line);
        line
    };
    entries().iter().enumerate().map(line).collect()
}

#[divan::bench]
fn an_entry_becomes_a_line(bencher: Bencher<'_, '_>) {
    let (entries, mut out) = (entries(), Vec::new());
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        out.clear();
        entries.iter().for_each(|entry| encode(entry, &mut out));
        out.len()
    });
}

#[divan::bench]
fn a_request_becomes_entries(bencher: Bencher<'_, '_>) {
    let request = proto::WriteRequest {
        entries: (0..ENTRIES).map(message).collect(),
        durability: 0,
    };
    let request = request.encode_to_vec();
    bencher.counter(ItemsCount::new(ENTRIES)).bench_local(|| {
        let request = proto::WriteRequest::decode(&request[..]).expect("a request");
        batch(request.entries, Time::MIN).expect("valid entries")
    });
}

#[divan::bench]
fn the_head_of_a_line_is_read(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| lines.iter().filter(|line| head(line).is_some()).count());
}

#[divan::bench]
fn a_whole_line_is_read(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher
        .counter(ItemsCount::new(ENTRIES))
        .bench_local(|| lines.iter().filter(|line| parse(line).is_ok()).count());
}

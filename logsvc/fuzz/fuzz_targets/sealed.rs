//! Whatever stands in the files of a sealed segment: it is read to its end, and the same with an index that was made again.
//!
//! The input is the segment; what follows the last `IDX!` in it is the index, each page of which gets the checksum that it
//! should have, since none would be right by chance.
#![no_main]

use std::{fs, io::Write};

use libfuzzer_sys::fuzz_target;
use logsvc::store::{Kind, Trigrams, Wanted, read_sealed};

const MARK: &[u8] = b"IDX!";
const CONTENTS_BYTES: usize = 4092;

/// The index in pages of 4 KiB, as `sidecar/pages.rs` has them.
fn paged(index: &[u8]) -> Vec<u8> {
    let mut pages = Vec::new();
    for (number, contents) in (0_u64..).zip(index.chunks(CONTENTS_BYTES)) {
        let mut page = contents.to_vec();
        page.resize(CONTENTS_BYTES, 0);
        let checksum = crc32fast::hash(&[&number.to_le_bytes()[..], &page].concat());
        pages.extend([page, checksum.to_le_bytes().to_vec()].concat());
    }
    pages
}

fuzz_target!(|input: &[u8]| {
    let mark = input.windows(MARK.len()).rposition(|bytes| bytes == MARK);
    let (segment, index) = mark.map_or((input, &[][..]), |at| (&input[..at], &input[at + MARK.len()..]));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(format!("log-00000000000000000001{name}"));
    fs::write(path(".jsonl.zst"), segment).expect("written");
    fs::File::create(path(".idx")).and_then(|mut file| file.write_all(&paged(index))).expect("written");
    let wanted = Wanted {
        kind: Kind::Any,
        ..Wanted::default()
    };
    let found = read_sealed(directory.path(), 1, &wanted).expect("whatever it is, it is read");
    assert!(found.is_sorted_by(|a, b| a.sequence < b.sequence), "each number once, in order");
    for entry in found.iter().take(3) {
        let wanted = Wanted {
            trace_id: entry.trace_id.clone(),
            services: [entry.service.clone()].into(),
            trigrams: vec![Trigrams::of([&entry.message])],
            ..wanted.clone()
        };
        read_sealed(directory.path(), 1, &wanted).expect("whatever it is, it is read");
    }
});

//! What is on disk when Log has ended.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde_json::Value;

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) entries: usize,
    /// How many segments are sealed.
    pub(super) sealed: usize,
}

/// Reads every line of every segment: all are JSON, numbered, and no number is there twice. Counts those of some services.
pub(super) fn check(data: &Path, mut is_ours: impl FnMut(&str) -> bool) -> Kept {
    let names = fs::read_dir(data).expect("the folder is there").map(|file| {
        let name = file.expect("it can be read").file_name();
        name.into_string().expect("names of segments are text")
    });
    let mut names: Vec<_> = names.filter(|name| name.contains(".jsonl")).collect();
    names.sort_unstable();
    let (mut kept, mut last) = (Kept::default(), 0);
    for name in names {
        let file = File::open(data.join(&name)).expect("it can be read");
        let is_sealed = name.ends_with(".zst");
        kept.sealed += usize::from(is_sealed);
        let text: Box<dyn Read> = if is_sealed {
            Box::new(zstd::Decoder::new(file).expect("it is zstd"))
        } else {
            Box::new(file)
        };
        for line in BufReader::new(text).lines() {
            let line = line.unwrap_or_else(|error| panic!("{name}: {error}"));
            let entry: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
            let sequence = entry["seq"].as_u64().expect("a number");
            assert!(sequence > last, "{name}: {sequence} comes after {last}");
            last = sequence;
            kept.entries += usize::from(entry["service"].as_str().is_some_and(&mut is_ours));
        }
    }
    kept
}

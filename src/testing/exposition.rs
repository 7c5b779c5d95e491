//! Looks at metrics as a scraper does: over HTTP/1.1, and with a parser that forgives nothing.

use std::collections::{BTreeMap, BTreeSet};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::soon;
use crate::model::Address;

/// An answer over HTTP/1.1.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status and the headers.
    pub head: String,
    /// What came after them.
    pub body: String,
}

/// Sends a request as it is written here, and reads until the connection ends.
///
/// # Panics
/// When there is no answer.
pub async fn http1(server: &Address, request: &str) -> Reply {
    let mut stream = TcpStream::connect(server.as_str()).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("an open connection");
    let mut answer = String::new();
    let read = soon("the end of the answer", stream.read_to_string(&mut answer)).await;
    read.expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    Reply {
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Reads the metrics of a server.
///
/// # Panics
/// When there are none, or they are not written as they should be.
pub async fn scrape(server: &Address) -> Exposition {
    let reply = http1(server, "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(reply.head.starts_with("HTTP/1.1 200 "), "{}", reply.head);
    Exposition::parse(&reply.body)
}

/// Metrics in the Prometheus text format, version 0.0.4: the families by name.
#[derive(Debug, Default, PartialEq)]
pub struct Exposition(pub BTreeMap<String, Family>);

/// All that has one name.
#[derive(Debug, Default, PartialEq)]
pub struct Family {
    /// What it is, in words.
    pub help: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// The family's name, with a suffix for the parts of a histogram.
    pub name: String,
    /// What it is a value of.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Exposition {
    /// Reads metrics.
    ///
    /// # Panics
    /// When they are not written as they should be.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has an end");
        let mut families = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and some words");
                let family = Family {
                    help: help.to_owned(),
                    ..Family::default()
                };
                name.clone_into(&mut current);
                assert!(families.0.insert(current.clone(), family).is_none(), "twice: {name}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert_eq!(name, current, "the type follows the help");
                let family = families.0.get_mut(name).expect("it was just added");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                kind.clone_into(&mut family.kind);
            } else {
                let family = families.0.get_mut(&current).expect("a sample follows its family");
                let sample = Sample::parse(line);
                assert!(family.may_have(&current, &sample.name), "{line} within {current}");
                family.samples.push(sample);
            }
        }
        families.0.values().for_each(Family::check);
        families
    }

    /// The value of a sample with these labels and no others.
    ///
    /// # Panics
    /// When there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: BTreeMap<_, _> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut samples = self.0.values().flat_map(|family| &family.samples);
        let sample = samples.find(|sample| sample.name == name && sample.labels == labels);
        sample.unwrap_or_else(|| panic!("there is no {name}{labels:?}")).value
    }
}

impl Family {
    fn may_have(&self, family: &str, sample: &str) -> bool {
        let Some(suffix) = sample.strip_prefix(family) else {
            return false;
        };
        match self.kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            "counter" => suffix.is_empty() && family.ends_with("_total"),
            _ => suffix.is_empty(),
        }
    }

    /// Series are there once, and the buckets of a histogram add up.
    fn check(&self) {
        let mut series = BTreeSet::new();
        for sample in &self.samples {
            assert!(series.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
        }
        for count in self.samples.iter().filter(|sample| sample.name.ends_with("_count")) {
            let buckets = self.samples.iter().filter(|bucket| {
                let mut labels = bucket.labels.clone();
                labels.remove("le").is_some() && labels == count.labels
            });
            let buckets: Vec<_> = buckets.collect();
            assert!(buckets.is_sorted_by_key(|bucket| bucket.value), "{buckets:?}");
            let last = buckets.last().expect("a histogram has buckets");
            assert_eq!((last.labels["le"].as_str(), last.value), ("+Inf", count.value));
        }
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        let value = value.parse().expect("a number");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("the end of the labels")),
            None => (series, ""),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(!name.is_empty() && name.chars().all(is_name), "{line}");
        Self {
            name: name.to_owned(),
            labels: parse_labels(labels),
            value,
        }
    }
}

fn parse_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"").expect("a key and a quote");
        let mut value = String::new();
        let mut chars = rest.chars();
        loop {
            match chars.next().expect("the end of the value") {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(c @ ('"' | '\\')) => c,
                    other => panic!("no escape: {other:?}"),
                }),
                c => value.push(c),
            }
        }
        assert!(labels.insert(key.to_owned(), value).is_none(), "twice: {key}");
        let rest = chars.as_str();
        text = rest.strip_prefix(',').unwrap_or(rest);
        assert!(rest.is_empty() || rest.len() > text.len(), "a comma between labels");
    }
    labels
}

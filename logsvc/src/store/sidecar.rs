//! The index beside a sealed segment: which of its frames can hold what is looked for. It tells nothing that the segment
//! does not, so it can be made again at any time.
//!
//! The file `log-<first>.idx` is made of [`pages`]; each of these parts starts with a page of its own:
//!
//! | part | contents |
//! |---|---|
//! | header | magic, version, [`Totals`], then start page and length of each of the other parts |
//! | filter | which traces the segment surely does not have ([`Filter`]) |
//! | frames | for each frame a [`Frame`] |
//! | services | names with the frames that each is in, then the frames with services that are not named ([`services`]) |
//! | fan | the first hash of each page of `traces` |
//! | traces | hashes of trace ids with the frames that each is in, in order ([`traces`]) |
//! | writers | the writers known at the end of the segment |
//! | texts | for each hash of a trigram the frames with a message that has such a trigram ([`texts`]) |
//!
//! The second version has no `texts`. It is read all the same: to make hundreds of indexes again would take minutes.
//!
//! Its parts: `frame` is what is known of a frame, or of all, and `seen` which `trigrams` its messages have; `build` makes
//! an index, `lookup` looks into one.

mod build;
mod fields;
mod filter;
mod frame;
mod lookup;
mod pages;
mod seen;
mod services;
mod texts;
mod traces;
mod trigrams;

use std::{io, ops::Range};

use self::fields::Fields;
pub use self::trigrams::Trigrams;
pub(super) use self::{
    build::Builder,
    filter::Filter,
    frame::{Frame, Totals},
    lookup::Sidecar,
    pages::Pages,
};
use super::damaged;

const MAGIC: [u8; 8] = *b"HRLOGIDX";
/// Rises with each change of what the file is made of: one of a version that is not known is made again.
const VERSION: u32 = 3;
const VERSION_WITHOUT_TEXTS: u32 = 2;

/// The name of the index of the segment whose first entry has the number `first`.
pub(super) fn file_name(first: u64) -> String {
    format!("log-{first:020}.idx")
}

/// The number in the name of an index; `None` when it is not one of these.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".idx")?;
    digits.parse().ok().filter(|first| file_name(*first) == name)
}

/// A part of the file.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    start: u64,
    size_bytes: u64,
}

impl Part {
    /// Appends a part to an image.
    fn append(contents: &[u8], image: &mut Vec<u8>) -> Self {
        Self {
            start: pages::append(contents, image).start,
            size_bytes: contents.len() as u64,
        }
    }

    fn pages(self) -> io::Result<Range<u64>> {
        let count = self.size_bytes.div_ceil(pages::CONTENTS_BYTES as u64);
        let end = self
            .start
            .checked_add(count)
            .ok_or_else(|| damaged("a part is out of bounds"))?;
        Ok(self.start..end)
    }

    fn read(self, pages: &Pages) -> io::Result<Vec<u8>> {
        let mut contents = pages.read(self.pages()?)?;
        contents.truncate(usize::try_from(self.size_bytes).map_err(|_| damaged("a part is too large"))?);
        Ok(contents)
    }

    /// Reads some of it, which has to be within it.
    fn read_some(self, range: Range<usize>, pages: &Pages) -> io::Result<Vec<u8>> {
        let all = self.pages()?;
        let skipped = range.start / pages::CONTENTS_BYTES;
        let end = range.end.div_ceil(pages::CONTENTS_BYTES);
        let mut contents = pages.read(all.start + skipped as u64..all.start + end as u64)?;
        contents.truncate(range.end - skipped * pages::CONTENTS_BYTES);
        contents.drain(..range.start - skipped * pages::CONTENTS_BYTES);
        Ok(contents)
    }
}

/// The first page.
#[derive(Debug)]
struct Header {
    totals: Totals,
    filter: Part,
    frames: Part,
    services: Part,
    fan: Part,
    traces: Part,
    writers: Part,
    texts: Part,
}

impl Header {
    fn parts(&self) -> [Part; 7] {
        [
            self.filter,
            self.frames,
            self.services,
            self.fan,
            self.traces,
            self.writers,
            self.texts,
        ]
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        self.totals.encode(&mut out);
        for part in self.parts() {
            out.extend_from_slice(&part.start.to_le_bytes());
            out.extend_from_slice(&part.size_bytes.to_le_bytes());
        }
        out
    }

    fn read(pages: &Pages) -> io::Result<Self> {
        let page = pages.read(0..1)?;
        let mut fields = Fields(&page);
        if fields.bytes(MAGIC.len())? != MAGIC {
            return Err(damaged("it is no index"));
        }
        let has_texts = match fields.u32()? {
            VERSION => true,
            VERSION_WITHOUT_TEXTS => false,
            _ => return Err(damaged("it is of another version")),
        };
        let totals = Totals::decode(&mut fields)?;
        let mut part = || {
            Ok::<_, io::Error>(Part {
                start: fields.u64()?,
                size_bytes: fields.u64()?,
            })
        };
        Ok(Self {
            totals,
            filter: part()?,
            frames: part()?,
            services: part()?,
            fan: part()?,
            traces: part()?,
            writers: part()?,
            texts: if has_texts { part()? } else { Part::default() },
        })
    }
}

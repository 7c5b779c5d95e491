//! Makes the index of a segment from its frames. Pure.

use super::{
    Filter, Header, Part,
    frame::{Digest, Frame, Totals},
    pages::{self, CONTENTS_BYTES},
    seen::{Hashes, Seen},
    services::Services,
    texts, traces,
};
use crate::{
    entry::{BatchMark, Time, head, parse},
    store::{
        index::{Position, SEQUENCE_MAX},
        lines,
        writers::{LastBatch, WriterId, Writers},
    },
};

/// The index of a segment in the making.
#[derive(Debug)]
pub(in crate::store) struct Builder {
    first: u64,
    position: Position,
    text_bytes: u64,
    damaged: u64,
    frames: Vec<Frame>,
    services: Services,
    traces: Vec<(u32, u16)>,
    seen: Seen,
    /// Of each frame.
    texts: Vec<Hashes>,
    writers: Writers,
}

impl Builder {
    /// Starts with the first frame of the segment whose name has the number `first`, and with the writers known before it,
    /// or at its end.
    pub(in crate::store) fn new(first: u64, writers: Writers) -> Self {
        Self {
            first,
            position: Position::before(first),
            text_bytes: 0,
            damaged: 0,
            frames: Vec::new(),
            services: Services::default(),
            traces: Vec::new(),
            seen: Seen::default(),
            texts: Vec::new(),
            writers,
        }
    }

    /// Adds the next frame, which is at `offset` in the file.
    ///
    /// # Panics
    /// When it has no room for one more.
    pub(in crate::store) fn push(&mut self, offset: u64, packed: &[u8], text: &[u8]) {
        let number = u16::try_from(self.frames.len()).expect("a segment has fewer frames");
        let before = self.position;
        let (mut count, mut entries, mut digest, mut last_line) = (0, 0, Digest::EMPTY, None);
        for line in lines::all(text) {
            count += 1;
            let head = head(line).filter(|head| self.allows(head.sequence, last_line));
            self.position.pass(head.as_ref().map(|head| head.sequence));
            last_line = head.as_ref().map(|_| line);
            let Some(head) = head else { continue };
            entries += 1;
            digest.add(&head);
            self.seen.add_line(line, head.is_span);
            self.services.add(&head.service, usize::from(number));
            if let Some(id) = &head.trace_id {
                self.note_trace(traces::hash(id), number);
            }
            if let Some((writer, batch)) = head.batch.and_then(|mark| last_batch(&mark, head.sequence)) {
                self.writers.note(&writer, batch);
            }
        }
        if last_line.is_some_and(|line| parse(line).is_err()) {
            // What its end swallowed is missing at the start of the next frame.
            self.position.pass(None);
        }
        self.texts.push(self.seen.take());
        self.frames.push(Frame {
            offset,
            size_bytes: packed.len(),
            text_offset: self.text_bytes,
            text_bytes: text.len(),
            checksum: crc32fast::hash(packed),
            before,
            last: self.position.last,
            entries,
            is_whole: before.is_whole_to(self.position, count),
            digest,
        });
        self.text_bytes += text.len() as u64;
    }

    fn allows(&self, sequence: u64, last_line: Option<&[u8]>) -> bool {
        // A line whose end is damaged may have swallowed others.
        let is_jump = || sequence > self.position.last && last_line.is_some_and(|line| parse(line).is_err());
        self.position.allows(sequence) || sequence <= SEQUENCE_MAX && is_jump()
    }

    /// The entries of a trace often follow one another.
    fn note_trace(&mut self, hash: u32, frame: u16) {
        if self.traces.last() != Some(&(hash, frame)) {
            self.traces.push((hash, frame));
        }
    }

    /// Whether another frame can be numbered: at most 65,535 are.
    pub(in crate::store) fn has_room(&self) -> bool {
        self.frames.len() < usize::from(u16::MAX)
    }

    /// Passes over a part of the file that is damaged: nobody knows how many entries it had.
    pub(in crate::store) fn skip(&mut self) {
        self.damaged += 1;
        self.position.pass(None);
    }

    /// The size of the text of all frames.
    pub(in crate::store) fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Returns the index of a file of so many bytes, as bytes.
    pub(in crate::store) fn finish(mut self, file_bytes: u64, sealed: Time) -> Vec<u8> {
        let totals = self.totals(file_bytes, sealed);
        self.traces.sort_unstable();
        self.traces.dedup();
        // The header is written last, when it is known where the rest is.
        let mut image = Vec::new();
        pages::append(&[0; CONTENTS_BYTES], &mut image);
        let mut frames = Vec::new();
        for frame in &self.frames {
            frame.encode(&mut frames);
        }
        let services = self.services.encode(self.frames.len());
        let (fan, traces) = traces::encode(&self.traces);
        let header = Header {
            totals,
            filter: Part::append(self.filter().encode(), &mut image),
            frames: Part::append(&frames, &mut image),
            services: Part::append(&services, &mut image),
            fan: Part::append(&fan, &mut image),
            traces: Part::append(&traces, &mut image),
            writers: Part::append(&self.writers.encode(), &mut image),
            texts: Part::append(&texts::encode(&self.texts), &mut image),
        };
        let mut first = Vec::new();
        pages::append(&header.encode(), &mut first);
        image[..first.len()].copy_from_slice(&first);
        image
    }

    /// Of the traces, which are in order.
    fn filter(&self) -> Filter {
        let of_traces = self.traces.chunk_by(|(a, _), (b, _)| a == b);
        Filter::of_hashes(of_traces.map(|pairs| pairs[0].0))
    }

    fn totals(&self, file_bytes: u64, sealed: Time) -> Totals {
        let mut digest = Digest::EMPTY;
        for frame in &self.frames {
            digest.join(&frame.digest);
        }
        Totals {
            file_bytes,
            text_bytes: self.text_bytes,
            first: self.first,
            last: self.position.last,
            next: self.position.last + self.position.damaged + 1,
            entries: self.frames.iter().map(|frame| u64::from(frame.entries)).sum(),
            damaged: self.damaged,
            sealed,
            digest,
        }
    }
}

/// The batch that starts with the entry of this number.
fn last_batch(mark: &BatchMark<'_>, first: u64) -> Option<(WriterId, LastBatch)> {
    let writer = WriterId::parse("writer", &mark.writer).ok()?;
    let batch = LastBatch {
        number: mark.number,
        last_sequence: first.saturating_add(mark.entries.max(1) as u64 - 1),
    };
    Some((writer, batch))
}

//! Looks into the index of a segment: what is small is read at once, of the traces only the pages that are asked for.

use std::{io, sync::Arc};

use super::{
    Filter, Header, Part,
    fields::Fields,
    frame::{Frame, Totals},
    pages::Pages,
    services::{Bits, Services},
    texts::Texts,
    traces,
};
use crate::{
    entry::TraceId,
    store::{Wanted, damaged, disk::Contents, frames::FRAME_BYTES_MAX},
};

/// An index, and the segment that it belongs to, open: they can be read as they are also when they were deleted since.
#[derive(Debug)]
pub(in crate::store) struct Sidecar {
    segment: Arc<dyn Contents>,
    pages: Pages,
    totals: Totals,
    frames: Vec<Frame>,
    services: Services,
    fan: Vec<u32>,
    filter: Part,
    traces: Part,
    texts: Texts,
    writers: Part,
}

/// Which frames are left once services, traces and texts are looked up.
#[derive(Debug)]
struct Candidates {
    services: Option<Bits>,
    trace: Option<Vec<u16>>,
    texts: Option<Arc<Bits>>,
}

impl Candidates {
    fn have(&self, frame: usize) -> bool {
        let of_trace = |frames: &Vec<u16>| frames.iter().any(|number| usize::from(*number) == frame);
        self.services.as_ref().is_none_or(|services| services.has(frame))
            && self.trace.as_ref().is_none_or(of_trace)
            && self.texts.as_ref().is_none_or(|texts| texts.has(frame))
    }
}

impl Sidecar {
    /// Reads an index.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` and `UnexpectedEof` when it is damaged, of another version, or not the index of
    /// this segment.
    pub(in crate::store) fn load(pages: Pages, segment: Arc<dyn Contents>, first: u64) -> io::Result<Self> {
        let header = Header::read(&pages)?;
        let file_bytes = header.totals.file_bytes;
        if header.totals.first != first || segment.size_bytes()? != file_bytes {
            return Err(damaged("it is the index of another file"));
        }
        let frames = frames(&header.frames.read(&pages)?, file_bytes)?;
        Ok(Self {
            services: Services::decode(&header.services.read(&pages)?, frames.len())?,
            fan: traces::fan(&header.fan.read(&pages)?),
            filter: header.filter,
            traces: header.traces,
            texts: Texts::new(header.texts, frames.len())?,
            writers: header.writers,
            totals: header.totals,
            frames,
            pages,
            segment,
        })
    }

    /// Reads only what an index says of its segment as a whole.
    ///
    /// # Errors
    /// As for [`Sidecar::load`].
    pub(in crate::store) fn outline_of(
        index: Arc<dyn Contents>,
        first: u64,
        file_bytes: u64,
    ) -> io::Result<(Totals, Filter)> {
        let pages = Pages::File(index);
        let Header { totals, filter, .. } = Header::read(&pages)?;
        if totals.first != first || totals.file_bytes != file_bytes {
            return Err(damaged("it is the index of another file"));
        }
        Ok((totals, Filter::decode(filter.read(&pages)?)))
    }

    /// Reads only how large the segment was when an index was made.
    ///
    /// # Errors
    /// As for [`Sidecar::load`].
    pub(in crate::store) fn file_bytes_of(index: Arc<dyn Contents>) -> io::Result<u64> {
        Ok(Header::read(&Pages::File(index))?.totals.file_bytes)
    }

    /// Reads only the writers known at the end of the segment, as they were encoded.
    ///
    /// # Errors
    /// As for [`Sidecar::load`].
    pub(in crate::store) fn writers_of(index: Arc<dyn Contents>) -> io::Result<Vec<u8>> {
        let pages = Pages::File(index);
        Header::read(&pages)?.writers.read(&pages)
    }

    pub(in crate::store) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Which traces the segment surely does not have.
    ///
    /// # Errors
    /// As for [`Sidecar::from`].
    pub(in crate::store) fn filter(&self) -> io::Result<Filter> {
        Ok(Filter::decode(self.filter.read(&self.pages)?))
    }

    /// The file that the frames are in.
    pub(in crate::store) fn segment(&self) -> &dyn Contents {
        &*self.segment
    }

    /// About how much memory it takes.
    pub(in crate::store) fn size_bytes(&self) -> usize {
        let frames = self.frames.len() * size_of::<Frame>();
        let fan = self.fan.len() * size_of::<u32>();
        self.pages.size_bytes() + frames + self.services.size_bytes() + fan + self.texts.size_bytes()
    }

    /// The first frame with an entry at `sequence` or after it that may hold what is wanted.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` and `UnexpectedEof` when the index is damaged.
    pub(in crate::store) fn from(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<&Frame>> {
        let candidates = self.candidates(wanted)?;
        let start = self.frames.partition_point(|frame| frame.last < sequence);
        let mut frames = self.frames.iter().enumerate().skip(start);
        let found = frames.find(|(number, frame)| frame.digest.may_have(wanted) && candidates.have(*number));
        Ok(found.map(|(_, frame)| frame))
    }

    /// The last frame with an entry at `sequence` or before it that may hold what is wanted.
    ///
    /// # Errors
    /// As for [`Sidecar::from`].
    pub(in crate::store) fn up_to(&self, sequence: u64, wanted: &Wanted) -> io::Result<Option<&Frame>> {
        let candidates = self.candidates(wanted)?;
        let end = self.frames.partition_point(|frame| frame.first() <= sequence);
        let mut frames = self.frames[..end].iter().enumerate();
        let found = frames.rfind(|(number, frame)| frame.digest.may_have(wanted) && candidates.have(*number));
        Ok(found.map(|(_, frame)| frame))
    }

    /// The writers known at the end of the segment, as they were encoded.
    ///
    /// # Errors
    /// As for [`Sidecar::from`].
    pub(in crate::store) fn writers(&self) -> io::Result<Vec<u8>> {
        self.writers.read(&self.pages)
    }

    fn candidates(&self, wanted: &Wanted) -> io::Result<Candidates> {
        let names = wanted.services.iter().map(String::as_str);
        let trace = wanted.trace_id.as_ref();
        Ok(Candidates {
            services: (!wanted.services.is_empty()).then(|| self.services.frames(names)),
            trace: trace.map(|id| self.trace(id)).transpose()?,
            texts: self.texts.frames(&self.pages, &wanted.trigrams)?,
        })
    }

    fn trace(&self, id: &TraceId) -> io::Result<Vec<u16>> {
        let (hash, mut frames) = (traces::hash(id), Vec::new());
        let pages = traces::pages(&self.fan, hash);
        let start = self.traces.start;
        let bytes = self.pages.read(start + pages.start as u64..start + pages.end as u64)?;
        traces::find(&bytes, hash, &mut frames)?;
        Ok(frames)
    }
}

/// Reads the frames of a file of so many bytes, and sees that they can be read there.
fn frames(bytes: &[u8], file_bytes: u64) -> io::Result<Vec<Frame>> {
    let (mut fields, mut frames) = (Fields(bytes), Vec::<Frame>::new());
    let mut end = 0;
    while !fields.0.is_empty() {
        let frame = Frame::decode(&mut fields)?;
        let last = frames.last().map_or(0, |before| before.last);
        let in_order = frame.offset >= end && frame.before.last >= last;
        end = frame.offset.saturating_add(frame.size_bytes as u64);
        if !in_order || end > file_bytes || frame.text_bytes > FRAME_BYTES_MAX {
            return Err(damaged("a frame is out of bounds"));
        }
        frames.push(frame);
    }
    Ok(frames)
}

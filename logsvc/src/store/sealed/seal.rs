//! Makes a sealed segment of a plain one, so that the end of the process at any moment loses nothing and leaves nothing
//! twice: until the plain file is deleted it is the one that counts.

use std::{
    io::{self, BufRead, BufReader, Read},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use super::file_name;
use crate::store::{
    disk::{Contents, Files, Reading},
    frames::{Effort, FRAME_BYTES_MAX, Packer},
    sidecar::{self, Builder},
    writers::Writers,
};

/// The end of the name of a file that is not whole yet.
pub(super) const TEMPORARY: &str = ".tmp";
/// Read at once of the plain file.
const READ_BYTES: usize = 1024 * 1024;
/// More than this without a line break is damage, and may be cut anywhere.
const LINE_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64 / 2;
/// How many frames an index can number, with some to spare. A larger segment, as one of the first version can be, gets
/// larger frames.
const FRAMES_MAX: u64 = 60_000;

/// What is to be sealed.
pub(in crate::store) struct Sealing<'a> {
    pub(in crate::store) files: &'a dyn Files,
    /// The plain file.
    pub(in crate::store) plain: &'a dyn Contents,
    /// The number of its first entry.
    pub(in crate::store) first: u64,
    /// How much of it counts.
    pub(in crate::store) size_bytes: u64,
    /// The writers known at its end.
    pub(in crate::store) writers: Writers,
    /// Set to end early, with nothing done.
    pub(in crate::store) stop: &'a AtomicBool,
    /// A frame ends with the line that reaches so many bytes.
    pub(in crate::store) frame_bytes: usize,
    pub(in crate::store) effort: Effort,
}

impl Sealing<'_> {
    /// Writes the sealed segment and its index, so that both survive a power cut. The plain file stays. Returns whether it
    /// was not told to stop.
    ///
    /// # Errors
    /// What the disk says; nothing but the plain file counts then, and what else is there is deleted when the directory is
    /// opened.
    pub(in crate::store) fn run(self) -> io::Result<bool> {
        let (files, first, sealed) = (self.files, self.first, SystemTime::now());
        let name = file_name(first);
        let temporary = name.clone() + TEMPORARY;
        let packed = self.pack(&temporary);
        let Some((builder, file_bytes)) = packed.inspect_err(|_| discard(files, &temporary))? else {
            discard(files, &temporary);
            return Ok(false);
        };
        publish(files, &temporary, &name)?;
        let index = builder.finish(file_bytes, sealed.into());
        write(files, &sidecar::file_name(first), &index)?;
        Ok(true)
    }

    /// Writes the frames. Returns their index and their size; `None` when it was told to stop.
    fn pack(self, temporary: &str) -> io::Result<Option<(Builder, u64)>> {
        let frame_bytes = usize::try_from(self.size_bytes / FRAMES_MAX).unwrap_or(FRAME_BYTES_MAX);
        let frame_bytes = frame_bytes.max(self.frame_bytes);
        let file = self.files.create(temporary)?;
        let mut lines = BufReader::with_capacity(READ_BYTES, Reading::new(self.plain).take(self.size_bytes));
        let (mut packer, mut builder) = (Packer::new(self.effort)?, Builder::new(self.first, self.writers));
        let (mut text, mut frame, mut offset) = (Vec::with_capacity(frame_bytes), Vec::new(), 0);
        while read_lines(&mut lines, frame_bytes, &mut text)? {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            packer.pack(&text, &mut frame)?;
            file.write(&frame, offset)?;
            builder.push(offset, &frame, &text);
            offset += frame.len() as u64;
        }
        if builder.text_bytes() < self.size_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.sync()?;
        Ok(Some((builder, offset)))
    }
}

/// Reads lines, in place of what is in `text`, until they have so many bytes. Returns whether there are any.
fn read_lines(lines: &mut impl BufRead, frame_bytes: usize, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    lines.take(frame_bytes as u64).read_to_end(text)?;
    if !text.is_empty() && !text.ends_with(b"\n") {
        lines.take(LINE_BYTES_MAX).read_until(b'\n', text)?;
    }
    Ok(!text.is_empty())
}

/// Writes a file through a temporary one.
///
/// # Errors
/// What the disk says; what had the name is still there, or it is this.
pub(super) fn write(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = name.to_owned() + TEMPORARY;
    let written = files.create(&temporary).and_then(|file| {
        file.write(bytes, 0)?;
        file.sync()
    });
    written.inspect_err(|_| discard(files, &temporary))?;
    publish(files, &temporary, name)
}

fn publish(files: &dyn Files, temporary: &str, name: &str) -> io::Result<()> {
    files
        .rename(temporary, name)
        .inspect_err(|_| discard(files, temporary))?;
    files.sync_names()
}

/// Gives the room back at once that a file takes which will not be whole.
fn discard(files: &dyn Files, temporary: &str) {
    // When this fails it is done when the directory is opened.
    let _ = files.remove(temporary);
}

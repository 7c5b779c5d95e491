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
    frames::{FRAME_BYTES, FRAME_BYTES_MAX, Packer},
    sidecar::{self, Builder},
};

/// The end of the name of a file that is not whole yet.
pub(super) const TEMPORARY: &str = ".tmp";
/// Read at once of the plain file.
const READ_BYTES: usize = 1024 * 1024;
/// More than this without a line break is damage, and may be cut anywhere.
const LINE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;
/// How many frames an index can number, with some to spare. A larger segment, as one of the first version can be, gets
/// larger frames.
const FRAMES_MAX: u64 = 60_000;

/// Writes the first `size_bytes` of a plain segment as a sealed one, with its index, so that both survive a power cut.
/// The plain file stays. Ends early, with nothing done, when it is told to `stop`.
///
/// # Errors
/// What the disk says; nothing but the plain file counts then, and what else is there is deleted when the directory is
/// opened.
pub(in crate::store) fn seal(
    files: &dyn Files,
    plain: &dyn Contents,
    first: u64,
    size_bytes: u64,
    writers: &[u8],
    stop: &AtomicBool,
) -> io::Result<bool> {
    let name = file_name(first);
    let temporary = name.clone() + TEMPORARY;
    let sealed = SystemTime::now();
    let result = pack(files, &temporary, plain, first, size_bytes, stop);
    let Some((builder, file_bytes)) = result.inspect_err(|_| discard(files, &temporary))? else {
        discard(files, &temporary);
        return Ok(false);
    };
    publish(files, &temporary, &name)?;
    let index = builder.finish(file_bytes, sealed.into(), writers);
    write(files, &sidecar::file_name(first), &index)?;
    Ok(true)
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

/// Writes the frames. Returns their index and their size; `None` when it was told to stop.
fn pack(
    files: &dyn Files,
    temporary: &str,
    plain: &dyn Contents,
    first: u64,
    size_bytes: u64,
    stop: &AtomicBool,
) -> io::Result<Option<(Builder, u64)>> {
    let frame_bytes = FRAME_BYTES.max(usize::try_from(size_bytes / FRAMES_MAX).unwrap_or(FRAME_BYTES_MAX));
    let file = files.create(temporary)?;
    let mut lines = BufReader::with_capacity(READ_BYTES, Reading::new(plain).take(size_bytes));
    let (mut packer, mut builder) = (Packer::new()?, Builder::new(first));
    let (mut text, mut frame, mut offset) = (Vec::with_capacity(frame_bytes), Vec::new(), 0);
    loop {
        text.clear();
        while text.len() < frame_bytes && (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut text)? > 0 {}
        if text.is_empty() {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        packer.pack(&text, &mut frame)?;
        file.write(&frame, offset)?;
        builder.push(offset, &frame, &text);
        offset += frame.len() as u64;
    }
    if builder.text_bytes() < size_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.sync()?;
    Ok(Some((builder, offset)))
}

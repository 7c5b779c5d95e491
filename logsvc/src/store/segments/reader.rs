//! What block after block is read with. Pure.

use std::{io, mem, sync::Arc};

use crate::store::frames::Unpacker;

/// Room is made in steps, since blocks differ by little.
const ROOM_BYTES: usize = 16 * 1024;

/// Memory, and what decompresses: made once, used for each block. Some 500 KiB, once blocks were read.
#[derive(Debug, Default)]
pub struct Reader {
    /// For the text that is read next.
    room: Vec<u8>,
    packed: Vec<u8>,
    unpacker: Option<Unpacker>,
}

impl Reader {
    /// Takes the memory of a text that was read back, unless somebody else has it, too.
    pub fn take_back(&mut self, text: Arc<Vec<u8>>) {
        if let Some(text) = Arc::into_inner(text) {
            self.room = text;
        }
    }

    /// Room for so much text. What it has in it means nothing.
    pub(in crate::store) fn room(&mut self, size_bytes: usize) -> Vec<u8> {
        let room = mem::take(&mut self.room);
        match room.capacity() < size_bytes {
            true => Vec::with_capacity(size_bytes.next_multiple_of(ROOM_BYTES)),
            false => room,
        }
    }

    /// Decompresses a frame of so many bytes, which `fill` reads and finds to be sound.
    ///
    /// # Errors
    /// That of `fill`; `InvalidData` when it is not a whole frame of so much text.
    pub(in crate::store) fn unpack(
        &mut self,
        size_bytes: usize,
        text_bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
        self.packed.resize(size_bytes, 0);
        fill(&mut self.packed)?;
        let mut text = self.room(text_bytes);
        let unpacker = match &mut self.unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(Unpacker::trusting()?),
        };
        unpacker.unpack(&self.packed, text_bytes, &mut text)?;
        Ok(text)
    }
}

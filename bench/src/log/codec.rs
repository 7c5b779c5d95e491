//! Messages that are bytes already.

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// A message that is encoded, and what is put in front of it.
#[derive(Debug)]
pub(crate) struct Ready {
    head: Vec<u8>,
    message: Bytes,
}

impl From<Bytes> for Ready {
    fn from(message: Bytes) -> Self {
        let head = Vec::new();
        Self { head, message }
    }
}

impl Ready {
    /// A message whose field 1 is this number.
    pub(crate) fn numbered(number: u64, message: Bytes) -> Self {
        let mut head = Vec::with_capacity(11);
        prost::encoding::uint64::encode(1, &number, &mut head);
        Self { head, message }
    }
}

/// Sends bytes as they are, and gives back what comes as it comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadyCodec;

impl Codec for ReadyCodec {
    type Encode = Ready;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for ReadyCodec {
    type Item = Ready;
    type Error = Status;

    fn encode(&mut self, item: Ready, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.head.len() + item.message.len());
        out.put_slice(&item.head);
        out.put_slice(&item.message);
        Ok(())
    }
}

impl Decoder for ReadyCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

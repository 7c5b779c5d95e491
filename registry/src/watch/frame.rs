//! Messages of the stream as they go over the wire: encoded once, with gRPC's prefix in front, shared by all who are told
//! the same. Pure.

use std::{sync::Arc, time::SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use homeroom::proto::registry::v1::{Instance, InstanceKey, WatchServicesResponse};
use prost::Message;

use super::Batch;

/// gRPC puts a byte of flags and four of length in front of each message.
const PREFIX_BYTES: usize = 5;
/// What is told in one message, shared by all who are told it. A transport holds one message for a watcher that does not
/// read: 10,000 of those, each told something else, take 320 MiB.
const WHOLE_BYTES_MAX: usize = 32 * 1024;
/// A message ends when it has this many bytes, where one does not hold everything. It is made for one watcher alone.
const PART_BYTES_MAX: usize = 16 * 1024;

/// What a watcher is told at once, ready to be shared.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// One message that says everything.
    Whole(Bytes),
    /// Too much for one message.
    InParts(Arc<Batch>),
}

impl From<Batch> for Told {
    fn from(batch: Batch) -> Self {
        let mut parts = Parts::new(Arc::new(batch));
        match parts.take(WHOLE_BYTES_MAX) {
            (frame, false) => Self::Whole(frame),
            (_, true) => Self::InParts(parts.batch),
        }
    }
}

/// A batch on its way to one watcher, cut into messages. It holds shared instances, and makes a message of them only when
/// it is asked for: a watcher that does not read costs eight bytes an instance.
#[derive(Debug)]
pub(super) struct Parts {
    batch: Arc<Batch>,
    removed: usize,
    updated: usize,
}

impl Parts {
    pub(super) fn new(batch: Arc<Batch>) -> Self {
        Self {
            batch,
            removed: 0,
            updated: 0,
        }
    }

    /// The next message, and whether another one follows.
    pub(super) fn next(&mut self) -> (Bytes, bool) {
        self.take(PART_BYTES_MAX)
    }

    fn take(&mut self, size_bytes_max: usize) -> (Bytes, bool) {
        let batch = &*self.batch;
        let (revision, epoch) = batch.position;
        let mut message = WatchServicesResponse {
            revision: revision.0,
            epoch: epoch.0,
            reset: batch.reset && self.removed + self.updated == 0,
            view_hash: batch.view_hash,
            server_time: Some(SystemTime::now().into()),
            ..Default::default()
        };
        let mut size_bytes = 0;
        while size_bytes < size_bytes_max {
            if let Some(key) = batch.removed.get(self.removed) {
                let key = InstanceKey::from(key);
                size_bytes += key.encoded_len();
                message.removed.push(key);
                self.removed += 1;
            } else if let Some(instance) = batch.updated.get(self.updated) {
                let instance = Instance::from(&**instance);
                size_bytes += instance.encoded_len();
                message.updated.push(instance);
                self.updated += 1;
            } else {
                break;
            }
        }
        message.more = self.removed < batch.removed.len() || self.updated < batch.updated.len();
        (framed(&message), message.more)
    }
}

fn framed(message: &WatchServicesResponse) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    put_prefix(&mut frame, length);
    message.encode(&mut frame).expect("there is room for it");
    frame.freeze()
}

fn put_prefix(frame: &mut BytesMut, length: usize) {
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("messages are cut long before 4 GiB"));
}

/// The same message with the id of the watch, which only one watcher is told. The second piece is shared with all who are
/// told the rest: fields of a message may come in any order, and the prefix in front counts both.
pub(super) fn with_watch_id(frame: &Bytes, watch_id: String) -> [Bytes; 2] {
    let own = WatchServicesResponse {
        watch_id,
        ..Default::default()
    };
    let shared = frame.slice(PREFIX_BYTES..);
    let length = own.encoded_len();
    let mut first = BytesMut::with_capacity(PREFIX_BYTES + length);
    put_prefix(&mut first, length + shared.len());
    own.encode(&mut first).expect("there is room for it");
    [first.freeze(), shared]
}

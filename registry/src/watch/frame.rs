//! Messages of the stream as they go over the wire: encoded once, with gRPC's prefix in front, shared by all who are told
//! the same. Pure.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use bytes::{BufMut, Bytes, BytesMut};
use homeroom::proto::registry::v1::{InstanceKey, ready::WatchServicesResponse};
use prost::Message;
use tokio::time::Instant;

use super::Batch;

/// gRPC puts a byte of flags and four of length in front of each message.
const PREFIX_BYTES: usize = 5;
/// What is told in one message, shared by all who are told it. A transport holds one message for a watcher that does not
/// read: 10,000 of those, each told something else, take 320 MiB.
const WHOLE_BYTES_MAX: usize = 32 * 1024;
/// A message ends when it has this many bytes, where one does not hold everything.
const PART_BYTES_MAX: usize = 16 * 1024;
/// How many of those are kept for others, a MiB for a view; what comes after them is made for each watcher.
const CUTS_MAX: usize = 64;
/// How old a kept message may get: it says what time it is.
pub(super) const AGE_MAX: Duration = Duration::from_millis(100);

/// What a watcher is told at once, ready to be shared.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// One message that says everything.
    Whole(Bytes),
    /// Too much for one message.
    InParts(Arc<Batch>, Arc<Cuts>),
}

/// The messages that a batch was cut into so far. Who keeps the batch for others keeps these; a watcher on its own way
/// through the batch does not, so that one that does not read holds none of them.
#[derive(Debug)]
pub(super) struct Cuts {
    made: Mutex<Vec<Cut>>,
    since: Instant,
}

#[derive(Debug, Clone)]
struct Cut {
    message: Bytes,
    next: Place,
    more: bool,
}

/// Where in a batch a message begins.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    removed: usize,
    updated: usize,
}

impl From<Batch> for Told {
    fn from(batch: Batch) -> Self {
        let mut place = Place::default();
        match take(&batch, &mut place, WHOLE_BYTES_MAX) {
            (frame, false) => Self::Whole(frame),
            (_, true) => {
                let cuts = Cuts {
                    made: Mutex::default(),
                    since: Instant::now(),
                };
                Self::InParts(Arc::new(batch), Arc::new(cuts))
            }
        }
    }
}

/// A batch on its way to one watcher, cut into messages. It holds shared instances, and makes a message of them only when
/// it is asked for: a watcher that does not read costs eight bytes an instance.
#[derive(Debug)]
pub(super) struct Parts {
    batch: Arc<Batch>,
    cuts: Weak<Cuts>,
    /// How many messages were told.
    told: usize,
    place: Place,
}

impl Parts {
    pub(super) fn new(batch: Arc<Batch>, cuts: &Arc<Cuts>) -> Self {
        Self {
            batch,
            cuts: Arc::downgrade(cuts),
            told: 0,
            place: Place::default(),
        }
    }

    /// The next message, and whether another one follows. Watchers that ask at about the same time share it.
    pub(super) fn next(&mut self) -> (Bytes, bool) {
        let kept = self.cuts.upgrade().filter(|cuts| cuts.since.elapsed() < AGE_MAX);
        let cut = match kept {
            // Made with the lock held: those who ask meanwhile want this very message.
            // A panic elsewhere cannot leave the list in a bad state.
            Some(cuts) => self.shared(&mut cuts.made.lock().unwrap_or_else(PoisonError::into_inner)),
            None => self.cut(),
        };
        self.told += 1;
        self.place = cut.next;
        (cut.message, cut.more)
    }

    fn shared(&self, made: &mut Vec<Cut>) -> Cut {
        if let Some(cut) = made.get(self.told) {
            return cut.clone();
        }
        let cut = self.cut();
        if made.len() == self.told && made.len() < CUTS_MAX {
            made.push(cut.clone());
        }
        cut
    }

    fn cut(&self) -> Cut {
        let mut next = self.place;
        let (message, more) = take(&self.batch, &mut next, PART_BYTES_MAX);
        Cut { message, next, more }
    }
}

/// Makes a message of what follows in a batch, and tells whether that is not all.
fn take(batch: &Batch, place: &mut Place, size_bytes_max: usize) -> (Bytes, bool) {
    let (revision, epoch) = batch.position;
    let mut message = WatchServicesResponse {
        revision: revision.0,
        epoch: epoch.0,
        reset: batch.reset && place.removed + place.updated == 0,
        view_hash: batch.view_hash,
        server_time: Some(SystemTime::now().into()),
        ..Default::default()
    };
    let mut size_bytes = 0;
    while size_bytes < size_bytes_max {
        if let Some(key) = batch.removed.get(place.removed) {
            let key = InstanceKey::from(key);
            size_bytes += key.encoded_len();
            message.removed.push(key);
            place.removed += 1;
        } else if let Some(instance) = batch.updated.get(place.updated) {
            let instance = instance.encode_to_vec();
            size_bytes += instance.len();
            message.updated.push(instance);
            place.updated += 1;
        } else {
            break;
        }
    }
    message.more = place.removed < batch.removed.len() || place.updated < batch.updated.len();
    (framed(&message), message.more)
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

//! Lists of instances that are ready to be sent: encoded when a service has changed, not for each caller.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{BufMut, Bytes, BytesMut};
use homeroom::{
    model::{Instance, ServiceName},
    page::Page,
    proto::registry::v1::{ListInstancesRequest, ready::ListInstancesResponse},
};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame};
use prost::Message;
use tonic::Status;

use super::list;
use crate::{error::Error, store::State};

/// gRPC puts a byte of flags and four of length in front of each message.
const PREFIX_BYTES: usize = 5;
/// What all lists together may take: those of 16,000 usual instances. Beyond, they are made anew.
const SIZE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The lists of services that fit on one page, as they were asked for last.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Whoever holds the store's state may lock it, never the other way round.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pages: HashMap<Wanted, KeptPage>,
    size_bytes: usize,
}

/// A service, and whether its instances are wanted whatever their health.
type Wanted = (ServiceName, bool);

/// A list, with what it was made of: every change puts another instance in the place of the one before.
#[derive(Debug)]
struct KeptPage {
    made_of: Vec<Arc<Instance>>,
    /// The fields of the answer that do not change with the rest of the catalog.
    instances: Bytes,
}

/// What a caller is answered.
pub(super) enum Listed {
    /// A message to be encoded.
    Message(ListInstancesResponse),
    /// A message that is ready.
    Ready(ReadyMessage),
}

impl Pages {
    /// Lists instances, as [`list::instances`] does.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(super) fn list(&self, request: &ListInstancesRequest, state: &State) -> Result<Listed, Error> {
        let Some(wanted) = whole_service(request, state)? else {
            return Ok(Listed::Message(list::instances(request, state)?));
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = kept.pages.get(&wanted)
            && page.is_as(state.catalog.instances_of(&wanted.0))
        {
            return Ok(Listed::Ready(ReadyMessage::new(page.instances.clone(), state)));
        }
        let message = list::instances(request, state)?;
        // So much metadata that one page does not hold them.
        if !message.next_page_token.is_empty() {
            return Ok(Listed::Message(message));
        }
        let instances = ListInstancesResponse {
            revision: 0,
            epoch: 0,
            ..message
        };
        let instances = Bytes::from(instances.encode_to_vec());
        let made_of = state.catalog.instances_of(&wanted.0).cloned().collect();
        kept.keep(wanted, made_of, instances.clone());
        Ok(Listed::Ready(ReadyMessage::new(instances, state)))
    }
}

/// The service that a request asks for all of, on one page.
fn whole_service(request: &ListInstancesRequest, state: &State) -> Result<Option<Wanted>, Error> {
    if request.service.is_empty() || !request.page_token.is_empty() {
        return Ok(None);
    }
    let service = ServiceName::parse("service", &request.service)?;
    let size = Page::parse("", request.page_size, "")?.size;
    let Some(instances) = state.catalog.services().get(&service) else {
        return Ok(None);
    };
    Ok((instances.len() <= size).then_some((service, request.include_all_health)))
}

impl Kept {
    fn keep(&mut self, wanted: Wanted, made_of: Vec<Arc<Instance>>, instances: Bytes) {
        if let Some(old) = self.pages.remove(&wanted) {
            self.size_bytes -= old.instances.len();
        }
        self.size_bytes += instances.len();
        if self.size_bytes > SIZE_BYTES_MAX {
            self.pages.clear();
            self.size_bytes = instances.len();
        }
        self.pages.insert(wanted, KeptPage { made_of, instances });
    }
}

impl KeptPage {
    fn is_as<'c>(&self, instances: impl Iterator<Item = &'c Arc<Instance>>) -> bool {
        instances.map(Arc::as_ptr).eq(self.made_of.iter().map(Arc::as_ptr))
    }
}

/// The body of an answer of one message, most of which is shared with others.
#[derive(Debug)]
pub(super) struct ReadyMessage {
    /// The prefix, and what is of this answer alone.
    own: Option<Bytes>,
    shared: Option<Bytes>,
    ended: bool,
}

impl ReadyMessage {
    fn new(shared: Bytes, state: &State) -> Self {
        let own = ListInstancesResponse {
            revision: state.catalog.revision().0,
            epoch: state.catalog.epoch().0,
            ..Default::default()
        };
        let length = own.encoded_len();
        let mut first = BytesMut::with_capacity(PREFIX_BYTES + length);
        first.put_u8(0);
        first.put_u32(u32::try_from(length + shared.len()).expect("a page is far below 4 GiB"));
        own.encode(&mut first).expect("there is room for it");
        Self {
            own: Some(first.freeze()),
            shared: Some(shared).filter(|shared| !shared.is_empty()),
            ended: false,
        }
    }
}

impl Body for ReadyMessage {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(piece) = self.own.take().or_else(|| self.shared.take()) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(None);
        }
        let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests;

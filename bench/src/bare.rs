//! The bare server: tonic's own server with the usual settings, and nothing behind it.
//!
//! It is the fastest stock set-up: `TCP_NODELAY`, a backlog of 4,096, tokio's default runtime, no time-outs, no limits,
//! no middleware. Its watchers have a cursor each into what was published, as fast servers have it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
    task::{Context, Poll},
    time::SystemTime,
};

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use homeroom::proto::registry::v1::{InstanceKey, RegisterRequest, RegisterResponse, WatchServicesResponse};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    sync::{broadcast, watch},
};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::NamedService,
    transport::{Server, server::TcpIncoming},
};

use crate::proto::bare::{
    EmptyRequest, EmptyResponse, FollowRequest,
    bare_server::{Bare, BareServer},
};

/// How many messages are held: many times what the load lets be on the way.
const HELD: usize = 4_096;

/// Serves until it is killed.
pub(crate) async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = homeroom::listener::bind(listen)?;
    crate::process::say_listening(listener.local_addr()?);
    let ring = Arc::new(Ring::default());
    Server::builder()
        .tcp_nodelay(true)
        .add_service(BareServer::new(Answers::new(ring.clone())))
        .add_service(Shared(ring))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

/// Messages that are encoded once: each watcher clones a pointer to them.
#[derive(Debug, Default)]
struct Ring {
    /// The messages from number `0` of the pair on.
    messages: RwLock<(u64, VecDeque<Bytes>)>,
    published: watch::Sender<u64>,
}

impl Ring {
    fn publish(&self, message: &WatchServicesResponse) {
        let mut messages = self.messages.write().unwrap_or_else(PoisonError::into_inner);
        messages.1.push_back(framed(message));
        if messages.1.len() > HELD {
            messages.1.pop_front();
            messages.0 += 1;
        }
        let end = messages.0 + messages.1.len() as u64;
        drop(messages);
        self.published.send_replace(end);
    }

    fn get(&self, number: u64) -> Option<Bytes> {
        let messages = self.messages.read().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(number.checked_sub(messages.0)?).ok()?;
        messages.1.get(index).cloned()
    }

    /// An empty message that says that the watch is open, then all that is published from now on.
    fn frames(self: Arc<Self>) -> impl Stream<Item = Result<Frame<Bytes>, Status>> {
        let receiver = self.published.subscribe();
        let next = *receiver.borrow();
        let opened = stream::iter([framed(&WatchServicesResponse::default())]);
        let messages = stream::unfold((self, receiver, next), async |(ring, mut receiver, next)| {
            loop {
                if let Some(message) = ring.get(next) {
                    return Some((message, (ring, receiver, next + 1)));
                }
                receiver.changed().await.ok()?;
            }
        });
        opened.chain(messages).map(|message| Ok(Frame::data(message)))
    }
}

fn framed(message: &WatchServicesResponse) -> Bytes {
    let size = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + size);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(size).expect("a message is small"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

/// What generated code serves.
#[derive(Debug)]
struct Answers {
    revision: Arc<Mutex<u64>>,
    each: broadcast::Sender<Arc<WatchServicesResponse>>,
    ring: Arc<Ring>,
}

impl Answers {
    fn new(ring: Arc<Ring>) -> Self {
        Self {
            revision: Arc::default(),
            each: broadcast::Sender::new(HELD),
            ring,
        }
    }

    /// Numbers a message and tells all watchers of it, in order.
    fn publish(&self, mut message: WatchServicesResponse) -> u64 {
        let mut revision = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        *revision += 1;
        message.revision = *revision;
        message.server_time = Some(SystemTime::now().into());
        self.ring.publish(&message);
        // Nobody may be watching.
        let _ = self.each.send(Arc::new(message));
        *revision
    }
}

#[tonic::async_trait]
impl Bare for Answers {
    async fn empty(&self, _: Request<EmptyRequest>) -> Result<Response<EmptyResponse>, Status> {
        Ok(Response::new(EmptyResponse {}))
    }

    async fn publish(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let instance = request.into_inner().instance.unwrap_or_default();
        let revision = Self::publish(
            self,
            WatchServicesResponse {
                epoch: 1,
                updated: vec![instance.clone()],
                view_hash: 1,
                ..Default::default()
            },
        );
        Ok(Response::new(RegisterResponse {
            instance: Some(instance),
            revision,
            epoch: 1,
            ..Default::default()
        }))
    }

    async fn follow(&self, request: Request<FollowRequest>) -> Result<Response<EmptyResponse>, Status> {
        let mut followed = TcpStream::connect(request.into_inner().address).await?;
        let answers = Self {
            revision: self.revision.clone(),
            each: self.each.clone(),
            ring: self.ring.clone(),
        };
        // Detached: it ends with the connection.
        tokio::spawn(async move {
            let mut bytes = [0; 1024];
            while matches!(followed.read(&mut bytes).await, Ok(1..)) {}
            Self::publish(
                &answers,
                WatchServicesResponse {
                    removed: vec![InstanceKey::default()],
                    ..Default::default()
                },
            );
        });
        Ok(Response::new(EmptyResponse {}))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchServicesResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<EmptyRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let opened = stream::iter([Ok(WatchServicesResponse::default())]);
        let messages = BroadcastStream::new(self.each.subscribe());
        let messages = messages.map(|message| match message {
            Ok(message) => Ok(WatchServicesResponse::clone(&message)),
            Err(error) => Err(Status::data_loss(error.to_string())),
        });
        Ok(Response::new(Box::pin(opened.chain(messages))))
    }
}

/// `bench.bare.v1.Shared/Watch`: bytes go to the transport as they are.
#[derive(Debug, Clone)]
struct Shared(Arc<Ring>);

impl NamedService for Shared {
    const NAME: &'static str = "bench.bare.v1.Shared";
}

impl tower_service::Service<http::Request<Body>> for Shared {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let body = Body::new(StreamBody::new(self.0.clone().frames()));
        let mut response = http::Response::new(body);
        let grpc = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
        ready(Ok(response))
    }
}

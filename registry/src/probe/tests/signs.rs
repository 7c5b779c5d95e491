//! Signs of life, as a peer of bytes sees them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

/// What a server says first: SETTINGS.
const GREETING: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const ACKNOWLEDGEMENT: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
const A_PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";
/// A farewell in good order, to whatever comes after the first call.
const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0";
/// `grpc-status` 0.
const END_OF_WATCH: &[u8] = b"\0\0\x0f\x01\x05\0\0\0\x01\0\x0bgrpc-status\x010";
/// `:status` 200, and a message that says SERVING.
const SERVING: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x07\0\0\0\0\0\x01\0\0\0\0\x02\x08\x01";

struct Peer(TcpStream);

impl Peer {
    async fn says(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the registry listens");
    }

    /// The next frame: its kind, whether it is an acknowledgement, and its payload.
    async fn hears(&mut self) -> (u8, bool, Vec<u8>) {
        let mut head = [0; 9];
        soon("a frame", self.0.read_exact(&mut head)).await.expect("a frame");
        let mut payload = vec![0; usize::from(head[2])];
        soon("its payload", self.0.read_exact(&mut payload))
            .await
            .expect("a payload");
        (head[3], head[4] & ACK != 0, payload)
    }

    /// What it is asked for next: how many acknowledgements before a call, and the headers of that.
    async fn next_call(&mut self) -> (u32, Vec<u8>) {
        let mut signs = 0;
        loop {
            match self.hears().await {
                (SETTINGS, false, _) => {
                    signs += 1;
                    self.says(ACKNOWLEDGEMENT).await;
                }
                (HEADERS, _, headers) => return (signs, headers),
                _ => {}
            }
        }
    }

    /// Pings, and waits for the answer. Acknowledges what it is asked for before.
    async fn pings(&mut self) {
        self.says(A_PING).await;
        loop {
            match self.hears().await {
                (SETTINGS, false, _) => self.says(ACKNOWLEDGEMENT).await,
                (PING, true, _) => return,
                _ => {}
            }
        }
    }

    /// Greets whoever connects, is asked for a watch, and says SERVING.
    async fn meets(listener: &TcpListener) -> Self {
        let (stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
        let mut peer = Self(stream);
        let mut preface = [0; 24];
        soon("the preface", peer.0.read_exact(&mut preface))
            .await
            .expect("a preface");
        peer.says(GREETING).await;
        let (_, headers) = peer.next_call().await;
        assert!(headers.windows(5).any(|piece| piece == b"Watch"));
        let address = listener.local_addr().expect("it listens").to_string();
        assert!(headers.windows(address.len()).any(|piece| piece == address.as_bytes()));
        peer.says(SERVING).await;
        peer
    }
}

/// An instance that says SERVING, with probes every 100 ms that may take so many seconds.
async fn serving(registry: &Running, timeout: i64) -> (Arc<Instance>, Peer, TcpListener) {
    let port = Port::take();
    let listener = port.listen();
    let instance = proto::Instance {
        health_check: Some(proto::HealthCheck {
            interval: Some(prost_types::Duration {
                seconds: 0,
                nanos: 100_000_000,
            }),
            timeout: seconds(timeout),
            ..Default::default()
        }),
        ..at(&port.address().to_string())
    };
    let instance = registry.register(instance, false).await.expect("it is accepted");
    let peer = Peer::meets(&listener).await;
    registry
        .health(&instance, |health| health.state == HealthState::Serving)
        .await;
    (instance, peer, listener)
}

#[tokio::test]
async fn an_idle_instance_is_asked_for_acknowledgements_and_now_and_then_by_a_call() {
    let registry = start();
    let (_instance, mut peer, _listener) = serving(&registry, 10).await;
    let (signs, headers) = peer.next_call().await;
    assert!(headers.windows(5).any(|piece| piece == b"Check"));
    assert_eq!(signs, 15);
    assert_eq!(registry.causes(), [Cause::Recovered, Cause::Registered]);
}

#[tokio::test]
async fn an_instance_that_acknowledges_nothing_is_suspected() {
    let registry = start();
    let (instance, _peer, _listener) = serving(&registry, 1).await;
    let health = registry.health(&instance, |health| health.suspect).await;
    assert_eq!(health.state, HealthState::Serving);
}

#[tokio::test]
async fn an_instance_that_pings_is_asked_for_less() {
    let registry = start();
    let (_instance, mut peer, _listener) = serving(&registry, 10).await;
    for _ in 0..15 {
        peer.pings().await;
    }
    let (signs, headers) = peer.next_call().await;
    assert!(headers.windows(5).any(|piece| piece == b"Check"), "but for a call");
    assert!(signs < 15, "{signs}");
}

#[tokio::test]
async fn an_instance_that_was_silent_is_asked_on_another_connection() {
    let registry = start();
    let (instance, _peer, listener) = serving(&registry, 1).await;
    registry.health(&instance, |health| health.suspect).await;
    let _again = Peer::meets(&listener).await;
    let health = registry.health(&instance, |health| !health.suspect).await;
    assert_eq!(health.state, HealthState::Serving);
}

#[tokio::test]
async fn an_instance_that_closes_the_connection_in_good_order_is_asked_on_another_one() {
    let registry = start();
    let (_instance, mut peer, listener) = serving(&registry, 10).await;
    peer.says(GOAWAY).await;
    peer.says(END_OF_WATCH).await;
    let _again = Peer::meets(&listener).await;
    assert_eq!(registry.causes(), [Cause::Recovered, Cause::Registered]);
}

//! Signs of life, as a peer of bytes sees them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

/// What a server says first: SETTINGS.
const GREETING: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const ACKNOWLEDGEMENT: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
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
}

/// An instance that says SERVING, with probes every 100 ms that may take so many seconds.
async fn serving(registry: &Running, timeout: i64) -> (Arc<Instance>, Peer) {
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
    let (stream, _) = soon("a connection", listener.accept()).await.expect("a connection");
    let mut peer = Peer(stream);
    let mut preface = [0; 24];
    soon("the preface", peer.0.read_exact(&mut preface))
        .await
        .expect("a preface");
    peer.says(GREETING).await;
    let (_, headers) = peer.next_call().await;
    assert!(headers.windows(5).any(|piece| piece == b"Watch"));
    let address = port.address().to_string();
    assert!(headers.windows(address.len()).any(|piece| piece == address.as_bytes()));
    peer.says(SERVING).await;
    registry
        .health(&instance, |health| health.state == HealthState::Serving)
        .await;
    (instance, peer)
}

#[tokio::test]
async fn an_idle_instance_is_asked_for_acknowledgements_and_now_and_then_by_a_call() {
    let registry = start();
    let (_instance, mut peer) = serving(&registry, 10).await;
    let (signs, headers) = peer.next_call().await;
    assert!(headers.windows(5).any(|piece| piece == b"Check"));
    assert_eq!(signs, 15);
    assert_eq!(registry.causes(), [Cause::Recovered, Cause::Registered]);
}

#[tokio::test]
async fn an_instance_that_acknowledges_nothing_is_suspected() {
    let registry = start();
    let (instance, _peer) = serving(&registry, 1).await;
    let health = registry.health(&instance, |health| health.suspect).await;
    assert_eq!(health.state, HealthState::Serving);
}

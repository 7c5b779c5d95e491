use proptest::prelude::*;

use super::*;

const PATH: &str = "/grpc.health.v1.Health/Watch";

/// A connection whose peer has greeted, and acknowledged what it was told.
fn greeted() -> Wire {
    greeted_with(&[])
}

fn greeted_with(settings: &[(u16, u32)]) -> Wire {
    let mut wire = Wire::new();
    let setting = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let settings: Vec<u8> = settings.iter().flat_map(setting).collect();
    let said = [frame(SETTINGS, 0, 0, &settings), frame(SETTINGS, ACK, 0, &[])].concat();
    assert_eq!(wire.take(&said), Ok(Vec::new()));
    wire.sent(wire.outgoing().len());
    wire
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put(&mut frame, kind, flags, stream, payload);
    frame
}

fn headers(stream: u32, ends: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::put(&mut block, name, value);
    }
    frame(HEADERS, END_HEADERS | if ends { END_STREAM } else { 0 }, stream, &block)
}

fn message(stream: u32, text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("it is short").to_be_bytes();
    frame(DATA, 0, stream, &[&[0], &length[..], text].concat())
}

fn call(wire: &mut Wire) -> CallId {
    wire.call("127.0.0.1:1", PATH, b"request")
}

fn over(code: i32, message: &str) -> News {
    let message = message.to_owned();
    News::Over(Status { code, message })
}

/// The frames that are to be sent: their kinds, flags and streams.
fn outgoing(wire: &mut Wire) -> Vec<(u8, u8, u32)> {
    let bytes = wire.outgoing().to_vec();
    wire.sent(bytes.len());
    let mut rest = &bytes[..];
    let frames = std::iter::from_fn(|| Frame::take(&mut rest));
    let frames = frames.map(|frame| (frame.kind, frame.flags, frame.stream)).collect();
    assert!(rest.is_empty());
    frames
}

#[test]
fn an_answer_is_the_same_however_it_is_cut() {
    let said = [
        headers(1, false, &[(":status", "200")]),
        message(1, b"one"),
        frame(PING, 0, 0, b"12345678"),
        message(1, b""),
        headers(1, true, &[("grpc-status", "5"), ("grpc-message", "no%20name")]),
    ]
    .concat();
    for size in 1..=said.len() {
        let mut wire = greeted();
        let id = call(&mut wire);
        let mut news = Vec::new();
        for piece in said.chunks(size) {
            news.extend(wire.take(piece).expect("it is right"));
        }
        let expected = [
            News::Message(b"one".to_vec()),
            News::Message(Vec::new()),
            over(5, "no name"),
        ];
        assert_eq!(news, expected.map(|news| (id, news)), "in pieces of {size}");
    }
}

#[test]
fn what_is_not_http2_is_told_from_what_is() {
    let tls = Wire::new().take(b"\x15\x03\x03\x00\x02");
    assert!(matches!(tls, Err(Fault::Tls(_))), "{tls:?}");
    let http1 = Wire::new().take(b"HTTP/1.1 400 Bad Request");
    let said = Fault::NotHttp2("it began with `HTTP`".to_owned());
    assert_eq!(http1, Err(said));
    assert_eq!(Wire::new().take(b"HTT"), Ok(Vec::new()), "it may go on otherwise");
}

#[test]
fn what_asks_for_an_answer_is_answered() {
    let mut wire = greeted();
    let id = call(&mut wire);
    assert_eq!(outgoing(&mut wire), [(HEADERS, END_HEADERS, 1), (DATA, END_STREAM, 1)]);
    wire.take(&frame(PING, 0, 0, b"12345678")).expect("it is right");
    wire.take(&frame(PING, ACK, 0, b"12345678")).expect("it is right");
    wire.take(&frame(SETTINGS, 0, 0, b"")).expect("it is right");
    assert_eq!(outgoing(&mut wire), [(PING, ACK, 0), (SETTINGS, ACK, 0)]);
    let said = [headers(1, false, &[(":status", "200")]), message(1, b"one")].concat();
    assert_eq!(wire.take(&said), Ok(vec![(id, News::Message(b"one".to_vec()))]));
    let room = [(WINDOW_UPDATE, 0, 0), (WINDOW_UPDATE, 0, 1)];
    assert_eq!(outgoing(&mut wire), room, "what was read makes room again");
}

#[test]
fn a_sign_of_life_has_come_when_all_that_was_asked_for_is_acknowledged() {
    let mut wire = Wire::new();
    assert!(!wire.is_acknowledged());
    wire.ask();
    for is_acknowledged in [false, true] {
        let said = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat();
        wire.take(&said).expect("it is right");
        assert_eq!(wire.is_acknowledged(), is_acknowledged);
    }
}

#[test]
fn a_peer_that_pings_is_told_of_once_and_one_that_answers_a_ping_never() {
    let mut wire = greeted();
    wire.take(&frame(PING, ACK, 0, b"12345678")).expect("it is right");
    assert!(!wire.take_pinged());
    wire.take(&frame(PING, 0, 0, b"12345678").repeat(2))
        .expect("it is right");
    assert!(wire.take_pinged());
    assert!(!wire.take_pinged());
}

#[test]
fn requests_wait_until_the_peer_has_room() {
    let mut wire = greeted_with(&[(CALLS_MAX_SETTING, 1)]);
    let first = call(&mut wire);
    call(&mut wire);
    assert_eq!(outgoing(&mut wire).len(), 2, "a request of two frames");
    let reset = frame(RST_STREAM, 0, 1, &7_u32.to_be_bytes());
    let refused = over(UNAVAILABLE, "it was reset: REFUSED_STREAM");
    assert_eq!(wire.take(&reset), Ok(vec![(first, refused)]));
    assert_eq!(outgoing(&mut wire), [(HEADERS, END_HEADERS, 3), (DATA, END_STREAM, 3)]);

    let mut wire = greeted();
    let mut sent = 0;
    while sent == wire.calls.len() {
        call(&mut wire);
        sent += outgoing(&mut wire).len() / 2;
    }
    assert_eq!(sent, WINDOW_BYTES as usize / (b"request".len() + PREFIX_BYTES));
    wire.take(&frame(WINDOW_UPDATE, 0, 0, &12_u32.to_be_bytes()))
        .expect("it is right");
    assert_eq!(outgoing(&mut wire).len(), 2);
}

#[test]
fn a_peer_that_leaves_in_good_order_ends_what_it_has_begun() {
    let mut wire = greeted_with(&[(CALLS_MAX_SETTING, 2)]);
    let calls = [(); 3].map(|()| call(&mut wire));
    let farewell = [1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    let news = wire.take(&frame(GOAWAY, 0, 0, &farewell));
    let refused = || over(UNAVAILABLE, "it closes the connection");
    assert_eq!(news, Ok(vec![(calls[1], refused()), (calls[2], refused())]));
    assert!(wire.is_leaving() && !wire.is_over());
    wire.take(&headers(1, true, &[("grpc-status", "0")]))
        .expect("it is right");
    assert!(wire.is_over());
}

#[test]
fn a_peer_that_owes_an_answer_and_has_not_taken_leave_of_it_is_amid_calls() {
    let mut silent = Wire::new();
    call(&mut silent);
    assert!(!silent.is_amid_calls(), "it has not even greeted");
    let mut wire = greeted();
    assert!(!wire.is_amid_calls());
    call(&mut wire);
    assert!(wire.is_amid_calls());
    let farewell = [1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    wire.take(&frame(GOAWAY, 0, 0, &farewell)).expect("it is right");
    assert!(!wire.is_amid_calls());
}

#[test]
fn an_answer_without_a_status_of_grpc_has_one_all_the_same() {
    let html = [headers(1, false, &[(":status", "404")]), message(1, b"<html>")].concat();
    let only_data = [
        headers(1, false, &[(":status", "200")]),
        frame(DATA, END_STREAM, 1, b""),
    ]
    .concat();
    let informational = [
        headers(1, false, &[(":status", "103")]),
        headers(1, true, &[(":status", "200")]),
    ]
    .concat();
    for (said, expected) in [
        (html, over(12, "it answered with HTTP status 404")),
        (
            headers(1, true, &[(":status", "503")]),
            over(UNAVAILABLE, "it answered with HTTP status 503"),
        ),
        (
            headers(1, true, &[(":status", "403"), ("grpc-status", "7")]),
            over(7, ""),
        ),
        (only_data, over(UNKNOWN, "its answer has no status")),
        (informational, over(UNKNOWN, "its answer has no status")),
    ] {
        let mut wire = greeted();
        let id = call(&mut wire);
        assert_eq!(wire.take(&said), Ok(vec![(id, expected)]));
    }
}

#[test]
fn headers_may_go_on_in_the_next_frame_and_in_no_other() {
    let mut block = Vec::new();
    hpack::put(&mut block, "grpc-status", "0");
    let (first, second) = block.split_at(5);
    let begun = frame(HEADERS, END_STREAM, 1, first);
    let mut wire = greeted();
    let id = call(&mut wire);
    wire.take(&begun).expect("it is right");
    assert_eq!(
        wire.take(&frame(CONTINUATION, END_HEADERS, 1, second)),
        Ok(vec![(id, over(0, ""))])
    );
    for other in [
        frame(CONTINUATION, END_HEADERS, 3, second),
        frame(PING, 0, 0, b"12345678"),
    ] {
        let mut wire = greeted();
        call(&mut wire);
        wire.take(&begun).expect("it is right");
        assert_eq!(wire.take(&other), Err(broken("a header block was not continued")));
    }
}

#[test]
fn a_peer_makes_this_side_hold_no_more_than_its_limits() {
    let long = frame(HEADERS, 0, 1, &[0; PAYLOAD_BYTES_MAX]);
    assert_eq!(greeted().take(&long), Err(broken("its headers are too large")));
    let head = [0, 0x40, 1, DATA, 0, 0, 0, 0, 1];
    assert_eq!(greeted().take(&head), Err(broken("it began a frame of 16385 bytes")));
    for (said, expected) in [
        (
            message(1, &[0; MESSAGE_BYTES_MAX + 1]),
            over(RESOURCE_EXHAUSTED, "its answer is too large"),
        ),
        (
            frame(DATA, 0, 1, &[1, 0, 0, 0, 0]),
            over(INTERNAL, "its answer is compressed"),
        ),
    ] {
        let mut wire = greeted();
        let id = call(&mut wire);
        assert_eq!(wire.take(&said), Ok(vec![(id, expected)]));
        assert!(outgoing(&mut wire).contains(&(RST_STREAM, 0, 1)), "it is told to stop");
    }
    let mut wire = greeted();
    let ping = frame(PING, 0, 0, b"12345678");
    let pings = OUTGOING_BYTES_MAX / ping.len() + 1;
    wire.take(&ping.repeat(pings)).expect("it is right");
    assert!(wire.is_clogged());
    wire.sent(wire.outgoing().len());
    assert!(!wire.is_clogged());
}

#[test]
fn a_peer_that_breaks_off_says_why() {
    let farewell = [&1_u32.to_be_bytes()[..], &11_u32.to_be_bytes(), b"too_many_pings"].concat();
    let why = "it said GOAWAY: ENHANCE_YOUR_CALM `too_many_pings`";
    assert_eq!(greeted().take(&frame(GOAWAY, 0, 0, &farewell)), Err(broken(why)));
    for cut_off in [
        frame(GOAWAY, 0, 0, b"1234567"),
        frame(RST_STREAM, 0, 1, b"1"),
        frame(PUSH_PROMISE, 4, 1, b""),
    ] {
        assert!(greeted().take(&cut_off).is_err());
    }
}

proptest! {
    #[test]
    fn nothing_that_a_peer_says_is_a_panic(
        frames in prop::collection::vec(
            (0..11_u8, any::<u8>(), 0..6_u32, prop::collection::vec(any::<u8>(), 0..40)),
            0..30,
        ),
        size in 1..100_usize,
    ) {
        let mut wire = greeted();
        call(&mut wire);
        call(&mut wire);
        let said: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
        for piece in said.chunks(size) {
            if wire.take(piece).is_err() {
                break;
            }
            prop_assert!(wire.incoming.len() <= PAYLOAD_BYTES_MAX + 9);
        }
    }
}

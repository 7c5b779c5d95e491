//! HTTP/2 and gRPC as far as a probe speaks them: calls of one small message each, and signs of life. Pure: it is given the
//! bytes that came, and gives what they tell and the bytes that are to be sent.
//!
//! Not hyper, which holds 35 KiB for each connection, and takes five times the processor for a sign of life: a
//! registry has thousands of connections on which nothing happens.

mod frame;
mod hpack;
mod huffman;

use std::{collections::VecDeque, mem};

use self::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PAYLOAD_BYTES_MAX, PING, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, number, put, reason,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No table of header fields, no pushed streams, header blocks of 8 KiB at most (RFC 9113, section 6.5.2).
const OWN_SETTINGS: [(u16, u32); 3] = [(1, 0), (2, 0), (6, BLOCK_BYTES_MAX as u32)];
const CALLS_MAX_SETTING: u16 = 3;
const WINDOW_SETTING: u16 = 4;
/// How long a header block may be.
const BLOCK_BYTES_MAX: usize = 8 * 1024;
/// How long the message of an answer may be; that of a health service has two bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// A message is preceded by whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// How much a peer may be sent at first before it says that it has read it.
const WINDOW_BYTES: u32 = 65_535;
/// The last number that a stream may have.
const STREAM_MAX: u32 = (1 << 31) - 1;
/// When no more is to be read of a peer before it takes what waits for it.
const OUTGOING_BYTES_MAX: usize = 64 * 1024;
/// The type of a frame ends here. The first frame of a server is SETTINGS.
const TYPE_END: usize = 4;
/// What a TLS server begins with when it is not greeted in TLS: an alert, or a handshake record, of version 3.x (RFC 8446,
/// section 5.1). As the length of a frame it would be far more than HTTP/2 allows at first.
const TLS_RECORDS: [[u8; 2]; 2] = [[0x15, 0x03], [0x16, 0x03]];

/// gRPC's codes that are made here.
const UNKNOWN: i32 = 2;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

/// Names a call; its connection knows no other one so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallId(u32);

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A message, without its prefix.
    Message(Vec<u8>),
    /// Its end; nothing comes after it.
    Over(Status),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// gRPC's code.
    pub(super) code: i32,
    pub(super) message: String,
}

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What the peer said was not HTTP/2.
    NotHttp2(String),
    /// What the peer said was TLS.
    Tls(String),
    /// The peer broke it off with an error, or broke the rules.
    Broken(String),
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// What came of a frame that is not all there.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Whether the peer has shown that it speaks HTTP/2.
    is_greeted: bool,
    /// The header block that goes on in the next frame, whether its stream ends with it, and which that is.
    block: Option<(u32, bool, Vec<u8>)>,
    calls: Vec<Call>,
    /// Requests that the peer has no room for.
    waiting: VecDeque<(u32, Vec<u8>)>,
    next_stream: u32,
    /// How many more bytes the peer takes, on the connection and on a new stream.
    window: i64,
    stream_window: u32,
    calls_max: u32,
    /// How many SETTINGS it has not acknowledged.
    unacknowledged: u32,
    /// Whether it has pinged.
    has_pinged: bool,
    is_leaving: bool,
}

#[derive(Debug)]
struct Call {
    stream: u32,
    /// Whether its headers have come.
    is_answered: bool,
    body: Vec<u8>,
}

impl Wire {
    /// A connection that has just been opened.
    pub(super) fn new() -> Self {
        let mut outgoing = PREFACE.to_vec();
        let setting = |(name, value): (u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let settings: Vec<u8> = OWN_SETTINGS.into_iter().flat_map(setting).collect();
        put(&mut outgoing, SETTINGS, 0, 0, &settings);
        Self {
            incoming: Vec::new(),
            outgoing,
            is_greeted: false,
            block: None,
            calls: Vec::new(),
            waiting: VecDeque::new(),
            next_stream: 1,
            window: i64::from(WINDOW_BYTES),
            stream_window: WINDOW_BYTES,
            calls_max: u32::MAX,
            unacknowledged: 1,
            has_pinged: false,
            is_leaving: false,
        }
    }

    /// What is to be sent; [`Wire::sent`] says how much of it was.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        if bytes == self.outgoing.len() {
            // Nothing is held for a connection that is idle.
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..bytes);
        }
    }

    /// Whether the peer is to take what waits for it before more of it is read.
    pub(super) fn is_clogged(&self) -> bool {
        self.outgoing.len() > OUTGOING_BYTES_MAX
    }

    /// Whether the peer takes no more calls: it is closing the connection in good order.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving || self.next_stream > STREAM_MAX
    }

    /// Whether the peer owes answers that it has not taken leave of: a process that dies ends a connection so.
    pub(super) fn is_amid_calls(&self) -> bool {
        self.is_greeted && !self.is_leaving && !self.calls.is_empty()
    }

    /// Whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_leaving && self.calls.is_empty()
    }

    /// Asks for a sign of life: an empty SETTINGS, which every peer has to acknowledge as soon as it can (RFC 9113, section
    /// 6.5.3).
    pub(super) fn ask(&mut self) {
        put(&mut self.outgoing, SETTINGS, 0, 0, &[]);
        self.unacknowledged += 1;
    }

    /// Whether everything that was asked for was acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.unacknowledged == 0
    }

    /// Whether the peer has pinged since this was asked last.
    pub(super) fn take_pinged(&mut self) -> bool {
        mem::take(&mut self.has_pinged)
    }

    /// Calls a method. Only while [`Wire::is_leaving`] says no.
    pub(super) fn call(&mut self, authority: &str, path: &str, message: &[u8]) -> CallId {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.calls.push(Call {
            stream,
            is_answered: false,
            body: Vec::new(),
        });
        let mut request = Vec::new();
        put(
            &mut request,
            HEADERS,
            END_HEADERS,
            stream,
            &request_headers(authority, path),
        );
        let length = u32::try_from(message.len()).expect("a request is small");
        let body = [&[0], &length.to_be_bytes()[..], message].concat();
        put(&mut request, DATA, END_STREAM, stream, &body);
        self.waiting.push_back((length + PREFIX_BYTES as u32, request));
        self.send_waiting();
        CallId(stream)
    }

    /// Sends the requests that the peer has room for.
    fn send_waiting(&mut self) {
        while let Some((length, _)) = self.waiting.front() {
            let open = self.calls.len() - self.waiting.len();
            let has_room = self.window >= i64::from(*length) && self.stream_window >= *length;
            if !has_room || open >= self.calls_max as usize {
                return;
            }
            self.window -= i64::from(*length);
            self.outgoing
                .extend(self.waiting.pop_front().into_iter().flat_map(|(_, request)| request));
        }
    }

    /// Takes what came, and gives what it tells.
    ///
    /// # Errors
    /// Why the connection cannot go on.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<(CallId, News)>, Fault> {
        let mut joined = mem::take(&mut self.incoming);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        self.check_greeting(rest)?;
        let mut news = Vec::new();
        while let Some(frame) = Frame::take(&mut rest) {
            self.is_greeted = true;
            self.take_frame(frame, &mut news)?;
        }
        if let Some(length @ PAYLOAD_BYTES_MAX..) = Frame::payload_length(rest)
            && length > PAYLOAD_BYTES_MAX
        {
            return Err(broken(format!("it began a frame of {length} bytes")));
        }
        self.incoming = rest.to_vec();
        self.send_waiting();
        Ok(news)
    }

    fn check_greeting(&self, bytes: &[u8]) -> Result<(), Fault> {
        let Some(head) = bytes.get(..TYPE_END).filter(|_| !self.is_greeted) else {
            return Ok(());
        };
        let said = format!("it began with `{}`", head.escape_ascii());
        match head[TYPE_END - 1] {
            _ if TLS_RECORDS.iter().any(|record| head.starts_with(record)) => Err(Fault::Tls(said)),
            SETTINGS => Ok(()),
            _ => Err(Fault::NotHttp2(said)),
        }
    }

    fn take_frame(&mut self, frame: Frame<'_>, news: &mut Vec<(CallId, News)>) -> Result<(), Fault> {
        let continues = self.block.as_ref().map(|(stream, ..)| *stream);
        let is_next = frame.kind == CONTINUATION && continues == Some(frame.stream);
        if (continues.is_some() || frame.kind == CONTINUATION) && !is_next {
            return Err(broken("a header block was not continued"));
        }
        match frame.kind {
            DATA => self.take_data(frame, news)?,
            HEADERS => {
                let block = frame.content().ok_or_else(|| broken("HEADERS are cut off"))?;
                self.block = Some((frame.stream, frame.is(END_STREAM), Vec::new()));
                self.take_block(block, frame.is(END_HEADERS), news)?;
            }
            CONTINUATION => self.take_block(frame.payload, frame.is(END_HEADERS), news)?,
            RST_STREAM => {
                let code = number(frame.payload).ok_or_else(|| broken("RST_STREAM is cut off"))?;
                self.end(
                    frame.stream,
                    UNAVAILABLE,
                    format!("it was reset: {}", reason(code)),
                    news,
                );
            }
            SETTINGS if frame.is(ACK) => self.unacknowledged = self.unacknowledged.saturating_sub(1),
            SETTINGS => self.take_settings(frame.payload),
            PUSH_PROMISE => return Err(broken("a stream was pushed")),
            PING if !frame.is(ACK) => {
                self.has_pinged = true;
                put(&mut self.outgoing, PING, ACK, 0, frame.payload);
            }
            GOAWAY => self.take_farewell(frame.payload, news)?,
            WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(number(frame.payload).unwrap_or_default()),
            _ => {}
        }
        Ok(())
    }

    fn take_settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            let value = number(&setting[2..]).unwrap_or_default();
            match u16::from_be_bytes([setting[0], setting[1]]) {
                CALLS_MAX_SETTING => self.calls_max = value,
                WINDOW_SETTING => self.stream_window = value,
                _ => {}
            }
        }
        put(&mut self.outgoing, SETTINGS, ACK, 0, &[]);
    }

    fn take_farewell(&mut self, payload: &[u8], news: &mut Vec<(CallId, News)>) -> Result<(), Fault> {
        let (Some(last), Some(code)) = (number(payload), payload.get(4..).and_then(number)) else {
            return Err(broken("GOAWAY is cut off"));
        };
        if code != 0 {
            let why = payload[8..].escape_ascii();
            return Err(broken(format!("it said GOAWAY: {} `{why}`", reason(code))));
        }
        self.is_leaving = true;
        let unsent = self.calls.len() - mem::take(&mut self.waiting).len();
        let streams = self.calls.iter().map(|call| call.stream).enumerate();
        let refused = streams.filter(|(place, stream)| *place >= unsent || *stream > last);
        for (_, stream) in refused.collect::<Vec<_>>() {
            self.end(stream, UNAVAILABLE, "it closes the connection", news);
        }
        Ok(())
    }

    fn take_data(&mut self, frame: Frame<'_>, news: &mut Vec<(CallId, News)>) -> Result<(), Fault> {
        let content = frame.content().ok_or_else(|| broken("DATA is cut off"))?;
        let read = u32::try_from(frame.payload.len()).expect("a frame is small");
        let call = self.calls.iter_mut().find(|call| call.stream == frame.stream);
        if read > 0 {
            put(&mut self.outgoing, WINDOW_UPDATE, 0, 0, &read.to_be_bytes());
        }
        let Some(call) = call else {
            return Ok(());
        };
        call.body.extend_from_slice(content);
        let messages = take_messages(&mut call.body);
        let is_last = frame.is(END_STREAM);
        let id = CallId(frame.stream);
        match messages {
            Err((code, message)) => {
                put(&mut self.outgoing, RST_STREAM, 0, frame.stream, &8_u32.to_be_bytes());
                self.end(frame.stream, code, message, news);
            }
            Ok(messages) => {
                news.extend(messages.into_iter().map(|message| (id, News::Message(message))));
                if is_last {
                    self.end(frame.stream, UNKNOWN, "its answer has no status", news);
                } else if read > 0 {
                    put(&mut self.outgoing, WINDOW_UPDATE, 0, frame.stream, &read.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    /// Takes a piece of the header block that has begun, and all of it with its last piece.
    fn take_block(&mut self, piece: &[u8], is_last: bool, news: &mut Vec<(CallId, News)>) -> Result<(), Fault> {
        let Some((stream, ends, mut block)) = self.block.take() else {
            return Ok(());
        };
        block.extend_from_slice(piece);
        if block.len() > BLOCK_BYTES_MAX {
            return Err(broken("its headers are too large"));
        }
        if !is_last {
            self.block = Some((stream, ends, block));
            return Ok(());
        }
        let fields = hpack::decode(&block).map_err(|_| broken("its headers cannot be read"))?;
        let Some(call) = self.calls.iter_mut().find(|call| call.stream == stream) else {
            return Ok(());
        };
        let is_first = !mem::replace(&mut call.is_answered, true);
        match (fields.grpc_status, fields.http_status) {
            (_, Some(100..=199)) => call.is_answered = false,
            (Some(code), _) if ends => self.end(stream, code, fields.grpc_message, news),
            (None, Some(status)) if is_first && status != 200 => {
                if !ends {
                    put(&mut self.outgoing, RST_STREAM, 0, stream, &8_u32.to_be_bytes());
                }
                self.end(
                    stream,
                    code_of(status),
                    format!("it answered with HTTP status {status}"),
                    news,
                );
            }
            _ if ends => self.end(stream, UNKNOWN, "its answer has no status", news),
            _ => {}
        }
        Ok(())
    }

    /// Ends a call, if it is one.
    fn end(&mut self, stream: u32, code: i32, message: impl Into<String>, news: &mut Vec<(CallId, News)>) {
        let before = self.calls.len();
        self.calls.retain(|call| call.stream != stream);
        if self.calls.len() < before {
            let message = message.into();
            news.push((CallId(stream), News::Over(Status { code, message })));
        }
    }
}

/// Takes the messages that are all there.
fn take_messages(body: &mut Vec<u8>) -> Result<Vec<Vec<u8>>, (i32, &'static str)> {
    let mut messages = Vec::new();
    let mut rest = &body[..];
    while let Some((prefix, after)) = rest.split_at_checked(PREFIX_BYTES) {
        let length = number(&prefix[1..]).unwrap_or_default() as usize;
        if prefix[0] != 0 {
            return Err((INTERNAL, "its answer is compressed"));
        }
        if length > MESSAGE_BYTES_MAX {
            return Err((RESOURCE_EXHAUSTED, "its answer is too large"));
        }
        let Some((message, after)) = after.split_at_checked(length) else {
            break;
        };
        messages.push(message.to_vec());
        rest = after;
    }
    *body = rest.to_vec();
    Ok(messages)
}

fn request_headers(authority: &str, path: &str) -> Vec<u8> {
    // By their places in the static table: POST, http, and the names of the others.
    let mut block = vec![0x83, 0x86];
    hpack::put_named(&mut block, 4, path);
    hpack::put_named(&mut block, 1, authority);
    hpack::put_named(&mut block, 31, "application/grpc");
    hpack::put_named(&mut block, 58, concat!("homeroom/", env!("CARGO_PKG_VERSION")));
    hpack::put(&mut block, "te", "trailers");
    block
}

/// The code of an answer that has only a status of HTTP, as gRPC's documents have it (http-grpc-status-mapping.md).
fn code_of(http_status: u16) -> i32 {
    match http_status {
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

fn broken(why: impl Into<String>) -> Fault {
    Fault::Broken(why.into())
}

#[cfg(test)]
mod tests;

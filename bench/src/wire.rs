//! A client's side of HTTP/2 that does as little as it can: frames are written from ready bytes and counted as they come.
//!
//! The load shares the machine with the server, so what the load costs is missing in the result. Header blocks are
//! never decoded: a gRPC answer that failed has no message before its end, which is all that has to be told apart.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;
/// The largest window (RFC 9113, section 6.9.1): the load never makes the server wait for it, and the limit that is
/// left is how fast it reads. A stream would have to carry 2 GiB to get stuck.
const WINDOW_BYTES: u32 = 0x7fff_ffff;
const WINDOW_FIRST_BYTES: u32 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS; of SETTINGS and PING it is ACK.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// A part of an answer.
pub(crate) enum Frame<'f> {
    /// Bytes of the stream of gRPC messages.
    Data { stream: u32, bytes: &'f [u8] },
    /// The call is over.
    End { stream: u32 },
}

/// A connection that calls one method.
pub(crate) struct Connection {
    socket: TcpStream,
    input: BytesMut,
    output: BytesMut,
    /// The header block of the next request.
    headers: Vec<u8>,
    next_stream: u32,
    /// How much the server may send until it is told of more.
    window: u32,
    /// How much may be sent to the server.
    send_window: i64,
}

impl Connection {
    /// Connects; the answer to the connection's settings is not waited for.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut output = BytesMut::from(PREFACE);
        head(&mut output, 12, SETTINGS, 0, 0);
        for (setting, value) in [(2, 0), (4, WINDOW_BYTES)] {
            output.put_u16(setting);
            output.put_u32(value);
        }
        head(&mut output, 4, WINDOW_UPDATE, 0, 0);
        output.put_u32(WINDOW_BYTES - WINDOW_FIRST_BYTES);
        Ok(Self {
            socket,
            input: BytesMut::with_capacity(READ_BYTES),
            output,
            headers: first_headers(path, &address.to_string()),
            next_stream: 1,
            window: WINDOW_BYTES,
            send_window: i64::from(WINDOW_FIRST_BYTES),
        })
    }

    /// Adds a call with its one message to what is sent next, and names its stream. With `half_close` the server is told
    /// that no other message follows.
    pub(crate) fn call(&mut self, message: &[u8], half_close: bool) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let output = &mut self.output;
        head(output, self.headers.len(), HEADERS, END_HEADERS, stream);
        output.extend_from_slice(&self.headers);
        // From the second request on, the first one's fields are in the server's table.
        if stream == 1 {
            self.headers = [0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe].to_vec();
        }
        let size = message.len() + 5;
        head(output, size, DATA, u8::from(half_close), stream);
        output.put_u8(0);
        output.put_u32(u32::try_from(message.len()).expect("a message of the load is small"));
        output.extend_from_slice(message);
        self.send_window -= i64::try_from(size).expect("a message of the load is small");
        stream
    }

    /// Sends what was added. Cancel safe.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        // Small messages and few calls at once stay far within the window that every server keeps open.
        ensure!(self.send_window >= 0, "the server's flow-control window is used up");
        self.socket.write_all_buf(&mut self.output).await?;
        Ok(())
    }

    /// Sends what was added, waits for bytes, and tells the frames that are complete. Cancel safe.
    pub(crate) async fn read(&mut self, mut tell: impl FnMut(Frame<'_>)) -> Result<()> {
        self.flush().await?;
        self.input.reserve(READ_BYTES);
        ensure!(
            self.socket.read_buf(&mut self.input).await? > 0,
            "the server closed the connection"
        );
        while self.input.len() >= HEAD_BYTES {
            let size = usize::from(self.input[0]) << 16 | usize::from(self.input[1]) << 8 | usize::from(self.input[2]);
            let end = HEAD_BYTES + size;
            if self.input.len() < end {
                break;
            }
            let (kind, flags) = (self.input[3], self.input[4]);
            let stream = (&self.input[5..HEAD_BYTES]).get_u32() & WINDOW_BYTES;
            let input = std::mem::take(&mut self.input);
            let taken = self.frame(kind, flags, stream, &input[HEAD_BYTES..end], &mut tell);
            self.input = input;
            self.input.advance(end);
            taken?;
        }
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        bytes: &[u8],
        tell: &mut impl FnMut(Frame<'_>),
    ) -> Result<()> {
        match kind {
            DATA => {
                ensure!(flags & PADDED == 0, "the server pads its frames");
                self.consumed(u32::try_from(bytes.len())?);
                tell(Frame::Data { stream, bytes });
                if flags & END_STREAM != 0 {
                    tell(Frame::End { stream });
                }
            }
            HEADERS if flags & END_STREAM != 0 => tell(Frame::End { stream }),
            SETTINGS if flags & END_STREAM == 0 => head(&mut self.output, 0, SETTINGS, END_STREAM, 0),
            PING if flags & END_STREAM == 0 => {
                head(&mut self.output, bytes.len(), PING, END_STREAM, 0);
                self.output.extend_from_slice(bytes);
            }
            WINDOW_UPDATE if stream == 0 && bytes.len() == 4 => {
                self.send_window += i64::from((&bytes[..]).get_u32());
            }
            RST_STREAM => bail!("the server reset stream {stream}: {}", bytes.escape_ascii()),
            GOAWAY => bail!("the server ends the connection: {}", bytes.escape_ascii()),
            _ => {}
        }
        Ok(())
    }

    fn consumed(&mut self, size: u32) {
        self.window -= size;
        if self.window < WINDOW_BYTES / 2 {
            head(&mut self.output, 4, WINDOW_UPDATE, 0, 0);
            self.output.put_u32(WINDOW_BYTES - self.window);
            self.window = WINDOW_BYTES;
        }
    }
}

fn head(output: &mut BytesMut, size: usize, kind: u8, flags: u8, stream: u32) {
    let size = u32::try_from(size).expect("a frame of the load is small");
    output.put_slice(&size.to_be_bytes()[1..]);
    output.put_u8(kind);
    output.put_u8(flags);
    output.put_u32(stream);
}

/// The fields of a gRPC call (RFC 7541): two from the static table, four that the server is to remember.
fn first_headers(path: &str, authority: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let fields: [(&[u8], &str); 4] = [
        (&[0x44], path),
        (&[0x41], authority),
        (&[0x5f], "application/grpc"),
        (b"\x40\x02te", "trailers"),
    ];
    for (name, value) in fields {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).expect("a header of the load is short"));
        block.extend_from_slice(value.as_bytes());
    }
    block
}

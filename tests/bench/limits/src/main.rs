//! The limits that zabd is held against: servers with the frames of ZooKeeper and none of its work.
//!
//! `zabd-limits --port 2181` answers every request at once with as many bytes as a real answer has. With `--log FILE`
//! requests that write are appended to the file first, and are answered once one fdatasync for all that waited has
//! returned. `zab bench read|write --reuse --no-verify` drives it.

mod log;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use bytes::{Buf, BytesMut};
use clap::Parser;
use jute_codec::frame::{PREFIX_BYTES, peek_length, write_frame};
use jute_codec::proto::{
    ConnectRequest, ConnectResponse, OpCode, PASSWORD_BYTES, ReplyHeader, RequestHeader,
};
use jute_codec::{Jute, Reader, SessionId, Zxid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use log::Log;

/// The largest request taken, in bytes.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Bytes of a stat.
const STAT_BYTES: usize = 68;
/// How often a thread looks for a new connection; only connecting waits for it.
const LOOK: Duration = Duration::from_millis(2);

/// Answers without doing anything.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port on loopback.
    #[arg(long)]
    port: u16,
    /// Bytes of data in the answer to a read.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Threads that serve connections.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
    /// The file to which writes are appended before they are answered.
    #[arg(long)]
    log: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let log = match &arguments.log {
        Some(path) => Some(Log::open(path).context("open the log")?),
        None => None,
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let listener = std::net::TcpListener::bind(address).context("bind the port")?;
    let mut threads = Vec::new();
    for _ in 0..arguments.threads {
        let (sender, connections) = sync_channel(1024);
        let (log, value_bytes) = (log.clone(), arguments.value_bytes);
        thread::spawn(move || serve(&connections, log.as_ref(), value_bytes));
        threads.push(sender);
    }
    for (number, stream) in listener.incoming().enumerate() {
        let stream = stream.context("accept")?;
        threads[number % threads.len()]
            .send(stream)
            .context("a thread has ended")?;
    }
    Ok(())
}

/// Serves the connections that come in, on a runtime of its own.
fn serve(
    connections: &Receiver<std::net::TcpStream>,
    log: Option<&Arc<Log>>,
    value_bytes: usize,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        loop {
            while let Ok(stream) = connections.try_recv() {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let stream = TcpStream::from_std(stream)?;
                let log = log.cloned();
                // A connection ends when its client goes.
                tokio::spawn(async move { connection(stream, log, value_bytes).await.ok() });
            }
            tokio::time::sleep(LOOK).await;
        }
    })
}

async fn connection(
    mut stream: TcpStream,
    log: Option<Arc<Log>>,
    value_bytes: usize,
) -> io::Result<()> {
    let (mut input, mut out) = (BytesMut::with_capacity(16 << 10), Vec::new());
    let mut greeted = false;
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut writes = 0;
        let mut taken = 0;
        while let Some(length) = peek_length(&input[taken..], REQUEST_BYTES_MAX)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            let end = taken + PREFIX_BYTES + length;
            let Some(frame) = input.get(taken + PREFIX_BYTES..end) else {
                break;
            };
            if greeted {
                writes += u32::from(answer(frame, value_bytes, &mut out));
            } else {
                greet(frame, &mut out);
                greeted = true;
            }
            taken = end;
        }
        if let Some(log) = log.as_ref().filter(|_| writes > 0) {
            log.append(&input[..taken]).await;
        }
        input.advance(taken);
        input.reserve(4 << 10);
        stream.write_all(&out).await?;
        out.clear();
    }
}

fn greet(frame: &[u8], out: &mut Vec<u8>) {
    let frame = bytes::Bytes::copy_from_slice(frame);
    let timeout_ms =
        ConnectRequest::read(&mut Reader::new(&frame)).map_or(0, |request| request.timeout_ms);
    write_frame(out, |out| {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session: SessionId(1),
            password: [0; PASSWORD_BYTES],
            read_only: Some(false),
        }
        .write(out);
    });
}

/// Answers a request; whether it writes.
fn answer(frame: &[u8], value_bytes: usize, out: &mut Vec<u8>) -> bool {
    let part = |at: usize| {
        let bytes = frame.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |chunk| i32::from_be_bytes(*chunk))
    };
    let header = RequestHeader {
        xid: part(0),
        op: part(4),
    };
    let op = OpCode::from_i32(header.op);
    let body = match op {
        Some(OpCode::GetData) => PREFIX_BYTES + value_bytes + STAT_BYTES,
        Some(OpCode::SetData) => STAT_BYTES,
        _ => 0,
    };
    write_frame(out, |out| {
        ReplyHeader {
            xid: header.xid,
            zxid: Zxid::ZERO,
            err: 0,
        }
        .write(out);
        out.resize(out.len() + body, 0);
    });
    op == Some(OpCode::SetData)
}

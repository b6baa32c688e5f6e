//! The bytes of a file, unpacked if need be.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::storage::disk::{Disk, DiskFile, OpenMode};

/// How a file is packed. ZooKeeper: `SnapStream.StreamMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// As gzip does.
    Gzip,
    /// In raw snappy blocks, as the library does that Java uses.
    Snappy,
}

impl Packing {
    /// What the name says.
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip,
            Some("snappy") => Self::Snappy,
            _ => Self::Plain,
        }
    }
}

/// Opens a file to read what is packed in it.
pub(super) fn open<D: Disk>(disk: &D, path: &Path) -> io::Result<Box<dyn Read>> {
    let file = FileReader {
        file: disk.open(path, OpenMode::Read)?,
        offset: 0,
    };
    // Without it the unpackers read the file in small pieces.
    let file = io::BufReader::with_capacity(READ_BYTES, file);
    Ok(match Packing::of(path) {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(MultiGzDecoder::new(file)),
        Packing::Snappy => Box::new(SnappyReader::begin(file)?),
    })
}

const READ_BYTES: usize = 256 << 10;

struct FileReader<F> {
    file: F,
    offset: u64,
}

impl<F: DiskFile> Read for FileReader<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Header, then blocks with their lengths before them.
struct SnappyReader<R> {
    packed: R,
    block: Vec<u8>,
    at: usize,
}

const SNAPPY_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version, oldest version that can read it.
const SNAPPY_HEADER_BYTES: usize = 16;
/// Java's writer makes blocks of 32 KiB.
const SNAPPY_BLOCK_BYTES_MAX: usize = 16 << 20;

impl<R: Read> SnappyReader<R> {
    fn begin(mut packed: R) -> io::Result<Self> {
        let mut header = [0; SNAPPY_HEADER_BYTES];
        packed.read_exact(&mut header)?;
        if !header.starts_with(SNAPPY_MAGIC) {
            return Err(invalid("it does not begin as snappy files do"));
        }
        Ok(Self {
            packed,
            block: Vec::new(),
            at: 0,
        })
    }

    /// Takes the next block, if there is one.
    fn next_block(&mut self) -> io::Result<bool> {
        self.at = 0;
        self.block.clear();
        let mut length = [0; 4];
        if self.packed.read(&mut length[..1])? == 0 {
            return Ok(false);
        }
        self.packed.read_exact(&mut length[1..])?;
        let length = usize::try_from(i32::from_be_bytes(length))
            .ok()
            .filter(|length| *length <= SNAPPY_BLOCK_BYTES_MAX)
            .ok_or_else(|| invalid("the length of a block makes no sense"))?;
        let mut packed = Vec::new();
        let read = self
            .packed
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut packed)?;
        if read < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unpacked =
            snap::raw::decompress_len(&packed).map_err(|problem| invalid(&problem.to_string()))?;
        if unpacked > SNAPPY_BLOCK_BYTES_MAX {
            return Err(invalid(
                "a block claims to be larger than any that is written",
            ));
        }
        self.block.resize(unpacked, 0);
        snap::raw::Decoder::new()
            .decompress(&packed, &mut self.block)
            .map_err(|problem| invalid(&problem.to_string()))?;
        Ok(true)
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let read = buf.len().min(self.block.len() - self.at);
        buf[..read].copy_from_slice(&self.block[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

fn invalid(detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

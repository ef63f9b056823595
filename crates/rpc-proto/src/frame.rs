//! Frames: a 4-byte little-endian length and that many bytes.

use std::fmt;
use std::io::{self, Read, Write};

use crate::foreign::ForeignProtocol;

/// Bytes of the length prefix.
pub const PREFIX_LEN: usize = 4;

/// The default limit for the body of a received frame, in bytes: 8 MiB.
pub const MAX_FRAME_LEN: usize = 8 * 1024 * 1024;

/// The size of a connection's first buffer, in bytes. Most calls fit; an idle connection costs
/// little. Below 1 KiB, because from that size on glibc's malloc consolidates its whole heap
/// (`malloc_consolidate`), and in a freshly forked process each page that it writes is copied.
pub const INITIAL_BUFFER_LEN: usize = 512;

/// How far a buffer grows because reads fill it, in bytes, unless one large frame needs more.
const PIPELINE_BUFFER_LEN: usize = 64 * 1024;

/// The length of `{"in":""}`, in bytes.
const SHORTEST_REQUEST_LEN: usize = 9;

/// What is wrong with the framing. After any of these the stream has no known frame boundary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The prefix announces more than the limit.
    #[error("frame of {len} bytes exceeds the limit of {max} bytes{}", other_byte_order(*len, *max))]
    TooLarge {
        /// The announced length of the body, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The first bytes of the connection belong to another protocol.
    #[error(
        "this is {0}, not this protocol: expected a 4-byte little-endian length, then a JSON body"
    )]
    Foreign(ForeignProtocol),
    /// The stream ended inside a frame.
    #[error("the stream ended after {have} bytes of a frame")]
    Truncated {
        /// Bytes of the frame that were received, including the prefix.
        have: usize,
    },
}

/// A hint for the error message if the four bytes make sense in the other byte order.
fn other_byte_order(len: usize, max: usize) -> String {
    let swapped = u32::try_from(len).map_or(0, u32::swap_bytes) as usize;
    if !(SHORTEST_REQUEST_LEN..=max).contains(&swapped) {
        return String::new();
    }
    format!(" (if {swapped} was meant, the prefix is big-endian and must be little-endian)")
}

/// Splits a byte stream into frames.
///
/// One [`read_from`](FrameReader::read_from) is one `read` of as many bytes as are available, so a
/// frame needs one read, and less than one from a peer that pipelines.
/// Memory grows with the bytes received, never with the length that a prefix announces.
pub struct FrameReader {
    buffer: Vec<u8>,
    /// The bytes that were received and not returned yet are `buffer[start..end]`.
    start: usize,
    end: usize,
    max_frame_len: usize,
    at_first_frame: bool,
}

impl FrameReader {
    /// A reader that rejects bodies longer than `max_frame_len` bytes. Allocates nothing yet.
    pub fn new(max_frame_len: usize) -> FrameReader {
        FrameReader { buffer: Vec::new(), start: 0, end: 0, max_frame_len, at_first_frame: true }
    }

    /// Like [`new`](FrameReader::new), but reads into `buffer` and overwrites its contents. It
    /// grows if it is too small.
    pub fn with_buffer(max_frame_len: usize, buffer: Vec<u8>) -> FrameReader {
        FrameReader { buffer, ..FrameReader::new(max_frame_len) }
    }

    /// The body of the next frame, or `None` if more bytes must be read first.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`] as soon as the prefix has been received, or instead
    /// [`FrameError::Foreign`] if the first bytes of the stream belong to another protocol.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let received = &self.buffer[self.start..self.end];
        let Some((prefix, rest)) = received.split_first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > self.max_frame_len || self.at_first_frame {
            self.check_prefix(*prefix, len)?;
        }
        if rest.len() < len {
            return Ok(None);
        }
        self.at_first_frame = false;
        let body = self.start + PREFIX_LEN;
        self.start = body + len;
        Ok(Some(&self.buffer[body..body + len]))
    }

    /// Whether [`next_frame`](FrameReader::next_frame) would return a frame or an error.
    pub fn frame_is_ready(&self) -> bool {
        let received = &self.buffer[self.start..self.end];
        received.split_first_chunk::<PREFIX_LEN>().is_some_and(|(prefix, rest)| {
            let len = u32::from_le_bytes(*prefix) as usize;
            len <= rest.len() || self.check_prefix(*prefix, len).is_err()
        })
    }

    /// Whether the first prefix is too large in one byte order, makes sense in the other, and too
    /// few bytes after it have been received to decide. More bytes may change the error of
    /// [`next_frame`](FrameReader::next_frame).
    pub fn is_in_doubt(&self) -> bool {
        let received = &self.buffer[self.start..self.end];
        let Some((prefix, rest)) = received.split_first_chunk::<PREFIX_LEN>() else {
            return false;
        };
        let len = u32::from_le_bytes(*prefix) as usize;
        let swapped = u32::from_be_bytes(*prefix) as usize;
        self.at_first_frame
            && len > self.max_frame_len
            && (SHORTEST_REQUEST_LEN..=self.max_frame_len).contains(&swapped)
            && rest.len() < swapped
    }

    #[cold]
    fn check_prefix(&self, prefix: [u8; PREFIX_LEN], len: usize) -> Result<(), FrameError> {
        let max = self.max_frame_len;
        if self.at_first_frame {
            let received = &self.buffer[self.start..self.end];
            if ForeignProtocol::is_tls_hello(received) {
                return Err(FrameError::Foreign(ForeignProtocol::Tls));
            }
            if len > max
                && let Some(foreign) = ForeignProtocol::of_start(prefix, &received[PREFIX_LEN..])
            {
                return Err(FrameError::Foreign(foreign));
            }
        }
        if len > max { Err(FrameError::TooLarge { len, max }) } else { Ok(()) }
    }

    /// Reads once from `source` and returns the number of bytes received; 0 is the end of the
    /// stream. Blocks as long as that read does.
    ///
    /// # Errors
    ///
    /// Those of `source`, unchanged. [`io::ErrorKind::Interrupted`] and
    /// [`io::ErrorKind::WouldBlock`] lose no byte, so the call can be repeated.
    #[inline]
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let count = source.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// Makes room for at least one byte. A buffer that the last read has filled grows, because more
    /// bytes are probably waiting.
    #[inline]
    fn make_room(&mut self) {
        let was_filled = self.end == self.buffer.len();
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if was_filled && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if was_filled {
            self.grow();
        }
    }

    /// Doubles the buffer up to the size that pipelining benefits from, and beyond that only up to
    /// the frame that is being received.
    #[cold]
    fn grow(&mut self) {
        let doubled = (self.buffer.len() * 2).max(INITIAL_BUFFER_LEN);
        let limit = self.announced_frame_len().unwrap_or(0).max(PIPELINE_BUFFER_LEN);
        // A caller may read on while whole frames are buffered; without room that read returns 0.
        let only_whole_frames = limit <= self.end;
        let len = if only_whole_frames { doubled } else { doubled.min(limit) };
        if len > self.buffer.len() {
            self.buffer.reserve_exact(len - self.buffer.len());
            self.buffer.resize(len, 0);
        }
    }

    /// Starts again with another stream and another limit for its bodies, and keeps the memory.
    pub fn reset(&mut self, max_frame_len: usize) {
        self.start = 0;
        self.end = 0;
        self.max_frame_len = max_frame_len;
        self.at_first_frame = true;
    }

    /// The length of prefix and body of the frame that is being received, once its prefix is known.
    fn announced_frame_len(&self) -> Option<usize> {
        let prefix = self.buffer[self.start..self.end].first_chunk::<PREFIX_LEN>()?;
        Some(PREFIX_LEN + u32::from_le_bytes(*prefix) as usize)
    }

    /// The number of bytes received that are not part of a returned frame.
    ///
    /// After [`next_frame`](FrameReader::next_frame) has returned `None`, this is the part of a
    /// frame received so far; 0 means that the stream is between two frames.
    pub fn buffered_len(&self) -> usize {
        self.end - self.start
    }

    /// The memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Frees the memory if the stream is between two frames; otherwise does nothing.
    pub fn shrink(&mut self) {
        if self.buffered_len() == 0 {
            self.buffer = Vec::new();
            self.start = 0;
            self.end = 0;
        }
    }

    /// Whether the stream may end now: yes between two frames, not inside one.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] inside a frame.
    pub fn end_of_stream(&self) -> Result<(), FrameError> {
        match self.buffered_len() {
            0 => Ok(()),
            have => Err(FrameError::Truncated { have }),
        }
    }
}

impl fmt::Debug for FrameReader {
    /// Shows no bytes: they may be confidential, and many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader")
            .field("buffered_len", &self.buffered_len())
            .field("max_frame_len", &self.max_frame_len)
            .finish_non_exhaustive()
    }
}

/// Collects frames, so that prefix and body, or many replies, are sent in one `write`.
#[derive(Default)]
pub struct FrameWriter {
    buffer: Vec<u8>,
    /// The end of the last complete frame; bytes after it belong to one that failed.
    committed: usize,
}

impl FrameWriter {
    /// An empty writer. Allocates nothing yet.
    pub fn new() -> FrameWriter {
        FrameWriter::default()
    }

    /// An empty writer that uses the memory of `buffer` and discards its contents.
    pub fn with_buffer(mut buffer: Vec<u8>) -> FrameWriter {
        buffer.clear();
        FrameWriter { buffer, committed: 0 }
    }

    /// Appends one frame, whose body `write_body` appends to its argument.
    ///
    /// If `write_body` fails or panics, no byte of the frame is kept.
    ///
    /// # Errors
    ///
    /// Those of `write_body`, or an [`io::Error`] of the kind
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the body is too long for a prefix (4 GiB).
    #[inline]
    pub fn append<E: From<io::Error>>(
        &mut self,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.buffer.truncate(self.committed);
        self.buffer.extend_from_slice(&[0; PREFIX_LEN]);
        let body = self.buffer.len();
        write_body(&mut self.buffer)?;
        let len = u32::try_from(self.buffer.len() - body)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "frame longer than 4 GiB"))?;
        self.buffer[self.committed..body].copy_from_slice(&len.to_le_bytes());
        self.committed = self.buffer.len();
        Ok(())
    }

    /// The frames that are not written yet, including their prefixes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.committed]
    }

    /// Discards the frames that are not written yet and keeps the memory for the next ones.
    #[inline]
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.committed = 0;
    }

    /// Writes the collected frames: one `write` unless `sink` accepts only a part. Blocks as long
    /// as `sink` does.
    ///
    /// # Errors
    ///
    /// Those of `sink`; after [`io::ErrorKind::Interrupted`] it tries again. The frames are
    /// discarded in any case, because after an error it is unknown how much of them was sent.
    pub fn write_to(&mut self, sink: &mut impl Write) -> io::Result<()> {
        let written = sink.write_all(self.as_bytes());
        self.clear();
        written
    }

    /// The memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Frees the memory if all frames are written; otherwise does nothing.
    pub fn shrink(&mut self) {
        if self.committed == 0 {
            self.buffer = Vec::new();
        }
    }
}

impl fmt::Debug for FrameWriter {
    /// Shows no bytes, for the same reason as [`FrameReader`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter").field("waiting_len", &self.committed).finish_non_exhaustive()
    }
}

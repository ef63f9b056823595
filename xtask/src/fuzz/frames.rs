//! The frame reader: any bytes, cut anywhere, give the frames that are in them, and never cost
//! more memory than came.

use std::io::{self, ErrorKind, Read};

use anyhow::{bail, ensure};
use fastrand::Rng;
use rpc_proto::{ForeignProtocol, FrameError, FrameReader};

use super::splitting::{End, Split, split};
use super::stream;

/// Until so many bytes have come, a reader may hold 1 KiB.
const SMALL_LEN: usize = 512;

/// Reads one stream and compares.
pub(super) fn run(seed: u64) -> anyhow::Result<()> {
    let mut random = Rng::with_seed(seed);
    let limit = match random.u8(0..4) {
        0 => random.usize(..200),
        1 => usize::MAX,
        _ => stream::LIMIT,
    };
    let stream = stream::any(seed, limit, &mut random);
    check(&stream, limit, &mut random)
        .map_err(|error| error.context(format!("limit {limit}, stream {}", stream.escape_ascii())))
}

fn check(stream: &[u8], limit: usize, random: &mut Rng) -> anyhow::Result<()> {
    let expected = split(stream, limit);
    let piece_len = *random.choice(&[1, 3, 64, 4096, usize::MAX]).unwrap_or(&1);
    let hurry = random.bool();
    let mut source = Pieces { rest: stream, piece_len, random: random.fork() };
    let mut reader = FrameReader::new(limit);
    let mut received = 0;
    let mut seen = 0;
    loop {
        // A caller may read on before it takes the frames that are there.
        while hurry || random.bool() {
            let ready = reader.frame_is_ready();
            match reader.next_frame() {
                Ok(Some(body)) => {
                    ensure!(ready, "frame {seen} was not ready");
                    ensure!(
                        expected.frames.get(seen).is_some_and(|frame| frame.body == body),
                        "frame {seen} is {}, of {} expected",
                        body.escape_ascii(),
                        expected.frames.len()
                    );
                    seen += 1;
                }
                Ok(None) => {
                    ensure!(!ready, "a frame was ready and did not come");
                    if random.u8(0..16) == 0 {
                        reader.shrink();
                    }
                    break;
                }
                Err(error) => {
                    ensure!(ready, "an error was not ready");
                    if reader.is_in_doubt() && !source.rest.is_empty() {
                        break;
                    }
                    return check_error(&error, &expected, seen, limit);
                }
            }
        }
        match reader.read_from(&mut source) {
            Ok(0) => break,
            Ok(count) => received += count,
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => bail!("a read failed: {error}"),
        }
        let most = (2 * SMALL_LEN).max(2 * received);
        let held = reader.capacity();
        ensure!(held <= most, "{held} bytes are held after {received} have come");
    }
    loop {
        match reader.next_frame() {
            Ok(Some(body)) => {
                let frame = expected.frames.get(seen);
                ensure!(frame.is_some_and(|frame| frame.body == body), "frame {seen} is another");
                seen += 1;
            }
            Ok(None) => break,
            Err(error) => return check_error(&error, &expected, seen, limit),
        }
    }
    ensure!(seen == expected.frames.len(), "{seen} frames, not {}", expected.frames.len());
    let end = match reader.end_of_stream() {
        Ok(()) => End::Clean,
        Err(FrameError::Truncated { have }) => End::Inside(have),
        Err(error) => bail!("the end is {error:?}"),
    };
    ensure!(end == expected.end, "the end is {end:?}, not {:?}", expected.end);
    Ok(())
}

fn check_error(
    error: &FrameError,
    expected: &Split<'_>,
    seen: usize,
    limit: usize,
) -> anyhow::Result<()> {
    ensure!(seen == expected.frames.len(), "{error:?} after {seen} frames: {:?}", expected.end);
    let fits = match (error, expected.end) {
        (FrameError::TooLarge { len, max }, End::TooLarge { len: expected, .. }) => {
            *len == expected && *max == limit
        }
        (FrameError::Foreign(foreign), End::TooLarge { big_endian: true, .. }) => {
            *foreign == ForeignProtocol::BigEndianPrefix
        }
        (FrameError::Foreign(foreign), End::Foreign(expected)) => *foreign == expected,
        _ => false,
    };
    ensure!(fits, "{error:?}, not {:?}", expected.end);
    Ok(())
}

/// A source that gives a few bytes at a time, and now and then none.
struct Pieces<'a> {
    rest: &'a [u8],
    piece_len: usize,
    random: Rng,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.random.u8(0..16) {
            0 => return Err(ErrorKind::Interrupted.into()),
            1 => return Err(ErrorKind::WouldBlock.into()),
            _ => {}
        }
        assert!(!buffer.is_empty(), "a read without room would look like the end");
        let most = self.random.usize(1..=self.piece_len);
        let count = most.min(buffer.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.rest = rest;
        Ok(count)
    }
}

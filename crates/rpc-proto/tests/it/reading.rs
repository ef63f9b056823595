use std::io::{self, Read};

use rpc_proto::{FrameError, FrameReader, MAX_FRAME_LEN};

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let prefix = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&prefix, body].concat()
}

fn frames(bodies: &[&[u8]]) -> Vec<u8> {
    bodies.iter().flat_map(|body| frame(body)).collect()
}

/// Gives at most the bytes of one piece a read.
struct Pieces<'a>(Vec<&'a [u8]>);

impl<'a> Pieces<'a> {
    fn of(wire: &'a [u8], len: usize) -> Pieces<'a> {
        Pieces(wire.chunks(len).rev().collect())
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.0.pop() else {
            return Ok(0);
        };
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        if count < piece.len() {
            self.0.push(&piece[count..]);
        }
        Ok(count)
    }
}

/// Every body up to the end of the stream, and what the end means.
fn read_all(
    reader: &mut FrameReader,
    source: &mut impl Read,
) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut bodies = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(body)) => bodies.push(body.to_vec()),
            Ok(None) => {
                assert!(!reader.frame_is_ready(), "nothing to say");
                if reader.read_from(source).unwrap() == 0 {
                    return (bodies, reader.end_of_stream());
                }
            }
            Err(error) => {
                assert!(reader.frame_is_ready(), "an error is something to say");
                return (bodies, Err(error));
            }
        }
    }
}

const BODIES: [&[u8]; 5] = [b"first", b"", b"{}", b"a longer body than the others", b""];

#[test]
fn frames_are_the_same_however_they_arrive() {
    let wire = frames(&BODIES);
    for len in 1..=wire.len() {
        let mut reader = FrameReader::new(MAX_FRAME_LEN);
        let (bodies, end) = read_all(&mut reader, &mut Pieces::of(&wire, len));
        assert_eq!(bodies, BODIES, "in pieces of {len}");
        assert_eq!(end, Ok(()), "in pieces of {len}");
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_an_error_at_every_offset() {
    let wire = frames(&BODIES);
    let mut boundary = 0;
    let boundaries: Vec<usize> = BODIES
        .iter()
        .map(|body| {
            boundary += 4 + body.len();
            boundary
        })
        .collect();
    for cut in 0..=wire.len() {
        let whole = boundaries.iter().filter(|at| **at <= cut).count();
        let begun = whole.checked_sub(1).map_or(0, |last| boundaries[last]);
        let mut reader = FrameReader::new(MAX_FRAME_LEN);
        let (bodies, end) = read_all(&mut reader, &mut &wire[..cut]);
        assert_eq!(bodies, BODIES[..whole], "cut at {cut}");
        assert_eq!(reader.buffered_len(), cut - begun, "cut at {cut}");
        let expected = match cut - begun {
            0 => Ok(()),
            have => Err(FrameError::Truncated { have }),
        };
        assert_eq!(end, expected, "cut at {cut}");
    }
}

#[test]
fn one_read_takes_all_frames_that_came() {
    let wire = frames(&BODIES);
    let mut reader = FrameReader::new(MAX_FRAME_LEN);
    assert_eq!(reader.read_from(&mut &wire[..]).unwrap(), wire.len());
    for expected in BODIES {
        assert!(reader.frame_is_ready());
        assert_eq!(reader.next_frame().unwrap(), Some(expected));
    }
    assert!(!reader.frame_is_ready());
    assert_eq!(reader.next_frame(), Ok(None));
}

#[test]
fn a_body_of_the_limit_is_read_and_one_byte_more_is_not() {
    const LIMIT: usize = 3000;
    let check = |len: usize, expected: Result<(), FrameError>| {
        let wire = frame(&vec![b'x'; len]);
        for piece in [1, 7, wire.len()] {
            let mut reader = FrameReader::new(LIMIT);
            let (bodies, end) = read_all(&mut reader, &mut Pieces::of(&wire, piece));
            assert_eq!(end, expected, "a body of {len} in pieces of {piece}");
            assert_eq!(bodies.len(), usize::from(expected.is_ok()));
        }
    };
    let too_large = |len| Err(FrameError::TooLarge { len, max: LIMIT });
    check(LIMIT - 1, Ok(()));
    check(LIMIT, Ok(()));
    check(LIMIT + 1, too_large(LIMIT + 1));
    check(2 * LIMIT, too_large(2 * LIMIT));
}

#[test]
fn the_limit_holds_for_later_frames_too() {
    let wire = frames(&[b"short", b"too long for a limit of ten"]);
    let mut reader = FrameReader::new(10);
    let (bodies, end) = read_all(&mut reader, &mut &wire[..]);
    assert_eq!(bodies, [b"short"]);
    assert_eq!(end, Err(FrameError::TooLarge { len: 27, max: 10 }));
    assert!(reader.next_frame().is_err(), "an error stays");
}

#[test]
fn a_limit_may_be_zero_or_have_no_bound() {
    let mut nothing = FrameReader::new(0);
    let wire = frames(&[b"", b"x"]);
    let (bodies, end) = read_all(&mut nothing, &mut &wire[..]);
    assert_eq!(bodies, [b""]);
    assert_eq!(end, Err(FrameError::TooLarge { len: 1, max: 0 }));

    let mut anything = FrameReader::new(usize::MAX);
    let wire = frames(&[b"", b"x"]);
    let (bodies, end) = read_all(&mut anything, &mut Pieces::of(&wire, 1));
    assert_eq!((bodies.len(), end), (2, Ok(())));
}

#[test]
fn a_prefix_alone_allocates_nothing() {
    assert_eq!(FrameReader::new(MAX_FRAME_LEN).capacity(), 0);
    for announced in [MAX_FRAME_LEN - 1, MAX_FRAME_LEN, 1 << 30, u32::MAX as usize] {
        let prefix = u32::try_from(announced).unwrap().to_le_bytes();
        let mut reader = FrameReader::new(usize::MAX);
        assert_eq!(reader.read_from(&mut &prefix[..]).unwrap(), 4);
        assert_eq!(reader.next_frame(), Ok(None));
        let few = [0x20_u8; 500];
        assert_eq!(reader.read_from(&mut &few[..]).unwrap(), 500);
        assert_eq!(reader.next_frame(), Ok(None));
        let capacity = reader.capacity();
        assert!(capacity <= 1024, "{announced} announced, {capacity} held");
    }
}

#[test]
fn memory_grows_with_the_bytes_that_came() {
    let wire = frame(&vec![b'x'; 1 << 20]);
    let mut reader = FrameReader::new(MAX_FRAME_LEN);
    let mut source = Pieces::of(&wire, 1000);
    let mut received = 0;
    while reader.next_frame().unwrap().is_none() {
        received += reader.read_from(&mut source).unwrap();
        let bound = 1024.max(2 * received);
        let capacity = reader.capacity();
        assert!(capacity <= bound, "{capacity} held for {received}");
    }
    assert_eq!(reader.capacity(), wire.len(), "and not past the frame");
}

#[test]
fn a_pipelining_peer_does_not_make_the_buffer_grow_without_end() {
    let one = frame(&[b'x'; 300]);
    let wire = one.repeat(5000);
    let mut reader = FrameReader::new(MAX_FRAME_LEN);
    let (bodies, end) = read_all(&mut reader, &mut &wire[..]);
    assert_eq!((bodies.len(), end), (5000, Ok(())));
    let capacity = reader.capacity();
    assert!((4096..=64 * 1024).contains(&capacity), "{capacity}");
}

#[test]
fn shrinking_gives_memory_back_between_frames_and_keeps_what_came_inside_one() {
    let body = vec![b'x'; 100_000];
    let wire = frame(&body);
    let (head, tail) = wire.split_at(60_000);
    let mut reader = FrameReader::new(MAX_FRAME_LEN);
    let mut source = head;
    while !source.is_empty() {
        reader.read_from(&mut source).unwrap();
    }
    reader.shrink();
    assert_eq!(reader.buffered_len(), head.len(), "nothing is lost");
    let (bodies, end) = read_all(&mut reader, &mut &tail[..]);
    assert_eq!((bodies, end), (vec![body], Ok(())));
    assert!(reader.capacity() > 0);
    reader.shrink();
    assert_eq!(reader.capacity(), 0);
    let (bodies, _) = read_all(&mut reader, &mut &frame(b"goes on")[..]);
    assert_eq!(bodies, [b"goes on"]);
}

#[test]
fn a_read_that_fails_loses_nothing() {
    struct Stuttering<'a>(Pieces<'a>, u32);
    impl Read for Stuttering<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 % 3 {
                0 => self.0.read(buffer),
                1 => Err(io::ErrorKind::Interrupted.into()),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }
    let wire = frames(&BODIES);
    let mut source = Stuttering(Pieces::of(&wire, 3), 0);
    let mut reader = FrameReader::new(MAX_FRAME_LEN);
    let mut bodies = Vec::new();
    let mut failures = [0, 0];
    loop {
        while let Some(body) = reader.next_frame().unwrap() {
            bodies.push(body.to_vec());
        }
        let before = reader.buffered_len();
        match reader.read_from(&mut source) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                failures[usize::from(error.kind() == io::ErrorKind::WouldBlock)] += 1;
                assert_eq!(reader.buffered_len(), before);
            }
        }
    }
    assert_eq!(bodies, BODIES);
    assert!(failures.iter().all(|count| *count > 5), "{failures:?}");
}

#[test]
fn reading_on_while_frames_wait_is_not_taken_for_the_end_of_the_stream() {
    let one = frame(&[b'x'; 300]);
    let wire = one.repeat(1000);
    let mut reader = FrameReader::new(MAX_FRAME_LEN);
    let mut source = &wire[..];
    while reader.read_from(&mut source).unwrap() > 0 {}
    assert_eq!(source.len(), 0, "0 means that the source has ended");
    let (bodies, end) = read_all(&mut reader, &mut source);
    assert_eq!((bodies.len(), end), (1000, Ok(())));
}

#[test]
fn a_reader_that_starts_over_knows_nothing_of_the_stream_before() {
    let mut reader = FrameReader::with_buffer(100, vec![7; 64]);
    assert_eq!(reader.next_frame(), Ok(None), "what the buffer held was never received");
    let half_a_frame: &[u8] = b"\x05\0\0\0ab";
    reader.read_from(&mut &half_a_frame[..]).unwrap();
    reader.reset(3);
    assert_eq!((reader.buffered_len(), reader.next_frame()), (0, Ok(None)));
    reader.read_from(&mut &b"\x03\0\0\0xyz\x04\0\0\0"[..]).unwrap();
    assert_eq!(reader.next_frame(), Ok(Some(&b"xyz"[..])));
    assert!(reader.next_frame().is_err(), "the new limit holds");
}

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rpc_proto::FrameWriter;

use crate::reading::frame;

fn append(frames: &mut FrameWriter, body: &[u8]) {
    let write_body = |buffer: &mut Vec<u8>| -> io::Result<()> {
        buffer.extend_from_slice(body);
        Ok(())
    };
    frames.append(write_body).unwrap();
}

/// `write_body` gives up after it has written something; the frames around it must not notice.
fn check_that_nothing_is_kept(
    write_body: impl Fn(&mut Vec<u8>) -> io::Result<()> + std::panic::RefUnwindSafe,
) {
    let mut frames = FrameWriter::new();
    let give_up = |frames: &mut FrameWriter| {
        let appended = catch_unwind(AssertUnwindSafe(|| frames.append(|body| write_body(body))));
        assert!(!matches!(appended, Ok(Ok(()))));
    };
    give_up(&mut frames);
    assert_eq!(frames.as_bytes(), b"", "in an empty writer");
    append(&mut frames, b"before");
    give_up(&mut frames);
    assert_eq!(frames.as_bytes(), frame(b"before"));
    give_up(&mut frames);
    append(&mut frames, b"after");
    let expected = [frame(b"before"), frame(b"after")].concat();
    assert_eq!(frames.as_bytes(), expected);
    give_up(&mut frames);
    let mut sink = Vec::new();
    frames.write_to(&mut sink).unwrap();
    assert_eq!(sink, expected);
    assert_eq!(frames.as_bytes(), b"");
}

#[test]
fn a_body_that_fails_leaves_no_byte() {
    check_that_nothing_is_kept(|body| {
        body.extend_from_slice(b"half a body");
        Err(io::ErrorKind::Other.into())
    });
}

#[test]
fn a_body_that_panics_leaves_no_byte() {
    check_that_nothing_is_kept(|body| {
        body.extend_from_slice(b"half a body");
        std::panic::resume_unwind(Box::new("no message on standard error"));
    });
}

#[test]
fn params_that_do_not_serialise_leave_no_byte() {
    let not_a_string = std::collections::HashMap::from([([1_u8], 1)]);
    check_that_nothing_is_kept(|body| {
        rpc_proto::Request::encode(body, "method", &("text before", &not_a_string))
    });
}

#[test]
fn prefix_and_body_of_all_frames_leave_in_one_write() {
    struct CountsWrites(usize, Vec<u8>);
    impl Write for CountsWrites {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            self.1.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut frames = FrameWriter::new();
    append(&mut frames, b"one");
    append(&mut frames, b"");
    append(&mut frames, b"three");
    let mut sink = CountsWrites(0, Vec::new());
    frames.write_to(&mut sink).unwrap();
    assert_eq!(sink.0, 1);
    assert_eq!(sink.1, [frame(b"one"), frame(b""), frame(b"three")].concat());
}

#[test]
fn frames_are_forgotten_when_the_sink_fails() {
    let mut frames = FrameWriter::new();
    append(&mut frames, b"lost");
    let mut room_for_three = [0; 3];
    assert!(frames.write_to(&mut &mut room_for_three[..]).is_err());
    assert_eq!(frames.as_bytes(), b"");
    append(&mut frames, b"next");
    assert_eq!(frames.as_bytes(), frame(b"next"));
}

#[test]
fn memory_is_kept_by_clearing_and_given_back_by_shrinking() {
    let mut frames = FrameWriter::new();
    assert_eq!(frames.capacity(), 0);
    append(&mut frames, &[b'x'; 5000]);
    frames.shrink();
    assert_eq!(frames.as_bytes().len(), 5004, "frames that wait are kept");
    frames.clear();
    assert!(frames.capacity() >= 5004);
    frames.shrink();
    assert_eq!(frames.capacity(), 0);
}

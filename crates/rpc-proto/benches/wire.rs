//! The cost of the wire without a socket: splitting frames, recognising envelopes, writing replies.
//!
//! `cargo bench --package rpc-proto` runs all; `cargo bench --package rpc-proto -- envelope` runs
//! one group.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use rpc_proto::internal::{ReplyHead, split_request};
use rpc_proto::{FrameReader, FrameWriter, MAX_FRAME_LEN, Request, Response, RpcError};

/// The shortest useful text of a ping.
const TEXT: &str = "123456789";

fn main() {
    divan::main();
}

/// `count` requests as they arrive, each with a text of `text_len` bytes.
fn requests(count: usize, text_len: usize) -> Vec<u8> {
    let mut frames = FrameWriter::new();
    for _ in 0..count {
        let text = "x".repeat(text_len);
        frames.append(|body| Request::encode(body, "ping", &text)).expect("a string serialises");
    }
    frames.as_bytes().to_owned()
}

mod frame {
    use super::*;

    /// Reads `input` to its end again and again with one reader, whose buffer has its final size
    /// after the first time.
    fn read(bencher: Bencher<'_, '_>, input: &[u8]) {
        let mut reader = FrameReader::new(MAX_FRAME_LEN);
        bencher.bench_local(|| {
            let mut source = input;
            while !source.is_empty() {
                reader.read_from(&mut source).expect("a slice can be read");
                while let Some(body) = reader.next_frame().expect("the frames are whole") {
                    divan::black_box(body);
                }
            }
        });
    }

    /// Frames that one read finds in the buffer.
    #[divan::bench(args = [1, 16, 128])]
    fn read_pipelined(bencher: Bencher<'_, '_>, count: usize) {
        let input = requests(count, TEXT.len());
        read(bencher.counter(ItemsCount::new(count)), &input);
    }

    #[divan::bench]
    fn read_one_of_1_mb(bencher: Bencher<'_, '_>) {
        let input = requests(1, 1_000_000);
        read(bencher.counter(BytesCount::of_slice(&input)), &input);
    }
}

mod envelope {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Spelling {
        /// As this project writes it.
        Compact,
        /// As Python's `json.dumps` writes it.
        Spaced,
        /// As our own client writes it.
        CompactWithTimeout,
        /// Valid but unusual: only the general parser accepts it.
        Unusual,
    }

    const SPELLINGS: [Spelling; 4] =
        [Spelling::Compact, Spelling::Spaced, Spelling::CompactWithTimeout, Spelling::Unusual];

    impl Spelling {
        const fn request(self) -> &'static str {
            match self {
                Spelling::Compact => r#"{"in":"ping","params":"123456789"}"#,
                Spelling::Spaced => r#"{"in": "ping", "params": "123456789"}"#,
                Spelling::CompactWithTimeout => {
                    r#"{"in":"ping","timeout_ms":30000,"params":"123456789"}"#
                }
                Spelling::Unusual => r#"{ "params": "123456789", "in": "ping" }"#,
            }
        }
    }

    /// Without parsing. For the unusual spelling: how long it takes to give up.
    #[divan::bench(args = SPELLINGS)]
    fn split_usual(spelling: Spelling) -> bool {
        let text = divan::black_box(spelling.request());
        divan::black_box(split_request(text)).is_some()
    }

    #[divan::bench(args = SPELLINGS)]
    fn parse(spelling: Spelling) -> bool {
        let body = divan::black_box(spelling.request().as_bytes());
        divan::black_box(Request::parse(body)).is_ok()
    }
}

mod reply {
    use super::*;

    /// Appends replies to one buffer that has its final size after the first time.
    fn append(bencher: Bencher<'_, '_>, write_body: impl Fn(&mut Vec<u8>) -> std::io::Result<()>) {
        let mut replies = FrameWriter::new();
        bencher.bench_local(|| {
            replies.append(&write_body).expect("what is written here serialises");
            divan::black_box(replies.as_bytes());
            replies.clear();
        });
    }

    #[divan::bench]
    fn encode(bencher: Bencher<'_, '_>) {
        append(bencher, |body| {
            Response::encode(body, divan::black_box("pong"), divan::black_box(TEXT))
        });
    }

    /// As a server does, with the beginning prepared.
    #[divan::bench]
    fn encode_behind_head(bencher: Bencher<'_, '_>) {
        let head = ReplyHead::new("pong");
        append(bencher, |body| head.encode(body, divan::black_box(TEXT)));
    }

    #[divan::bench]
    fn encode_error(bencher: Bencher<'_, '_>) {
        let error = RpcError::method_not_found("pong");
        append(bencher, |body| Response::encode(body, "error", divan::black_box(&error)));
    }
}

//! Where the frames of a whole stream are, read in the plainest way from docs/wire.md: what the
//! frame reader must agree with, however the stream was cut.

use rpc_proto::{ForeignProtocol, PREFIX_LEN};

/// A stream, taken apart.
#[derive(Debug)]
pub(in crate::fuzz) struct Split<'a> {
    pub(in crate::fuzz) frames: Vec<Frame<'a>>,
    pub(in crate::fuzz) end: End,
    /// Where the last frame ends and what `end` is about begins.
    pub(in crate::fuzz) end_at: usize,
}

/// A whole frame.
#[derive(Debug)]
pub(in crate::fuzz) struct Frame<'a> {
    pub(in crate::fuzz) body: &'a [u8],
    /// Where in the stream it ends.
    pub(in crate::fuzz) end_at: usize,
}

/// What comes behind the last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fuzz) enum End {
    Clean,
    /// So many bytes of a frame.
    Inside(usize),
    /// `big_endian`: or, if enough was there when it was looked at, the wrong byte order.
    TooLarge {
        len: usize,
        big_endian: bool,
    },
    Foreign(ForeignProtocol),
}

impl End {
    /// Whether a server has to end the connection of its own accord.
    pub(in crate::fuzz) fn is_broken(self) -> bool {
        matches!(self, End::TooLarge { .. } | End::Foreign(_))
    }
}

/// Takes a whole stream apart for a reader that refuses bodies of more than `limit` bytes.
pub(in crate::fuzz) fn split(stream: &[u8], limit: usize) -> Split<'_> {
    let mut frames = Vec::new();
    let mut at = 0;
    let end = loop {
        let left = &stream[at..];
        let Some((prefix, rest)) = left.split_first_chunk::<PREFIX_LEN>() else {
            break if left.is_empty() { End::Clean } else { End::Inside(left.len()) };
        };
        let len = prefix.iter().rev().fold(0, |len, byte| len << 8 | usize::from(*byte));
        if at == 0 && is_tls_hello(stream) {
            break End::Foreign(ForeignProtocol::Tls);
        }
        if len > limit {
            break if at == 0 { first_prefix(*prefix, rest, len) } else { too_large(len) };
        }
        if rest.len() < len {
            break End::Inside(left.len());
        }
        at += PREFIX_LEN + len;
        frames.push(Frame { body: &rest[..len], end_at: at });
    };
    Split { frames, end, end_at: at }
}

fn too_large(len: usize) -> End {
    End::TooLarge { len, big_endian: false }
}

/// The table "The first four bytes" of docs/wire.md, for a length beyond the limit.
fn first_prefix(prefix: [u8; PREFIX_LEN], rest: &[u8], len: usize) -> End {
    let http = "GET POSTPUT HEADDELEOPTIPATCCONNTRACPRI HTTP";
    if http.as_bytes().chunks(PREFIX_LEN).any(|start| start == prefix) {
        return End::Foreign(ForeignProtocol::Http);
    }
    if prefix[0] == 0x16 && prefix[1] == 0x03 {
        return End::Foreign(ForeignProtocol::Tls);
    }
    let is_space = |byte: &&u8| byte.is_ascii_whitespace();
    if let Some(b'{' | b'[') = prefix.iter().find(|byte| !is_space(byte)) {
        return End::Foreign(ForeignProtocol::BareJson);
    }
    let swapped = prefix.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    let looks_like_request = |body: &[u8]| {
        let (first, last) =
            (body.iter().find(|byte| !is_space(byte)), body.iter().rfind(|byte| !is_space(byte)));
        first == Some(&b'{') && last == Some(&b'}')
    };
    End::TooLarge { len, big_endian: rest.get(..swapped).is_some_and(looks_like_request) }
}

fn is_tls_hello(stream: &[u8]) -> bool {
    stream.len() >= 6 && stream[..2] == [0x16, 0x03] && stream[2] <= 4 && stream[5] == 1
}

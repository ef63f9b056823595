//! Strings as JSON, a block at a time.
//!
//! serde_json examines a string byte by byte, which for a string of a megabyte takes longer than
//! the system calls that carry it. Most text needs no escape, and the check whether a block needs
//! one has no branches, so the compiler turns it into vector instructions. Blocks that need one are
//! left to serde_json, so only one place knows how JSON escapes.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// How much text is examined and copied at a time, in bytes.
///
/// Small enough to be still in the nearest cache when it is copied, and below the length from which
/// glibc copies with `rep movsb`. On some AMD processors that instruction is more than ten times
/// slower if source and destination have nearly the same offset in their pages, which is how malloc
/// places two large buffers (sourceware.org, glibc bug 30994).
const BLOCK_LEN: usize = 1024;

/// How much of a block that needs an escape is left to serde_json at a time, in bytes. Longer than
/// any character.
const PIECE_LEN: usize = 32;

/// Room for the end of a message after its longest part: a quote and a brace.
const CLOSING_LEN: usize = 2;

/// Whether JSON writes these bytes of a string as they are (RFC 8259, section 7).
#[inline]
pub(crate) fn is_plain(text: &[u8]) -> bool {
    // No early exit, because a loop with one is not vectorised.
    !text.iter().fold(false, |found, &byte| found | needs_escape(byte))
}

/// The text between the quotes if `text` is one JSON string without escapes.
#[inline]
pub(crate) fn plain_contents(text: &str) -> Option<&str> {
    let contents = text.strip_prefix('"')?.strip_suffix('"')?;
    contents.as_bytes().chunks(BLOCK_LEN).all(is_plain).then_some(contents)
}

/// Without `||`, because that is a branch.
#[inline]
fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Appends `text` as a JSON string, the same bytes as serde_json.
#[inline]
pub(crate) fn append_string(body: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    body.push(b'"');
    append_contents(body, text)?;
    body.push(b'"');
    Ok(())
}

/// Appends the text between the quotes.
#[inline]
pub(crate) fn append_contents(body: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    if text.len() <= PIECE_LEN && is_plain(text.as_bytes()) {
        body.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    append_long_contents(body, text)
}

fn append_long_contents(body: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    body.reserve(text.len() + CLOSING_LEN);
    let begin = body.len();
    let mut is_measured = false;
    for block in pieces(text, BLOCK_LEN) {
        if is_plain(block.as_bytes()) {
            body.extend_from_slice(block.as_bytes());
            continue;
        }
        if !is_measured {
            is_measured = true;
            // Otherwise the buffer would double for a few escapes. Most are two bytes long.
            let escapes = text.bytes().filter(|&byte| needs_escape(byte)).count();
            body.reserve_exact(begin + text.len() + escapes + CLOSING_LEN - body.len());
        }
        for piece in pieces(block, PIECE_LEN) {
            if is_plain(piece.as_bytes()) {
                body.extend_from_slice(piece.as_bytes());
            } else {
                piece
                    .serialize(&mut serde_json::Serializer::with_formatter(&mut *body, Unquoted))?;
            }
        }
    }
    Ok(())
}

/// Splits `text` between characters into pieces of at most `len` bytes.
fn pieces(mut text: &str, len: usize) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let mut end = text.len().min(len);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, rest) = text.split_at(end);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Strings without their quotes.
struct Unquoted;

impl Formatter for Unquoted {
    fn begin_string<W: io::Write + ?Sized>(&mut self, _writer: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn end_string<W: io::Write + ?Sized>(&mut self, _writer: &mut W) -> io::Result<()> {
        Ok(())
    }
}

/// A vector to write to, which copies long slices in blocks.
pub(crate) struct Blocks<'a>(pub(crate) &'a mut Vec<u8>);

impl io::Write for Blocks<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= BLOCK_LEN {
            self.0.extend_from_slice(bytes);
        } else {
            append_long(self.0, bytes);
        }
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_long(body: &mut Vec<u8>, bytes: &[u8]) {
    body.reserve(bytes.len() + CLOSING_LEN);
    for block in bytes.chunks(BLOCK_LEN) {
        body.extend_from_slice(block);
    }
}

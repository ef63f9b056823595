//! Recognising a client of another protocol that has connected to the wrong port.
//!
//! Read as a length, the first bytes of HTTP or TLS are hundreds of megabytes.
//! "Frame too large" would be true but would not help to find the mistake.

use std::fmt;

/// What the first bytes of a connection are if they are not a frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignProtocol {
    /// An HTTP/1 request or response line, or the HTTP/2 preface.
    Http,
    /// A TLS handshake record (RFC 8446, section 5.1).
    Tls,
    /// The framing of this protocol, with the prefix in network byte order.
    BigEndianPrefix,
    /// JSON without a length prefix.
    BareJson,
}

const HTTP_STARTS: [&[u8; 4]; 11] = [
    b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ",
    b"HTTP",
];

impl ForeignProtocol {
    /// The protocol, by the first four bytes, which as a length exceed the limit, and by the bytes
    /// received after them.
    pub(crate) fn of_start(prefix: [u8; 4], rest: &[u8]) -> Option<ForeignProtocol> {
        if HTTP_STARTS.contains(&&prefix) {
            return Some(ForeignProtocol::Http);
        }
        if prefix.starts_with(&[0x16, 0x03]) {
            return Some(ForeignProtocol::Tls);
        }
        if matches!(prefix.trim_ascii_start(), [b'{' | b'[', ..]) {
            return Some(ForeignProtocol::BareJson);
        }
        // 2 GiB in one byte order is 128 bytes in the other. It counts only if those bytes have
        // been received and look like a request.
        let body = rest.get(..u32::from_be_bytes(prefix) as usize)?.trim_ascii();
        let is_object = body.starts_with(b"{") && body.ends_with(b"}");
        is_object.then_some(ForeignProtocol::BigEndianPrefix)
    }

    /// Recognises a TLS hello whose first four bytes are a length within the limit: below 8 MiB if
    /// it is shorter than 256 bytes, more if the limit is higher. The sixth byte, 1 for a hello,
    /// cannot occur there in any JSON text, so no frame of this protocol is mistaken for one.
    pub(crate) fn is_tls_hello(start: &[u8]) -> bool {
        matches!(start, [0x16, 0x03, 0x00..=0x04, _, _, 0x01, ..])
    }
}

impl fmt::Display for ForeignProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ForeignProtocol::Http => "HTTP",
            ForeignProtocol::Tls => "TLS",
            ForeignProtocol::BigEndianPrefix => "a length prefix in big-endian byte order",
            ForeignProtocol::BareJson => "JSON without a length prefix",
        })
    }
}

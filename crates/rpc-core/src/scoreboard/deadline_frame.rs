//! The framed answer to a call whose handler runs for too long, for a signal handler.

use rpc_proto::PREFIX_LEN;

/// The framed answer to a call whose handler runs for too long. Written without help from the
/// allocator, since it is a signal handler that needs it.
pub(crate) struct DeadlineFrame {
    bytes: [u8; DeadlineFrame::MAX_LEN],
    len: usize,
}

impl DeadlineFrame {
    const MAX_LEN: usize = 192;
    const BEFORE_LIMIT: &str = concat!(
        r#"{"out":"error","result":{"code":-32001,"#,
        r#""message":"the handler did not return in time; it may have run","#,
        r#""data":{"executed":"maybe","limit_ms":"#
    );
    const BEHIND_LIMIT: &str = "}}}";

    /// Async-signal-safe.
    pub(crate) fn new(limit_ms: u32) -> DeadlineFrame {
        let mut frame = DeadlineFrame { bytes: [0; Self::MAX_LEN], len: PREFIX_LEN };
        frame.append(Self::BEFORE_LIMIT.as_bytes());
        let mut digits = [b'0'; 10];
        let mut first = digits.len();
        let mut rest = limit_ms;
        while rest > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        frame.append(&digits[first..]);
        frame.append(Self::BEHIND_LIMIT.as_bytes());
        let body_len = (frame.len - PREFIX_LEN) as u32;
        frame.bytes[..PREFIX_LEN].copy_from_slice(&body_len.to_le_bytes());
        frame
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use rpc_proto::{ERROR_KIND, ErrorCode, FrameReader, MAX_FRAME_LEN, Response, RpcError};

    use super::*;

    #[test]
    fn the_frame_of_a_passed_deadline_is_an_error_reply_with_its_limit() {
        for limit_ms in [0, 1, 9, 10, 200, 86_400_000, u32::MAX] {
            let frame = DeadlineFrame::new(limit_ms);
            let mut reader = FrameReader::new(MAX_FRAME_LEN);
            assert_eq!(reader.read_from(&mut frame.as_bytes()).unwrap(), frame.len);
            let reply = Response::parse(reader.next_frame().unwrap().unwrap()).unwrap();
            assert_eq!(reply.kind, ERROR_KIND);
            let error: RpcError = serde_json::from_str(reply.result.get()).unwrap();
            assert_eq!(error.known_code(), Some(ErrorCode::DeadlineExceeded));
            let data = format!(r#"{{"executed":"maybe","limit_ms":{limit_ms}}}"#);
            assert_eq!(error.data.unwrap().get(), data);
        }
    }
}

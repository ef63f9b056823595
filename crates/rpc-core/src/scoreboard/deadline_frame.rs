//! The framed answer to a call whose deadline has passed. It is built without the allocator, since
//! a signal handler sends it.

use std::io::Write;

use rpc_proto::PREFIX_LEN;

const MAX_LEN: usize = 192;

pub(crate) struct DeadlineFrame {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl DeadlineFrame {
    /// Async-signal-safe: writing a number into an array allocates nothing and takes no lock.
    pub(crate) fn new(limit_ms: u32) -> DeadlineFrame {
        let mut bytes = [0; MAX_LEN];
        let (prefix, mut rest) = bytes.split_at_mut(PREFIX_LEN);
        let _ = write!(
            rest,
            concat!(
                r#"{{"out":"error","result":{{"code":-32001,"#,
                r#""message":"the handler did not return in time; it may have run","#,
                r#""data":{{"executed":"maybe","limit_ms":{limit_ms}}}}}}}"#
            ),
            limit_ms = limit_ms
        );
        let len = MAX_LEN - rest.len();
        prefix.copy_from_slice(&((len - PREFIX_LEN) as u32).to_le_bytes());
        DeadlineFrame { bytes, len }
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

//! The buffers of a connection, and a pair that is kept for the next one.

use std::sync::{Mutex, PoisonError};

use rpc_proto::{FrameReader, FrameWriter, INITIAL_BUFFER_LEN};

/// Buffers above this many bytes are given back to the system and not kept.
const KEPT_LEN: usize = 4096;

/// The page of most machines, in bytes.
const PAGE_LEN: usize = 4096;

/// How often to ask for a pair on one page. Beyond the holes of the heap, malloc gives pieces that
/// lie side by side.
const MOST_TRIED: usize = 64;

/// What a connection reads into and writes from.
pub(crate) struct Buffers {
    pub(crate) requests: FrameReader,
    pub(crate) replies: FrameWriter,
}

/// One pair of buffers, for whoever serves the next connection.
///
/// It is there before the first fork, so a child needs nothing from malloc for its own work: each
/// page of the heap that it writes is copied, and malloc writes many. A process that serves one
/// connection after the other uses the same pair each time.
pub(crate) struct SpareBuffers {
    pair: Mutex<Option<Buffers>>,
}

impl SpareBuffers {
    pub(crate) fn new() -> SpareBuffers {
        SpareBuffers { pair: Mutex::new(Some(new_pair_on_one_page())) }
    }

    /// The pair, or a new one if another connection has it. For requests of `max_frame_len` bytes.
    pub(crate) fn take(&self, max_frame_len: usize) -> Buffers {
        let pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut buffers = pair.unwrap_or_else(new_pair);
        buffers.requests.start_over(max_frame_len);
        buffers
    }

    /// Keeps the pair for the next connection, unless it is large or there is one already.
    pub(crate) fn give_back(&self, mut buffers: Buffers) {
        if buffers.requests.capacity().max(buffers.replies.capacity()) > KEPT_LEN {
            return;
        }
        buffers.replies.clear();
        self.pair.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(buffers);
    }
}

fn new_pair() -> Buffers {
    from_memory(memory())
}

/// A pair that begins on one page, so that a child which writes both copies one. malloc gives what
/// it happens to have, so this asks until two pieces fit, and gives the others back.
fn new_pair_on_one_page() -> Buffers {
    let mut tried = Vec::new();
    loop {
        let pair = memory();
        let [page, same_page] =
            [&pair[0], &pair[1]].map(|piece| piece.as_ptr() as usize / PAGE_LEN);
        if page == same_page || tried.len() == MOST_TRIED {
            return from_memory(pair);
        }
        tried.push(pair);
    }
}

fn memory() -> [Vec<u8>; 2] {
    [vec![0; INITIAL_BUFFER_LEN], vec![0; INITIAL_BUFFER_LEN]]
}

fn from_memory([requests, replies]: [Vec<u8>; 2]) -> Buffers {
    Buffers {
        requests: FrameReader::with_buffer(0, requests),
        replies: FrameWriter::with_buffer(replies),
    }
}

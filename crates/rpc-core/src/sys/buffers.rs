//! The buffers of a connection, and a pair that is kept for the next one.

use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rpc_proto::internal::INITIAL_BUFFER_LEN;
use rpc_proto::{FrameReader, FrameWriter};

/// Buffers above this many bytes are given back to the system and not kept.
const KEPT_LEN: usize = 4096;

/// The page of most machines, in bytes.
const PAGE_LEN: usize = 4096;

/// How often to ask for a pair on one page. Beyond the holes of the heap, malloc gives pieces that
/// lie side by side.
const MAX_TRIES: usize = 64;

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
    pub(crate) fn none() -> SpareBuffers {
        SpareBuffers { pair: Mutex::new(None) }
    }

    /// The pair, or a new one if another connection has it. For requests of `max_frame_len` bytes.
    pub(crate) fn take(&self, max_frame_len: usize) -> Buffers {
        let pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut buffers = pair.unwrap_or_else(|| from_vectors(new_vectors()));
        buffers.requests.reset(max_frame_len);
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

/// Shares `owner`, and fills its spare buffers with a pair that begins on the same page, so that a
/// child which writes all three copies one. malloc gives what it happens to have, so this asks
/// until they fit, and gives the others back.
pub(crate) fn share_on_one_page<Owner>(
    mut owner: Owner,
    spare_buffers: impl Fn(&Owner) -> &SpareBuffers,
) -> Arc<Owner> {
    /// The two counts in front of what an `Arc` shares.
    const COUNTS_LEN: usize = 2 * size_of::<usize>();
    let mut tried = Vec::new();
    loop {
        let shared = Arc::new(owner);
        let pair = new_vectors();
        let begin = ptr::from_ref(&*shared).addr();
        let addresses = [
            begin - COUNTS_LEN,
            begin + size_of::<Owner>() - 1,
            pair[0].as_ptr().addr(),
            pair[1].as_ptr().addr(),
        ];
        let [page, others @ ..] = addresses.map(|address| address / PAGE_LEN);
        if others == [page; 3] || tried.len() == MAX_TRIES {
            spare_buffers(&shared).give_back(from_vectors(pair));
            return shared;
        }
        owner = Arc::into_inner(shared).expect("nobody else has it yet");
        // Takes the place that was just given back, so that the next one is another.
        let filler = Vec::<u8>::with_capacity(COUNTS_LEN + size_of::<Owner>());
        tried.push((filler, pair));
    }
}

fn new_vectors() -> [Vec<u8>; 2] {
    [vec![0; INITIAL_BUFFER_LEN], vec![0; INITIAL_BUFFER_LEN]]
}

fn from_vectors([requests, replies]: [Vec<u8>; 2]) -> Buffers {
    Buffers {
        requests: FrameReader::with_buffer(0, requests),
        replies: FrameWriter::with_buffer(replies),
    }
}

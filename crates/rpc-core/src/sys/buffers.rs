//! The buffers of a connection, and a pair that is kept for the next one.

use std::hint;
use std::mem;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rpc_proto::internal::INITIAL_BUFFER_LEN;
use rpc_proto::{FrameReader, FrameWriter};

/// Buffers above this many bytes are given back to the system and not kept.
const KEPT_LEN: usize = 4096;

/// The lengths of small values, in bytes, that a handler's first ones have: those of glibc's malloc.
const SMALL_LENS: [usize; 2] = [24, 40];

/// The page of most machines, in bytes.
const PAGE_LEN: usize = 4096;

/// How often to ask for a pair on one page. Beyond the holes of the heap, malloc gives pieces that
/// lie side by side.
const MOST_TRIED: usize = 64;

/// How many holes for small values the heap may have. They are taken first, and given back at the
/// end.
const MOST_HOLES: usize = 256;

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
    /// Room for the first small values of a handler, on the same page.
    small: Mutex<[Vec<u8>; SMALL_LENS.len()]>,
}

impl SpareBuffers {
    pub(crate) fn none() -> SpareBuffers {
        SpareBuffers { pair: Mutex::new(None), small: Mutex::default() }
    }

    /// The pair, or a new one if another connection has it. For requests of `max_frame_len` bytes.
    pub(crate) fn take(&self, max_frame_len: usize) -> Buffers {
        let pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut buffers = pair.unwrap_or_else(|| from_memory(memory()));
        buffers.requests.reset(max_frame_len);
        buffers
    }

    /// Gives the room for small values back to malloc, which hands out first what it got last: a
    /// child of this process then finds it there, on a page that it writes anyway.
    pub(crate) fn release_small(&self) {
        let small = mem::take(&mut *self.small.lock().unwrap_or_else(PoisonError::into_inner));
        for piece in small {
            // malloc keeps a few pieces of each length at hand; if that many are there, one has to
            // be taken out before there is room for another.
            let other = hint::black_box(Vec::<u8>::with_capacity(piece.capacity()));
            drop(piece);
            drop(other);
        }
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
    let holes =
        SMALL_LENS.map(|len| vec![len; MOST_HOLES].into_iter().map(Vec::<u8>::with_capacity));
    let _holes = hint::black_box(holes.map(Vec::from_iter));
    let mut tried = Vec::new();
    loop {
        let shared = Arc::new(owner);
        let pair = memory();
        let small = SMALL_LENS.map(Vec::<u8>::with_capacity);
        let begin = ptr::from_ref(&*shared).addr();
        let places = [
            begin - COUNTS_LEN,
            begin + size_of::<Owner>() - 1,
            pair[0].as_ptr().addr(),
            pair[1].as_ptr().addr(),
            small[0].as_ptr().addr(),
            small[1].as_ptr().addr(),
        ];
        let [page, others @ ..] = places.map(|place| place / PAGE_LEN);
        if others.iter().all(|other| *other == page) || tried.len() == MOST_TRIED {
            let spare = spare_buffers(&shared);
            spare.give_back(from_memory(pair));
            *spare.small.lock().unwrap_or_else(PoisonError::into_inner) = small;
            return shared;
        }
        owner = Arc::into_inner(shared).expect("nobody else has it yet");
        // Takes the place that was just given back, so that the next one is another.
        let place = Vec::<u8>::with_capacity(COUNTS_LEN + size_of::<Owner>());
        tried.push((place, pair, small));
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

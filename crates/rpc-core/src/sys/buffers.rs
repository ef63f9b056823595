//! The buffers of a connection, and a spare pair for the next one.

use std::hint;
use std::mem;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rpc_proto::internal::INITIAL_BUFFER_LEN;
use rpc_proto::{FrameReader, FrameWriter};

/// Buffers larger than this, in bytes, are freed and not kept.
const KEPT_LEN: usize = 4096;

/// The lengths of the small values that a handler allocates first, in bytes: those of glibc's malloc.
const SMALL_LENS: [usize; 2] = [24, 40];

/// The page size of most machines, in bytes.
const PAGE_LEN: usize = 4096;

/// How often to try to get a pair on one page. Once the holes in the heap are filled, malloc
/// returns adjacent pieces.
const MAX_TRIES: usize = 64;

/// How many holes for small values the heap may have. They are filled first, and freed at the end.
const MAX_HOLES: usize = 256;

/// The buffers that a connection reads into and writes from.
pub(crate) struct Buffers {
    pub(crate) requests: FrameReader,
    pub(crate) replies: FrameWriter,
}

/// One pair of buffers for the next connection.
///
/// It is allocated before the first fork, so a child needs no malloc for its own work: each page of
/// the heap that it writes is copied, and malloc writes many. A process that serves one connection
/// after the other always uses the same pair.
#[derive(Default)]
pub(crate) struct SpareBuffers {
    pair: Mutex<Option<Buffers>>,
    /// Room for the small values that a handler allocates first, on the same page.
    small: Mutex<[Vec<u8>; SMALL_LENS.len()]>,
}

impl SpareBuffers {
    /// The pair, or a new one if another connection has it. It accepts requests of up to
    /// `max_frame_len` bytes.
    pub(crate) fn take(&self, max_frame_len: usize) -> Buffers {
        let pair = self.pair.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut buffers = pair.unwrap_or_else(|| from_vectors(new_vectors()));
        buffers.requests.reset(max_frame_len);
        buffers
    }

    /// Frees the room for small values. malloc returns first what was freed last, so a child of this
    /// process gets that room, on a page that it writes anyway.
    pub(crate) fn release_small(&self) {
        let small = mem::take(&mut *self.small.lock().unwrap_or_else(PoisonError::into_inner));
        for piece in small {
            // malloc keeps a few pieces of each length at hand. If it has that many, one must be
            // taken before there is room for another.
            let other = hint::black_box(Vec::<u8>::with_capacity(piece.capacity()));
            drop(piece);
            drop(other);
        }
    }

    /// Keeps the pair for the next connection, unless it is large or another one is kept already.
    pub(crate) fn give_back(&self, mut buffers: Buffers) {
        if buffers.requests.capacity().max(buffers.replies.capacity()) > KEPT_LEN {
            return;
        }
        buffers.replies.clear();
        self.pair.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(buffers);
    }
}

/// Puts `owner` into an `Arc`, and fills its spare buffers with a pair that begins on the same
/// page, so that a child which writes all three copies one page. Since malloc decides on the
/// addresses, this allocates until they fit, and frees the others.
pub(crate) fn share_on_one_page<Owner>(
    mut owner: Owner,
    spare_buffers: impl Fn(&Owner) -> &SpareBuffers,
) -> Arc<Owner> {
    /// The two reference counts before the value of an `Arc`.
    const COUNTS_LEN: usize = 2 * size_of::<usize>();
    let holes =
        SMALL_LENS.map(|len| vec![len; MAX_HOLES].into_iter().map(Vec::<u8>::with_capacity));
    let _holes = hint::black_box(holes.map(Vec::from_iter));
    let mut tried = Vec::new();
    loop {
        let shared = Arc::new(owner);
        let pair = new_vectors();
        let small = SMALL_LENS.map(Vec::<u8>::with_capacity);
        let begin = ptr::from_ref(&*shared).addr();
        let addresses = [
            begin - COUNTS_LEN,
            begin + size_of::<Owner>() - 1,
            pair[0].as_ptr().addr(),
            pair[1].as_ptr().addr(),
            small[0].as_ptr().addr(),
            small[1].as_ptr().addr(),
        ];
        let pages = addresses.map(|address| address / PAGE_LEN);
        if pages.iter().all(|page| *page == pages[0]) || tried.len() == MAX_TRIES {
            let spare = spare_buffers(&shared);
            spare.give_back(from_vectors(pair));
            *spare.small.lock().unwrap_or_else(PoisonError::into_inner) = small;
            return shared;
        }
        owner = Arc::into_inner(shared).expect("it was not cloned yet");
        // Fills the memory that was just freed, so that the next try gets another address.
        let filler = Vec::<u8>::with_capacity(COUNTS_LEN + size_of::<Owner>());
        tried.push((filler, pair, small));
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

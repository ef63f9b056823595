//! Memory that a process shares with the children that it forks later.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// One value in anonymous shared memory, all zeroes at first. Only pages that were ever written
/// take memory.
pub(crate) struct SharedMapping<T: Sync> {
    address: NonNull<T>,
}

// SAFETY: the value is reached through shared references only, and T is Sync.
unsafe impl<T: Sync> Send for SharedMapping<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for SharedMapping<T> {}

impl<T: Sync> SharedMapping<T> {
    /// # Safety
    ///
    /// `T` must consist of atomics, because other processes change it, and all zeroes must be a
    /// valid `T`.
    pub(crate) unsafe fn new() -> io::Result<SharedMapping<T>> {
        let len = NonZeroUsize::new(size_of::<T>()).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping, placed by the kernel, overlaps nothing.
        let address = unsafe { mmap_anonymous(None, len, protection, flags) }?;
        Ok(SharedMapping { address: address.cast() })
    }
}

impl<T: Sync> Deref for SharedMapping<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is page-aligned, as long as a T, and lives until drop. The caller of
        // `new` has promised that its contents are valid, and that only atomics change them.
        unsafe { self.address.as_ref() }
    }
}

impl<T: Sync> Drop for SharedMapping<T> {
    fn drop(&mut self) {
        // SAFETY: `new` created the mapping with this length, and no reference to it is left.
        let _ = unsafe { munmap(self.address.cast(), size_of::<T>()) };
    }
}

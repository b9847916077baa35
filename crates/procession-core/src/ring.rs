//! A ring of bytes between one who writes and one who reads: no lock, one store to commit.
//!
//! ```text
//! put    1 room = size - (tail - head)   2 write the bytes at tail   3 tail += length (commit)
//! take   1 filled = tail - head          2 copy the bytes at head    3 head += length
//! ```
//!
//! Killed before 3, the writer has put nothing: what it wrote lies beyond the tail. Killed after
//! it, all is there, and stays there: nobody else ever writes the tail, so the reader of a dead
//! writer's ring finds exactly what was committed. A reader that dies before its 3 leaves the
//! record to nobody, for there is only one; who wrote it knows by other means what became of it.

use procession_sys::crash_point;
use procession_sys::prim::Ordering::{Acquire, Release};
use procession_sys::prim::{AtomicU64, own};

/// Both ends of a ring of `size` bytes. Positions count bytes since the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    /// What was put, ever.
    pub tail: &'a AtomicU64,
    /// What was taken, ever.
    pub head: &'a AtomicU64,
    /// Bytes that it has room for.
    pub size: u64,
}

impl Ring<'_> {
    /// The writer's: how many bytes fit now.
    #[inline]
    #[must_use]
    pub fn room(&self) -> u64 {
        // Acquire pairs with the Release in `free`: the reader has copied what we overwrite.
        let used = self.put_at().wrapping_sub(self.head.load(Acquire));
        self.size.saturating_sub(used)
    }

    /// The writer's: where the next bytes go.
    #[inline]
    #[must_use]
    pub fn put_at(&self) -> u64 {
        own(self.tail)
    }

    /// The writer's: the next `length` bytes are written.
    #[inline]
    pub fn commit(&self, length: u64) {
        crash_point!("ring.written");
        // Release pairs with the Acquire in `filled`: who sees the tail sees the bytes.
        self.tail.store(self.put_at().wrapping_add(length), Release);
        crash_point!("ring.committed");
    }

    /// The reader's: how many bytes are there. More than the size: not by us.
    #[inline]
    #[must_use]
    pub fn filled(&self) -> u64 {
        self.tail.load(Acquire).wrapping_sub(self.take_at())
    }

    /// The reader's: where they begin.
    #[inline]
    #[must_use]
    pub fn take_at(&self) -> u64 {
        own(self.head)
    }

    /// The reader's: `length` bytes have been copied.
    #[inline]
    pub fn free(&self, length: u64) {
        crash_point!("ring.taken");
        // Release pairs with the Acquire in `room`: our copy is made before that room is used.
        self.head
            .store(self.take_at().wrapping_add(length), Release);
    }
}

//! Which parts of the sparse file have memory: reserved before they are touched, given back when they are empty.

use super::Arena;
use crate::error::{ArenaError, refused};
use crate::layout::{EXTENT, EXTENTS_AT, FIRST_SPAN, SPAN, SPAN_WORDS_AT};
use procession_sys::limits::ControlGroups;
use procession_sys::prim::AtomicU32;
use procession_sys::{crash_point, file};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Memory that a control group shall keep after an extent was added, so that the program's
/// own allocations do not meet the OOM killer first.
const CGROUP_RESERVE: u64 = 8 << 20;

impl Arena {
    fn extent_bits(&self, extent: u64) -> (&'static AtomicU32, u32) {
        (
            self.always(EXTENTS_AT + extent / 32 * 4),
            1 << (extent % 32),
        )
    }

    /// Whether the span's memory has been reserved.
    #[must_use]
    pub fn is_committed(&self, span: u32) -> bool {
        let (word, bit) = self.extent_bits(u64::from(span) * SPAN / EXTENT);
        word.load(Acquire) & bit != 0
    }

    /// Reserves the memory of `count` spans' words from `span` on, so that they can be looked at.
    pub(crate) fn commit_words(&self, span: u32, count: u32) -> Result<(), ArenaError> {
        let known = self.words_reserved.load(Relaxed).max(FIRST_SPAN);
        let end = span + count;
        if end <= known {
            return Ok(());
        }
        let length = u64::from(end - known) * 8;
        let from = SPAN_WORDS_AT + u64::from(known) * 8;
        self.with_fd(|fd| file::reserve(fd, from, length))?
            .map_err(refused)?;
        self.words_reserved.fetch_max(end, Relaxed);
        Ok(())
    }

    /// Reserves memory for `count` spans from `span` on, so that touching it cannot fail. The
    /// caller has claimed them: nobody gives an extent back of which he has not claimed all, so
    /// a bit that says "reserved" is true.
    ///
    /// Killed between the reservation and the bit: the next one reserves again, which changes
    /// nothing.
    pub fn commit(&self, span: u32, count: u32) -> Result<(), ArenaError> {
        let first = u64::from(span) * SPAN / EXTENT;
        let last = (u64::from(span + count) * SPAN - 1) / EXTENT;
        let missing = (first..=last).find(|extent| {
            let (word, bit) = self.extent_bits(*extent);
            word.load(Acquire) & bit == 0
        });
        match missing {
            Some(first) => self.reserve_extents(first, last + 1),
            None => Ok(()),
        }
    }

    fn reserve_extents(&self, first: u64, end: u64) -> Result<(), ArenaError> {
        let length = (end - first) * EXTENT;
        if let Some(left) = ControlGroups::of_this_process().memory_left() {
            if left < length + CGROUP_RESERVE {
                return Err(ArenaError::NoMemory(format!(
                    "the control group has {left} bytes left and {length} more are needed"
                )));
            }
        }
        self.with_fd(|fd| file::reserve(fd, first * EXTENT, length))?
            .map_err(refused)?;
        for extent in first..end {
            let (word, bit) = self.extent_bits(extent);
            // Release pairs with the Acquire of `is_committed`.
            if word.fetch_or(bit, Release) & bit == 0 {
                self.header().committed.fetch_add(EXTENT, Relaxed);
            }
        }
        Ok(())
    }

    /// Gives an extent's memory back to the kernel. The caller has claimed all its spans.
    ///
    /// Killed between the bit and the hole: the memory stays until it is used again, whose
    /// reservation then changes nothing.
    pub(crate) fn uncommit(&self, extent: u64) -> Result<(), ArenaError> {
        let (word, bit) = self.extent_bits(extent);
        if word.fetch_and(!bit, AcqRel) & bit == 0 {
            return Ok(());
        }
        self.header().committed.fetch_sub(EXTENT, Relaxed);
        crash_point!("heap.uncommitted");
        Ok(self.with_fd(|fd| file::punch(fd, extent * EXTENT, EXTENT))??)
    }
}

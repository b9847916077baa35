//! The arena's bytes as this process sees them: mapped whole, or window by window where address space is short.
//!
//! ```text
//! file      | window 0 | window 1 | window 2 | ...     each mapped when it is first needed, never unmapped
//!                              [ run ]                 one that lies across two is mapped once more, whole
//! ```

use super::Arena;
use crate::error::{ArenaError, libc_errno, refused};
use crate::layout::{Header, SLOTS, SPAN, SPAN_WORDS_AT, Shared, Slot, WINDOW};
use crate::size;
use procession_sys::map::{self, PrivatePages};
use procession_sys::prim::AtomicU64;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

impl Arena {
    fn window_at(&self, index: usize) -> Result<NonNull<u8>, ArenaError> {
        let window = &self.windows[index];
        // Acquire pairs with the AcqRel below: another thread's mapping is complete.
        if let Some(at) = NonNull::new(window.load(Acquire)) {
            return Ok(at);
        }
        let offset = index as u64 * self.window;
        let length = self.window.min(self.size - offset);
        let at = self.map_range(offset, length)?;
        let raced = window.compare_exchange(std::ptr::null_mut(), at.as_ptr(), AcqRel, Acquire);
        // Who lost the race leaves a spare mapping of the same memory behind: harmless, rare.
        Ok(raced.err().and_then(NonNull::new).unwrap_or(at))
    }

    fn map_range(&self, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
        size::check_room(length)?;
        self.with_fd(|fd| map_range_of(fd, offset, length))?
    }

    /// Where `length` bytes at `offset` are mapped here. Bounds are checked; the memory must
    /// have been committed or reading it may fault.
    #[inline]
    pub fn bytes(&self, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
        // Where the arena is mapped whole the first window is all of it.
        if let Some(end) = offset.checked_add(length) {
            if let Some(base) = NonNull::new(self.windows[0].load(Acquire)) {
                if end <= self.window && end <= self.size {
                    // SAFETY: `offset..end` lies inside the first window, which is mapped.
                    return Ok(unsafe { base.add(offset as usize) });
                }
            }
        }
        self.bytes_in_windows(offset, length)
    }

    fn bytes_in_windows(&self, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let Some(end) = end else {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} lies outside the arena"
            )));
        };
        // Mapped whole, as nearly always: no division.
        if let [whole] = &*self.windows {
            if let Some(base) = NonNull::new(whole.load(Acquire)) {
                // SAFETY: `offset..end` lies inside the file, which is mapped whole.
                return Ok(unsafe { base.add(offset as usize) });
            }
        }
        let (first, last) = (offset / self.window, end.saturating_sub(1) / self.window);
        if first == last || length == 0 {
            let base = self.window_at(first as usize)?;
            // SAFETY: `offset..end` lies inside this window, which is mapped whole.
            return Ok(unsafe { base.add((offset % self.window) as usize) });
        }
        let mut across = self.across.lock().unwrap_or_else(PoisonError::into_inner);
        let known = across
            .iter()
            .find(|view| view.0 == offset && view.1 == length);
        if let Some(view) = known {
            return NonNull::new(view.2 as *mut u8).ok_or(ArenaError::Crowded);
        }
        // Mappings begin at pages, runs' bodies do not.
        let before = offset % map::page_size() as u64;
        let at = self.map_range(offset - before, length + before)?;
        // SAFETY: `before` bytes more than asked for were mapped in front.
        let at = unsafe { at.add(before as usize) };
        across.push((offset, length, at.as_ptr() as usize));
        Ok(at)
    }

    /// The offset that is mapped at this address here; None for an address that is not the arena's.
    #[must_use]
    pub fn offset_of(&self, address: usize) -> Option<u64> {
        let in_window = |(index, window): (usize, &AtomicPtr<u8>)| {
            let base = window.load(Acquire) as usize;
            let within = address.checked_sub(base).filter(|_| base != 0)? as u64;
            let offset = (index as u64 * self.window).checked_add(within)?;
            (within < self.window && offset < self.size).then_some(offset)
        };
        let found = self.windows.iter().enumerate().find_map(in_window);
        if found.is_some() || self.windows.len() == 1 {
            return found;
        }
        let across = self.across.lock().unwrap_or_else(PoisonError::into_inner);
        across.iter().find_map(|(offset, length, at)| {
            let within = address.checked_sub(*at)? as u64;
            (within < *length).then_some(offset + within)
        })
    }

    /// The pages around these bytes, to be written in by this process for itself; and how far inside they
    /// begin.
    pub fn private_pages(
        &self,
        offset: u64,
        length: u64,
    ) -> Result<(PrivatePages, usize), ArenaError> {
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let Some(_) = end else {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} lies outside the arena"
            )));
        };
        let before = offset % map::page_size() as u64;
        let length = (length + before) as usize;
        size::check_room(length as u64)?;
        let pages = self.with_fd(|fd| PrivatePages::map(fd, offset - before, length))?;
        Ok((pages.map_err(refused)?, before as usize))
    }

    /// Zeroes a range that the caller has allocated and nobody else knows.
    pub fn zero(&self, offset: u64, length: u64) -> Result<(), ArenaError> {
        let at = self.bytes(offset, length)?;
        // SAFETY: `bytes` checked that the range is mapped; the caller's ALLOC word keeps
        // every other process and thread away from it.
        unsafe { at.write_bytes(0, length as usize) };
        Ok(())
    }

    /// A shared layout at `offset`; an error when it is outside the arena or misaligned.
    #[inline]
    pub fn at<T: Shared>(&self, offset: u64) -> Result<&'static T, ArenaError> {
        if offset % align_of::<T>() as u64 != 0 {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} is no place of an object"
            )));
        }
        let at = self.bytes(offset, size_of::<T>() as u64)?.cast::<T>();
        // SAFETY: inside the mapping (bytes), aligned (windows are page-aligned and `offset`
        // was checked), never unmapped; `Shared` promises that any content is valid.
        Ok(unsafe { at.as_ref() })
    }

    /// `count` words at `offset`, which must be inside one window.
    pub(crate) fn words(
        &self,
        offset: u64,
        count: u64,
    ) -> Result<&'static [AtomicU64], ArenaError> {
        let at = self.bytes(offset, count * 8)?.cast::<AtomicU64>();
        if !at.is_aligned() {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} is no place of words"
            )));
        }
        // SAFETY: inside the mapping (bytes), aligned (just checked), never unmapped; any
        // content is a valid AtomicU64.
        Ok(unsafe { std::slice::from_raw_parts(at.as_ptr(), count as usize) })
    }

    /// `count` neighbours of a shared layout from `offset` on.
    pub fn slice<T: Shared>(&self, offset: u64, count: u64) -> Result<&'static [T], ArenaError> {
        let length = count.saturating_mul(size_of::<T>() as u64);
        let at = self.bytes(offset, length)?.cast::<T>();
        if !at.is_aligned() {
            return Err(ArenaError::Stale(format!(
                "{offset:#x} is no place of a table"
            )));
        }
        // SAFETY: inside the mapping (bytes), aligned (just checked), never unmapped; `Shared`
        // promises that any content is valid.
        Ok(unsafe { std::slice::from_raw_parts(at.as_ptr(), count as usize) })
    }

    pub(super) fn always<T: Shared>(&self, offset: u64) -> &'static T {
        match self.at(offset) {
            Ok(found) => found,
            // Tables lie below FIRST_SPAN, inside every arena; only mapping a window of them
            // can fail, and then nothing of ours can go on.
            Err(error) => panic!("procession: the arena's tables cannot be reached: {error}"),
        }
    }

    /// The arena's first page.
    #[must_use]
    pub fn header(&self) -> &'static Header {
        self.always(0)
    }

    /// A process's place.
    #[must_use]
    pub fn slot(&self, index: usize) -> &'static Slot {
        self.always(Slot::at(index as u64))
    }

    /// Slots that were ever claimed; never more than there are, whatever the header says.
    #[must_use]
    pub fn slots_used(&self) -> usize {
        (self.header().slots_used.load(Acquire) as usize).min(SLOTS)
    }

    /// The word of a span whose extent is committed.
    #[must_use]
    pub fn span_word(&self, span: u32) -> &'static AtomicU64 {
        self.always(SPAN_WORDS_AT + u64::from(span) * 8)
    }

    /// Spans that the arena's size allows.
    #[must_use]
    pub fn span_limit(&self) -> u32 {
        (self.size / SPAN) as u32
    }
}

/// Maps the beginning of the file: all of it if that is granted, else the largest window that is.
pub(super) fn map_first_window(
    fd: BorrowedFd<'_>,
    size: u64,
) -> Result<(u64, NonNull<u8>), ArenaError> {
    let mut window = size::window(size)?;
    loop {
        match map_range_of(fd, 0, window.min(size)) {
            Ok(first) => return Ok((window, first)),
            Err(ArenaError::NoMemory(_)) if window > size::LEAST_WINDOW => {
                window = if window > WINDOW { WINDOW } else { window / 2 };
            }
            Err(error) => return Err(error),
        }
    }
}

fn map_range_of(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Result<NonNull<u8>, ArenaError> {
    map::shared(fd, offset, length as usize).map_err(|error| match error.errno {
        libc_errno::ENOMEM => ArenaError::NoMemory(format!(
            "mapping {length} bytes failed ({error}); is address space limited (ulimit -v)?"
        )),
        _ => ArenaError::System(error),
    })
}

//! Plain bytes of the arena, copied in and out within bounds.
//!
//! Whose words say that a range is theirs alone (ALLOC or CLAIM by them, or beyond the commit of
//! the lock that they hold) may copy there; nobody else looks.

use crate::arena::Arena;
use crate::error::ArenaError;

impl Arena {
    /// Copies `bytes` to `offset`.
    #[inline]
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), ArenaError> {
        let at = self.bytes(offset, bytes.len() as u64)?;
        // SAFETY: `bytes` checked that the range is mapped, for ever; no slice of Rust's lies in
        // the arena, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Appends `length` bytes from `offset` on to `into`.
    #[inline]
    pub fn append_to(
        &self,
        offset: u64,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), ArenaError> {
        let at = self.bytes(offset, length as u64)?;
        into.reserve(length);
        let end = into.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: `bytes` checked that the source is mapped, for ever; `reserve` made room for
        // the target, which lies outside the arena.
        unsafe { std::ptr::copy_nonoverlapping(at.as_ptr(), end, length) };
        // SAFETY: these bytes have just been written.
        unsafe { into.set_len(into.len() + length) };
        Ok(())
    }

    /// Copies bytes within the arena; the ranges must not overlap.
    pub fn copy(&self, from: u64, to: u64, length: u64) -> Result<(), ArenaError> {
        if from.abs_diff(to) < length {
            return Err(ArenaError::Stale("a copy over itself".into()));
        }
        let (source, target) = (self.bytes(from, length)?, self.bytes(to, length)?);
        // SAFETY: `bytes` checked that both are mapped, for ever; they were found apart.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), length as usize) };
        Ok(())
    }

    /// Copies bytes from `offset` on into `into`.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), ArenaError> {
        let at = self.bytes(offset, into.len() as u64)?;
        // SAFETY: `bytes` checked that the source is mapped, for ever; no slice of Rust's lies in
        // the arena, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(at.as_ptr(), into.as_mut_ptr(), into.len()) };
        Ok(())
    }
}

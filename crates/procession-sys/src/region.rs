//! Memory that the kernel reads from and writes to, without references of Rust's: what other threads
//! change meanwhile, or nobody has initialised, may lie there.

use std::marker::PhantomData;

/// Bytes to be written, which somebody else may be changing.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub(crate) at: *const u8,
    pub(crate) len: usize,
    lives: PhantomData<&'a u8>,
}

// SAFETY: only the kernel reads through the pointer, which is valid for 'a in every thread.
unsafe impl Send for Source<'_> {}
// SAFETY: as above.
unsafe impl Sync for Source<'_> {}

impl Source<'_> {
    /// `len` bytes at `at`.
    ///
    /// # Safety
    /// They stay allocated as long as this lives. They may change meanwhile.
    #[must_use]
    pub unsafe fn new(at: *const u8, len: usize) -> Self {
        let lives = PhantomData;
        Self { at, len, lives }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Without the first `count`.
    #[must_use]
    pub fn skip(&self, count: usize) -> Self {
        let count = count.min(self.len);
        Self {
            at: self.at.wrapping_add(count),
            len: self.len - count,
            lives: PhantomData,
        }
    }
}

impl Source<'_> {
    /// The first `count` only.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self {
            len: self.len.min(count),
            ..*self
        }
    }
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            at: bytes.as_ptr(),
            len: bytes.len(),
            lives: PhantomData,
        }
    }
}

/// Room for bytes to be read, which nobody else uses.
#[derive(Debug)]
pub struct Target<'a> {
    pub(crate) at: *mut u8,
    pub(crate) len: usize,
    lives: PhantomData<&'a mut u8>,
}

// SAFETY: only the kernel writes through the pointer, which is valid for 'a in every thread.
unsafe impl Send for Target<'_> {}

impl Target<'_> {
    /// `len` bytes at `at`, initialised or not.
    ///
    /// # Safety
    /// They stay allocated as long as this lives, and no reference of Rust's to them is used meanwhile.
    #[must_use]
    pub unsafe fn new(at: *mut u8, len: usize) -> Self {
        let lives = PhantomData;
        Self { at, len, lives }
    }

    /// How many bytes have room.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is full.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `count` have been filled: the room behind them.
    #[must_use]
    pub fn skip(self, count: usize) -> Self {
        let count = count.min(self.len);
        Self {
            at: self.at.wrapping_add(count),
            len: self.len - count,
            lives: PhantomData,
        }
    }
}

impl Target<'_> {
    /// The first `count` only.
    #[must_use]
    pub fn first(self, count: usize) -> Self {
        Self {
            len: self.len.min(count),
            ..self
        }
    }
}

impl<'a> From<&'a mut [u8]> for Target<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self {
            at: bytes.as_mut_ptr(),
            len: bytes.len(),
            lives: PhantomData,
        }
    }
}

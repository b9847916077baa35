//! Memory of Python's that the kernel reads from and writes to.

use procession_sys::region::{Source, Target};
use pyo3::buffer::PyBuffer;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A bytes object that nobody but us has seen yet, to be filled.
#[derive(Debug)]
pub(crate) struct Blank<'py> {
    bytes: Bound<'py, PyBytes>,
    len: usize,
}

impl<'py> Blank<'py> {
    /// Room for `len` bytes, which the system gives real memory when they come; `MemoryError`.
    pub(crate) fn new(py: Python<'py>, len: usize) -> PyResult<Self> {
        // SAFETY: attached; without a source the bytes are left as they are.
        let made =
            unsafe { ffi::PyBytes_FromStringAndSize(std::ptr::null(), len as ffi::Py_ssize_t) };
        // SAFETY: a new reference, or null with an exception set.
        let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
        let bytes = made.cast_into::<PyBytes>()?;
        Ok(Self { bytes, len })
    }

    /// The room.
    pub(crate) fn target(&mut self) -> Target<'_> {
        // SAFETY: a bytes object; its bytes lie at a fixed place as long as it lives.
        let at = unsafe { ffi::PyBytes_AsString(self.bytes.as_ptr()) };
        // SAFETY: `len` bytes lie there, which no one else knows of.
        unsafe { Target::new(at.cast(), self.len) }
    }

    /// The object, all of it filled.
    pub(crate) fn filled(self) -> Bound<'py, PyBytes> {
        self.bytes
    }
}

/// The bytes of a contiguous buffer; None for another.
pub(crate) fn source_of(buffer: &PyBuffer<u8>) -> Option<Source<'_>> {
    let (at, len) = (buffer.buf_ptr().cast(), buffer.len_bytes());
    // SAFETY: contiguous bytes that the buffer keeps where they are as long as it lives.
    buffer
        .is_c_contiguous()
        .then(|| unsafe { Source::new(at, len) })
}

/// Room in a contiguous, writable buffer; None in another.
pub(crate) fn target_of(buffer: &PyBuffer<u8>) -> Option<Target<'_>> {
    let (at, len) = (buffer.buf_ptr().cast(), buffer.len_bytes());
    let fits = buffer.is_c_contiguous() && !buffer.readonly();
    // SAFETY: contiguous bytes that the buffer keeps where they are as long as it lives, and of
    // which no reference of Rust's is ever made.
    fits.then(|| unsafe { Target::new(at, len) })
}

//! The bytes of messages: lent by Python's objects, and made into such.

use super::memory::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyInt;
use std::ffi::{c_char, c_int};
use std::ptr::{NonNull, null};

/// A copy of this many bytes takes long enough for others to want the interpreter.
const LONG_COPY: usize = 1 << 20;

/// The value of an exact int that fits; None for a larger one.
#[inline]
pub(crate) fn small_integer(integer: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow: c_int = 0;
    // SAFETY: an int, alive; attached, as the Bound shows. Nothing but overflow can happen to it.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(integer.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(value)
}

/// A buffer that an object lends us: its bytes lie in one piece and stay until this is dropped.
#[derive(Debug)]
pub(crate) struct Lent(PyBuffer<u8>);

impl Lent {
    pub(crate) fn of(obj: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::get(obj)?;
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("the buffer is not contiguous"));
        }
        Ok(Self(buffer))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len_bytes()
    }

    /// Where they lie.
    pub(crate) fn address(&self) -> usize {
        self.0.buf_ptr() as usize
    }

    pub(crate) fn to_vec(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        self.0.to_vec(py)
    }

    /// Copies them to the beginning of `into`, or nothing where they do not fit.
    pub(crate) fn copy_to(&self, py: Python<'_>, into: &Bytes) {
        let Some(at) = NonNull::new(self.0.buf_ptr().cast::<u8>()) else {
            return; // an empty buffer may lie nowhere
        };
        // SAFETY: the export keeps its bytes there for as long as `self` lives, in one piece.
        let source = unsafe { Bytes::lent(at, self.len()) };
        copying(py, self.len(), || into.copy_from(&source));
    }
}

/// Copies, letting others have the interpreter if it takes long.
fn copying(py: Python<'_>, length: usize, copy: impl FnOnce() + Send) {
    if length < LONG_COPY {
        copy();
    } else {
        py.detach(copy);
    }
}

type Maker = unsafe extern "C" fn(*const c_char, ffi::Py_ssize_t) -> *mut ffi::PyObject;
type Content = unsafe extern "C" fn(*mut ffi::PyObject) -> *mut c_char;

impl Bytes {
    /// What `bytes` lends, copied to `at`, or nothing where it does not fit.
    pub(crate) fn fill(&self, py: Python<'_>, at: usize, bytes: &[u8]) {
        copying(py, bytes.len(), || self.write(at, bytes));
    }

    /// A bytes object of what lies from `at` on.
    pub(crate) fn to_bytes(self, py: Python<'_>, at: usize) -> PyResult<Bound<'_, PyAny>> {
        self.to_object(
            py,
            at,
            ffi::PyBytes_FromStringAndSize,
            ffi::PyBytes_AsString,
        )
    }

    /// A bytearray of the same.
    pub(crate) fn to_bytearray(self, py: Python<'_>, at: usize) -> PyResult<Bound<'_, PyAny>> {
        let make: Maker = ffi::PyByteArray_FromStringAndSize;
        self.to_object(py, at, make, ffi::PyByteArray_AsString)
    }

    fn to_object(
        self,
        py: Python<'_>,
        at: usize,
        make: Maker,
        content: Content,
    ) -> PyResult<Bound<'_, PyAny>> {
        let length = self.len().saturating_sub(at);
        // SAFETY: attached; null asks for an object whose content is written afterwards.
        let object = unsafe { make(null(), ffi::Py_ssize_t::try_from(length)?) };
        // SAFETY: a new reference, or null with an exception set.
        let object = unsafe { Bound::from_owned_ptr_or_err(py, object) }?;
        // SAFETY: of the type that `content` is for, as the callers chose them.
        let start = unsafe { content(object.as_ptr()) };
        if let Some(start) = NonNull::new(start.cast::<u8>()) {
            // SAFETY: `length` bytes of an object that nobody else has seen yet.
            let into = unsafe { Self::lent(start, length) };
            let from = self.rest(at);
            copying(py, length, || into.copy_from(&from));
        }
        Ok(object)
    }
}

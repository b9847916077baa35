//! Bytes of a Buffer that this process alone sees change.

use super::memory::{Memory, fill_view};
use crate::errors::to_python;
use crate::handle::Handle;
use procession_core::object::BODY;
use procession_sys::map::PrivatePages;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;

/// A map of the arena's file for this process alone: pages that it writes in become its own, the others
/// are read where they lie. Nobody writes in the Buffer meanwhile: who made it has copied into it, and
/// everybody else has such a map.
#[pyclass(frozen, weakref, module = "procession._native")]
#[derive(Debug)]
pub(crate) struct Private {
    // Unmapped first.
    pages: PrivatePages,
    before: usize,
    nbytes: usize,
    #[expect(dead_code, reason = "keeps what is mapped")]
    handle: Handle,
}

impl Private {
    /// `nbytes` of the Buffer from `from` on.
    pub(crate) fn over(py: Python<'_>, handle: Handle, from: u64, nbytes: u64) -> PyResult<Self> {
        let offset = handle.object.offset + BODY + from;
        let mapped = handle.arena.private_pages(offset, nbytes.max(1));
        let (pages, before) = mapped.map_err(|error| to_python(py, &error))?;
        let nbytes = usize::try_from(nbytes)?;
        Ok(Self {
            pages,
            before,
            nbytes,
            handle,
        })
    }
}

#[pymethods]
impl Private {
    #[new]
    fn new(py: Python<'_>, memory: &Memory, start: u64, nbytes: u64) -> PyResult<Self> {
        if start
            .checked_add(nbytes)
            .is_none_or(|end| end > memory.len())
        {
            return Err(PyValueError::new_err(format!(
                "{nbytes} bytes from {start} of {}",
                memory.len()
            )));
        }
        Self::over(py, memory.share(py)?, start, nbytes)
    }

    fn __len__(&self) -> usize {
        self.nbytes
    }

    #[expect(clippy::needless_pass_by_value, reason = "the protocol's signature")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let this = slf.get();
        // SAFETY: `private_pages` mapped `nbytes` more than `before`.
        let at = unsafe { this.pages.start().add(this.before) };
        // SAFETY: `view` is the interpreter's; the bytes stay mapped until `slf` is dropped.
        unsafe { fill_view(&slf, view, flags, at, this.nbytes, false) }
    }
}

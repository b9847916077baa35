//! Bytes-like objects, as `send_bytes` and `recv_bytes_into` take them.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView};

pub(crate) fn not_writable() -> PyErr {
    PyTypeError::new_err("a contiguous, writable bytes-like object is required")
}

/// From where, and how many, of `n` bytes.
pub(crate) fn part(n: usize, offset: isize, size: Option<isize>) -> PyResult<(usize, usize)> {
    let Ok(offset) = usize::try_from(offset) else {
        return Err(PyValueError::new_err("offset is negative"));
    };
    if n < offset {
        return Err(PyValueError::new_err("buffer length < offset"));
    }
    let size = match size.map(usize::try_from) {
        None => n - offset,
        Some(Err(_)) => return Err(PyValueError::new_err("size is negative")),
        Some(Ok(size)) if size > n - offset => {
            return Err(PyValueError::new_err("buffer length < offset + size"));
        }
        Some(Ok(size)) => size,
    };
    Ok((offset, size))
}

/// A buffer of plain bytes over any bytes-like object, copied only if it is not contiguous.
pub(crate) fn plain_buffer(obj: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    if obj.is_exact_instance_of::<PyByteArray>() {
        return PyBuffer::get(obj);
    }
    let view = PyMemoryView::from(obj)?;
    if !view.getattr("c_contiguous")?.is_truthy()? {
        return PyBuffer::get(&view.call_method0("tobytes")?);
    }
    if view.getattr("format")?.eq("B")? && view.getattr("ndim")?.eq(1)? {
        return PyBuffer::get(&view);
    }
    PyBuffer::get(&view.call_method1("cast", ("B",))?)
}

pub(crate) fn not_contiguous() -> PyErr {
    PyTypeError::new_err("a contiguous bytes-like object is required")
}
